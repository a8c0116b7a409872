"""Cycles of work-groups, against the schedules that choose them."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_coexec.cost_models import AnalyticModel, Workload
from tvm_coexec.cost_models.features import tile_costs
from tvm_coexec.cost_models.features.tile_costs import CHANNELS, COLUMNS, MAPS, choose_tiles
from tvm_coexec.cost_models.features.tile_parts import PARTS, count_parts, describe_tiles
from tvm_coexec.cost_models.features.workload import stack
from tvm_coexec.opencl.schedules import window, windows
from tvm_coexec.opencl.schedules.device import DeviceTraits

TRAITS = DeviceTraits(is_cpu=True, max_threads=256, local_bytes=32768, warp=1)


def _conv(ic: int, oc: int, oh: int, ow: int, k: int, stride: int, groups: int) -> Workload:
    """Padded so that the map keeps its size."""
    kind = "conv" if groups == 1 else "group_conv"
    return Workload(kind, "direct", 1, groups, ic, oc, oh * stride, ow * stride, oh, ow, k, k, stride, stride)


def _random(count: int) -> list[Workload]:
    dice, made = np.random.default_rng(0), []
    while len(made) < count:
        groups = int(dice.choice([1, 1, 1, 2, 4]))
        ic, oc = (groups * int(dice.choice([3, 8, 17, 24, 34, 64, 96, 152, 184, 256])) for _ in range(2))
        oh, ow = (int(dice.choice([1, 5, 7, 9, 13, 14, 17, 24, 27, 28, 55, 56, 112])) for _ in range(2))
        made.append(_conv(ic, oc, oh, ow, int(dice.choice([1, 1, 3, 5])), int(dice.choice([1, 1, 2])), groups))
    return made


def _chosen(w: Workload) -> window.Tile:
    operator = window.Window(
        1, w.groups, w.oc // w.groups, w.ic // w.groups, (w.oh, w.ow), (w.kh, w.kw), (w.sh, w.sw), (1, 1), w.kh > 1
    )
    return windows.choose_tile(operator, TRAITS, exact_channels=w.groups > 1)


def _layout(w: Workload, tile: window.Tile) -> int:
    is_map = w.kh == 1 and tuple(np.prod(split) for split in tile.spatial) == (w.oh, w.ow)
    return CHANNELS if tile.unroll_explicit != 1 else MAPS if is_map and w.sh == 1 else COLUMNS


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["conv", "group_conv"])
def test_tiles_are_those_that_the_schedule_chooses(kind):
    convs = [w for w in _random(400) if w.kind == kind]
    chosen, tiles = [_chosen(w) for w in convs], choose_tiles(stack(convs))
    ratio = tiles.cycles / np.array([t.cost for t in chosen])
    assert np.mean(np.abs(ratio - 1) < 0.05) > 0.9 and ratio.min() > 0.8
    layouts = np.array([_layout(w, t) for w, t in zip(convs, chosen, strict=True)])
    extents = np.array([(np.prod(t.channels), *(np.prod(split) for split in t.spatial)) for t in chosen])
    found = np.stack([tiles.channels, tiles.rows, tiles.columns], 1)
    assert np.mean(layouts == tiles.layout) > 0.98
    assert np.mean((extents == found).all(axis=1)) > 0.97


def test_parts_add_up_to_the_cycles():
    """Of tiles without factors: whole vectors, nothing ragged or strided."""
    tiles, w = choose_tiles(stack([w for w in _random(400) if w.kind == "conv"])), tile_costs
    parts = count_parts(tiles)
    assert set(parts) == set(PARTS)
    x, c, h, wide = tiles.windows, tiles.channels, tiles.rows, tiles.columns
    groups = sum(parts[f"{n}.outputs"] for n in ("columns", "maps", "channels")) / (c * h * wide)
    weight = np.where(x.taps == 1, w.COPY_POINTWISE_WEIGHT, w.COPY_WEIGHT)
    whole = w.COPY_WHOLE_INPUT * parts["maps.inputs"]
    total = w.FMA_REGISTERS * (parts["columns.vectors"] + parts["maps.vectors"])
    total += w.FMA_MEMORY * parts["channels.vectors"] + w.FMA_REMAINDER * parts["channels.left"]
    total += x.copy * (parts["columns.inputs"] + parts["channels.inputs"]) + whole
    total += weight * (parts["columns.weights"] + parts["maps.weights"]) + w.GATHER_WEIGHT * parts["channels.weights"]
    total += w.PER_OUTPUT * groups * c * h * wide + w.PER_GROUP * groups
    odd = parts["columns.partial"] + parts["maps.partial"] + parts["columns.strided"] + parts["columns.ragged"]
    plain = (odd == 0) & (parts["channels.ragged"] == 0) & (x.rows % h == 0) & (x.columns % wide == 0)
    plain &= (x.channels % c == 0) | (tiles.layout == CHANNELS)
    assert all((plain & (tiles.layout == kind)).sum() > 5 for kind in (COLUMNS, MAPS, CHANNELS))
    np.testing.assert_allclose(total[plain], tiles.cycles[plain], rtol=1e-4)


def test_other_kernels_have_no_tiles():
    dense = Workload("dense", "gemm", ic=64, oc=32)
    assert not describe_tiles(stack([dense, dense])).any() and describe_tiles(stack([dense, dense])).shape[0] == 2
    near, same, far = describe_tiles(stack([_conv(64, 64, 28, w, 1, 1, 1) for w in (24, 24, 23)]))
    assert (near == same).all() and near[0] == 1 and np.abs(near - far).sum() > 1


@pytest.mark.slow
def test_model_learns_a_schedule_that_jumps():
    """Nothing else tells a map of 24 columns from one of 28."""
    convs = [_conv(136, 136, 28, w, 1, 1, 4) for w in range(4, 57)]
    tiles = choose_tiles(stack(convs))
    seconds = 1e-6 + tiles.cycles * np.where(tiles.layout == CHANNELS, 5e-11, 3e-11)
    errors = {}
    for known in (False, True):
        model = AnalyticModel(work_groups=known).fit(convs, seconds)
        errors[known] = np.abs(model.predict(convs) / seconds - 1).mean()
        again = AnalyticModel.from_state(model.state())
        assert (again.predict(convs) == model.predict(convs)).all()
    assert errors[True] < 0.05 < errors[False]


def test_one_convolution_is_predicted_as_among_many():
    convs = _random(40)
    model = AnalyticModel(work_groups=True, fallback=True).fit(convs, 1e-9 * np.array([w.macs for w in convs]))
    assert [float(model.predict(w)[0]) for w in convs] == pytest.approx(model.predict(convs).tolist())
