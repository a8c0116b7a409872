"""Records of whole operators give configurations for shares that the templates accept, along every axis."""

from __future__ import annotations

from math import prod

import pytest

pytestmark = pytest.mark.llvm

tvm = pytest.importorskip("tvm")

from tests.tuning import made  # noqa: E402
from tvm_coexec.tuning.adapt import adapted_candidates, schedule_knobs  # noqa: E402
from tvm_coexec.tuning.knobs import extent_of, is_guarded, make_config  # noqa: E402
from tvm_coexec.tuning.operators import describe_operator, unpack  # noqa: E402
from tvm_coexec.tuning.records import Records  # noqa: E402


def factors(config) -> dict[str, list[int]]:
    return {name: list(e.size[1:]) for name, e in config._entity_map.items() if hasattr(e, "size")}


@pytest.mark.slow
@pytest.mark.parametrize(("axis", "whole", "share"), made.SHARES, ids=lambda v: v if isinstance(v, str) else v[0])
def test_adapted_configurations(axis, whole, share):
    target, records = made.target_of(share), made.make_records([made.task_of(whole)])
    assert describe_operator(whole).axis_to(describe_operator(share)) == axis
    found = adapted_candidates(share, target, records, limit=2)
    assert found and [f.expected_s for f in found] == sorted(f.expected_s for f in found)
    task = made.task_of(share)
    for each in found:
        assert each.axis == axis and each.config.cost == each.expected_s > 0.0
        assert any(each.record is pair[0] for pair in records.pairs)
        assert list(each.config._entity_map) == list(task.config_space.space_map)
        groups = dict(describe_operator(share).extents).get("g", 1)
        for name, inner in factors(each.config).items():
            extent = extent_of(share[0], name, task.config_space, groups)
            in_space = inner in [e.size[1:] for e in task.config_space.space_map[name].entities]
            assert extent % prod(inner) == 0 or in_space or is_guarded(share[0], name), (name, inner, extent)
        with target:  # the template takes it, and TVM lowers what it makes
            tvm.lower(*task.instantiate(each.config))
        if each.config.index >= 0:
            assert str(task.config_space.get(each.config.index)) == str(each.config)
    again = adapted_candidates(share, target, made.make_records([made.task_of(whole)]), limit=2)
    assert [str(a.config) for a in again] == [str(f.config) for f in found]


@pytest.mark.slow
def test_a_tile_that_fits_the_share_is_kept():
    """Nothing changes where nothing must: the fastest record's factors, along an axis that they divide."""
    whole = made.conv2d("conv2d_NCHWc.x86", (1, 16, 20, 20), (64, 16, 3, 3), 1, (1,) * 4)
    share = made.conv2d("conv2d_NCHWc.x86", (1, 16, 20, 20), (32, 16, 3, 3), 1, (1,) * 4)
    records = record_of(whole, made.CPU, lambda c: factors(c) == {"tile_ic": [16], "tile_oc": [16], "tile_ow": [10]})
    best = adapted_candidates(share, made.CPU, records)[0]
    assert factors(best.config) == factors(records.pairs[0][0].config)
    assert best.expected_s == pytest.approx(0.5e-3, rel=0.01)
    odd = made.conv2d("conv2d_NCHWc.x86", (1, 16, 20, 20), (26, 16, 3, 3), 1, (1,) * 4)
    assert factors(adapted_candidates(odd, made.CPU, records)[0].config)["tile_oc"] in ([13], [26])


@pytest.mark.slow
def test_another_block_of_channels_gets_other_columns():
    """53 channels are one block of seven vectors: the record's four columns would need 28 registers."""
    whole = made.conv2d("conv2d_NCHWc.x86", (1, 64, 56, 56), (64, 64, 3, 3), 1, (1,) * 4)
    share = made.conv2d("conv2d_NCHWc.x86", (1, 64, 56, 56), (53, 64, 3, 3), 1, (1,) * 4)
    wanted = {"tile_ic": [16], "tile_oc": [16], "tile_ow": [4]}
    records = record_of(whole, made.CPU, lambda c: factors(c) == wanted)
    found = factors(adapted_candidates(share, made.CPU, records)[0].config)
    assert found["tile_oc"] == [53] and found["tile_ow"][0] <= 2 and found["tile_ic"][0] <= 8
    even = made.conv2d("conv2d_NCHWc.x86", (1, 64, 56, 56), (48, 64, 3, 3), 1, (1,) * 4)
    assert factors(adapted_candidates(even, made.CPU, records)[0].config) == wanted


def record_of(workload, target, accepts) -> Records:
    """A record of the first configuration of a space that `accepts` takes."""
    task = made.task_of(workload)
    entity = next(c for c in map(task.config_space.get, range(len(task.config_space))) if accepts(c))
    measured = tvm.autotvm.MeasureInput(target, tvm.autotvm.task.Task(task.name, task.args), entity)
    return Records(((measured, tvm.autotvm.MeasureResult((1e-3,), 0, 0.1, 0.0)),))


