"""Cases and summaries of ``benchmarks.tuning``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import _tuning_prior, _tuning_resume, _tuning_shares
from benchmarks._trials import best_so_far
from benchmarks._tuning_cases import CONVS, CUTS

ROOT = Path(__file__).parents[2]
ENDED_CHILD = """
import os

from benchmarks import _trials
from benchmarks._tuning_cases import Conv

compile_candidate = _trials._compile

def compile_or_end(request, tasks):
    if request["config"]["index"] == 1:
        os._exit(1)
    return compile_candidate(request, tasks)

_trials._compile = compile_or_end  # also in children, which read this file

if __name__ == "__main__":
    import tvm

    import tvm_coexec  # registers the OpenCL device

    task = Conv(8, 12, 12, 16, 3).task("cpu")
    configs = [task.config_space.get(i) for i in range(3)]
    tvm.opencl(0).sync()  # as after a co-executed module has run
    gpu = Conv(8, 12, 12, 16, 3).task("gpu")
    with _trials.Trials() as trials:
        first = trials.measure(task, configs)
        assert [r.error_no for r in first] == [0, 4, 0] and first[1].costs[1] == "compiler died", first
        assert all(0 < r.costs[0] < 1 for r in first[::2]) and trials.measured == 3
        again = trials.measure(task, configs[::-1])
        assert [r.costs for r in again] == [r.costs for r in first[::-1]] and trials.measured == 3
        on_gpu = trials.measure(gpu, [gpu.config_space.get(0)])
        assert on_gpu[0].error_no == 0 and 0 < on_gpu[0].costs[0] < 1, on_gpu
"""


@pytest.mark.opencl
@pytest.mark.slow
def test_a_candidate_that_ends_the_child_takes_no_other_along(tmp_path):
    """In a process that has opened the OpenCL driver, too, whose threads a forked child would wait for in vain."""
    script = tmp_path / "ended_child.py"
    script.write_text(ENDED_CHILD, encoding="utf-8")
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(script)], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.llvm
def test_shares_are_what_a_planner_may_choose():
    """Not the 11 channels that are nearest to a sixth of 64: no tile of channels fits them."""
    assert [CONVS[0].share("gpu", cut).outputs for cut in CUTS] == [8, 24, 32, 40, 56]
    assert [CONVS[1].share("gpu", cut).rows for cut in CUTS] == [4, 10, 14, 18, 24]


@pytest.mark.llvm
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


def test_interrupted_runs_that_are_known_are_not_measured_again(monkeypatch):
    monkeypatch.setattr(_tuning_resume, "_interrupt", lambda number, *moment: {"run": number, "moment": moment})
    rows = list(_tuning_resume.measure(6))
    assert [r["run"] for r in rows] == list(range(6)) and len({r["moment"] for r in rows}) == 6
    assert list(_tuning_resume.measure(6, {0, 4})) == [r for r in rows if r["run"] not in (0, 4)]


def test_a_faster_share_does_not_make_up_for_a_slower_one():
    rows = [{"device": "cpu", "speed_0": 2.0, "speed_8": 1.0}, {"device": "gpu", "speed_0": 0.81, "speed_8": 1.0}]
    table, lines = _tuning_shares.summarise(rows)
    assert table[-1] == {"device": "both", "shares": 2, "speed_0": pytest.approx(0.9), "speed_8": 1.0} | {
        "worst_0": 0.81,
        "worst_8": 1.0,
    }
    assert "90.0%" in lines[1] and "100.0%" in lines[2]
