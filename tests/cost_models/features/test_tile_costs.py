"""Cycles of work-groups, against the schedules that choose them."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_coexec.cost_models import AnalyticModel, Workload
from tvm_coexec.cost_models.features import tile_costs as work_groups
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


@pytest.mark.slow
def test_cycles_are_those_of_the_tile_that_the_schedule_chooses():
    convs = _random(400)
    columns, channels = (
        np.concatenate(parts)
        for parts in zip(
            *(work_groups.cycles(stack([w for w in convs if w.kind == kind])) for kind in ("conv", "group_conv")),
            strict=True,
        )
    )
    tiles = [_chosen(w) for kind in ("conv", "group_conv") for w in convs if w.kind == kind]
    assert ((columns > 0) != (channels > 0)).all()
    ratio = (columns + channels) / np.array([t.cost for t in tiles])
    assert np.mean(np.abs(ratio - 1) < 0.05) > 0.9 and ratio.min() > 0.8
    by_columns = np.array([t.unroll_explicit == 1 for t in tiles])
    assert np.mean(by_columns == (columns > 0)) > 0.95


@pytest.mark.slow
def test_model_learns_a_schedule_that_jumps():
    """Nothing else tells a map of 24 columns from one of 28."""
    convs = [_conv(136, 136, 28, w, 1, 1, 4) for w in range(4, 57)]
    columns, channels = work_groups.cycles(stack(convs))
    seconds = 1e-6 + columns * 3e-11 + channels * 5e-11
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