@pytest.mark.slow
def test_our_own_schedule_competes_if_the_records_have_its_time():
    """It chooses another tile for 13 channels; the other record is of a tile that computes one output at a time."""
    whole = made.conv2d("conv2d_nchw.cuda", (1, 16, 20, 24), (32, 16, 3, 3), 1, (1,) * 4)
    share = made.conv2d("conv2d_nchw.cuda", (1, 16, 20, 24), (13, 16, 3, 3), 1, (1,) * 4)
    task, plain = made.task_of(whole), tvm.autotvm.task.Task("conv2d_nchw.cuda", whole[1:])
    ours = make_config(task.config_space, schedule_knobs(task, made.GPU), None)
    slow, fast = tvm.autotvm.MeasureResult((1e-3,), 0, 0.1, 0.0), tvm.autotvm.MeasureResult((1e-4,), 0, 0.1, 0.0)
    other = tvm.autotvm.MeasureInput(made.GPU, plain, task.config_space.get(0))
    of_ours = tvm.autotvm.MeasureInput(made.GPU, plain, ours)
    wanted = repr(schedule_knobs(made.task_of(share), made.GPU))
    expected = []
    for pairs in (((other, slow), (of_ours, fast)), ((other, fast), (of_ours, slow))):
        found = adapted_candidates(share, made.GPU, Records(pairs), limit=20)
        expected += [c.expected_s for c in found if repr(c.config._entity_map) == wanted]
        unrolled = [c.config._entity_map["auto_unroll_max_step"].val for c in found if c.record is of_ours]
        assert unrolled and 0 not in unrolled, "what our schedule unrolls is kept, though it is not in the space"
    assert len(expected) == 2 and expected[0] < expected[1]
    alone = adapted_candidates(share, made.GPU, Records(((other, slow),)), limit=20)
    assert wanted not in [repr(c.config._entity_map) for c in alone]


def test_blocks_of_a_packed_layout_are_kept():
    """After `AlterOpLayout` the workload has the blocks that a configuration chose: only such ones fit."""
    whole = made.conv2d("conv2d_NCHWc.x86", (1, 16, 12, 12), (32, 16, 3, 3), 1, (1,) * 4)
    data, kernel = made.tensor(1, 4, 12, 12, 4), made.tensor(3, 4, 3, 3, 4, 8)
    packed = ("conv2d_NCHWc.x86", data, kernel, *whole[3:6], "NCHW4c", "NCHW8c", "float32")
    plain, blocks = unpack(packed)
    assert plain[2] == made.tensor(24, 16, 3, 3) and blocks == {"tile_ic": 4, "tile_oc": 8}
    records = made.make_records([made.task_of(whole)], count=20)
    found = adapted_candidates(packed, made.CPU, records, limit=3)
    assert found
    assert all(factors(f.config)["tile_ic"] == [4] and factors(f.config)["tile_oc"] == [8] for f in found)


@pytest.mark.parametrize(
    "other",
    [
        made.conv2d("conv2d_nchw.cuda", (1, 16, 12, 12), (13, 16, 1, 1), 1, (1,) * 4),  # another kernel size
        made.conv2d("conv2d_nchw.cuda", (1, 16, 12, 12), (13, 16, 3, 3), 2, (1,) * 4),  # another stride
        made.conv2d("conv2d_nchw.cuda", (1, 16, 7, 12), (13, 16, 3, 3), 1, (1, 1, 0, 1)),  # two axes
        made.conv2d("conv2d_nchw.cuda", (1, 16, 12, 12), (13, 16, 3, 3), 1, (1, 0, 1, 0)),  # padding of two axes
        made.conv2d("conv2d_nchw_winograd.cuda", (1, 16, 12, 12), (13, 16, 3, 3), 1, (1,) * 4),  # another template
        ("conv2d_nchw.cuda", made.tensor(tvm.tir.Var("n", "int32"), 16, 12, 12), *made.SHARES[0][1][2:]),
        ("unknown.cuda", made.tensor(4)),
    ],
)
def test_what_is_no_share_gets_nothing(other):
    whole = made.conv2d("conv2d_nchw.cuda", (1, 16, 12, 12), (32, 16, 3, 3), 1, (0, 1, 1, 1))
    assert adapted_candidates(other, made.GPU, made.make_records([made.task_of(whole)])) == []


def test_records_of_other_devices_and_failed_ones_serve_nothing():
    _, whole, share = made.SHARES[0]
    records = made.make_records([made.task_of(whole)], count=1)
    assert adapted_candidates(share, tvm.target.Target("llvm"), records)
    assert not adapted_candidates(share, tvm.target.Target("llvm -mcpu=skylake-avx512"), records)
    (measured, result), *_ = records.pairs
    failed = Records(((measured, result._replace(costs=(1e9,), error_no=4)),))
    assert not adapted_candidates(share, made.CPU, failed)
