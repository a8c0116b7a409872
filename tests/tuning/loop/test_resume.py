"""A run that is interrupted and started again: no trial is lost, and the end is that of a run in one piece.

Times are made up from the candidates: only the clock is replaced, so that two runs can be equal.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]

pytest.importorskip("tvm.relay")

import tvm_coexec  # noqa: E402
from tests.tuning.loop import nets  # noqa: E402
from tvm_coexec.tuning.loop import final, kernels, run  # noqa: E402

TRIALS = 26


@pytest.fixture
def tune(monkeypatch, tmp_path):
    """Tune into a folder by a clock that stops after some trials; returns how many were measured."""

    def measure(checks, part, records):
        from tvm import autotvm

        text = "".join(autotvm.record.encode(*p) for p in records.pairs)
        return kernels.Checked(nets.made_up_s(f"{part.device} {part.rows} {text}"))

    def modules(several, *others):
        return [final.Result(m.name, m.plan, m.tuned, m.expected_s, m.expected_s or 1e-3) for m in several]

    monkeypatch.setattr(kernels.KernelChecks, "_measure", measure)
    monkeypatch.setattr(final, "measure_modules", modules)
    profile, net = nets.write_profile(tmp_path / "costs.json"), nets.network()

    def tune(folder: Path, stop_after: int | None = None, **options) -> int:
        clock = nets.Clock(stop_after)
        monkeypatch.setattr(run, "Boards", lambda *_: clock)
        given = {"trials": TRIALS, "tuner": "ga", "batch": 4, "profile": profile} | nets.QUICK | options
        try:
            tvm_coexec.tune(net, None, nets.CPU, nets.GPU, folder, **given)
        except KeyboardInterrupt:
            assert stop_after is not None
        return clock.measured

    return tune


def results(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in ("records.log", "plan.json", "profile.json", "state/trials.log")]


def test_interrupted_at_random_and_resumed(tune, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert tune(whole) == TRIALS
    plan = tvm_coexec.Plan.load(str(whole / "plan.json"))
    assert plan.chains, "the network must have shares"
    rng, done, log = random.Random(0), 0, parts / "state" / "trials.log"
    while done < TRIALS:
        stop = min(rng.randint(1, 9), TRIALS - done)
        before = log.read_text() if log.exists() else ""
        assert tune(parts, stop) == stop
        done += stop
        lines = log.read_text()
        assert lines.startswith(before) and lines.count("\n") == done, "a trial was lost"
        if rng.random() < 0.5 and done < TRIALS:  # killed while it wrote a line
            log.write_text(lines + lines.splitlines()[0][:-20])
    assert tune(parts) == 0, "all trials were in the log"
    assert results(parts) == results(whole)
    summary = (whole / "summary.json").stat().st_mtime_ns
    assert tune(whole) == 0 and (whole / "summary.json").stat().st_mtime_ns == summary, "there was nothing to do"


def test_a_larger_budget_continues(tune, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert tune(twice, trials=10) == 10
    first = (twice / "state" / "trials.log").read_text()
    assert tune(twice, trials=18) == 8
    assert tune(once, trials=18) == 18
    assert results(once) == results(twice) and results(once)[3].startswith(first)
