"""Cases and summaries of ``benchmarks.tuning``."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks import _tuning_prior, _tuning_shares
from benchmarks._trials import best_so_far
from benchmarks._tuning_cases import CONVS, CUTS


@pytest.mark.parametrize("conv", CONVS, ids=lambda c: c.label)
def test_shares_are_the_whole(conv):
    for cut in CUTS:
        gpu, cpu = conv.share("gpu", cut), conv.share("cpu", cut)
        if conv.axis == "oc":
            assert gpu.outputs + cpu.outputs == conv.outputs and (gpu.rows, cpu.rows) == (conv.rows,) * 2
            continue
        assert gpu.rows + cpu.rows == conv.rows and gpu.outputs == conv.outputs
        # the outer padding stays with the outer share, and rows of both are those of the input, with a halo
        assert (gpu.pads[0], cpu.pads[2]) == (conv.pads[0], conv.pads[2]) and gpu.pads[2] == cpu.pads[0] == 0
        assert gpu.height + cpu.height == conv.height + conv.kernel - conv.stride
    assert conv.workload("cpu")[0].endswith("conv2d_NCHWc.x86")


def result(seconds):
    return SimpleNamespace(error_no=int(seconds is None), costs=("", "x") if seconds is None else (seconds,))


def test_trials_to_a_speed():
    best = best_so_far([result(s) for s in (None, 3.0, 5.0, 1.0)])
    assert best == [float("inf"), 3.0, 3.0, 1.0]
    assert [_tuning_prior.trials_to(best, s) for s in (4.0, 3.0, 1.0, 0.5)] == [2, 2, 4, 8]


def test_a_faster_share_does_not_make_up_for_a_slower_one():
    rows = [{"device": "cpu", "speed_0": 2.0, "speed_8": 1.0}, {"device": "gpu", "speed_0": 0.81, "speed_8": 1.0}]
    table, lines = _tuning_shares.summarise(rows)
    assert table[-1] == {"device": "both", "shares": 2, "speed_0": pytest.approx(0.9), "speed_8": 1.0} | {
        "worst_0": 0.81,
        "worst_8": 1.0,
    }
    assert "90.0%" in lines[1] and "100.0%" in lines[2]
