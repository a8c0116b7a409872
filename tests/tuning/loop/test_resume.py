"""A run that is interrupted and started again: no trial is lost, and the end is that of a run in one piece.

Times are made up from the candidates: only the clock is replaced, so that two runs can be equal.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]

pytest.importorskip("tvm.relay")

import tvm_coexec  # noqa: E402
from tests.tuning.loop import nets  # noqa: E402
from tvm_coexec.tuning.loop import final, kernels, run, session  # noqa: E402

TRIALS = 26


@pytest.fixture
def tune(monkeypatch, tmp_path):
    """Tune into a folder by a clock that stops after some trials; returns how many were measured."""

    def measure(checks, part, records):
        from tvm import autotvm

        text = "".join(autotvm.record.encode(*p) for p in records.pairs)
        return kernels.Checked(nets.made_up_s(f"{part.device} {part.rows} {text}"))

    def modules(several, *others):
        return [replace(m, measured_s=m.expected_s or 1e-3) for m in several]

    monkeypatch.setattr(kernels.KernelChecks, "_measure", measure)
    monkeypatch.setattr(final, "measure_modules", modules)
    profile, net = nets.write_profile(tmp_path / "costs.json"), nets.network()

    def tune(folder: Path, stop_after: int | None = None, **options) -> int:
        clock = nets.Clock(stop_after)
        monkeypatch.setattr(run, "Boards", lambda *_: clock)
        given = {"trials": TRIALS, "tuner": "random", "batch": 4, "profile": profile} | nets.QUICK | options
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
    rng, done, log, before = random.Random(0), 0, parts / "state" / "trials.log", ""
    while done < TRIALS:
        stop = min(rng.randint(1, 9), TRIALS - done)
        assert tune(parts, stop) == stop
        done += stop
        lines = log.read_text()
        assert lines.startswith(before) and lines.count("\n") == done, "a trial was lost"
        before = lines
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


def test_minutes_end_a_run_and_more_of_them_continue_it(tune, tmp_path, monkeypatch):
    folder, now = tmp_path / "timed", [0.0]
    stock = nets.Clock.measure

    def measure(clock, task, configs, save, go_on):
        def later(number, result):
            now[0] += 10.0
            save(number, result)

        stock(clock, task, configs, later, go_on)

    monkeypatch.setattr(nets.Clock, "measure", measure)
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert tune(folder, trials=None, minutes=1) == 6
    first = (folder / "state" / "trials.log").read_text()
    assert tune(folder, trials=None, minutes=2) == 12
    assert (folder / "state" / "trials.log").read_text().startswith(first)


@pytest.mark.remote
def test_killed_while_it_measures(tmp_path):
    """Real candidates on real devices, and a process that gets no chance to clean up."""
    folder, profile = tmp_path / "tuned", nets.write_profile(tmp_path / "costs.json")
    given = nets.QUICK | {"trials": 4, "batch": 2, "tuner": "random", "profile": profile}
    code = f"""
import tvm_coexec
from tests.tuning.loop import nets
tvm_coexec.tune(nets.network(), None, nets.CPU, nets.GPU, {str(folder)!r}, **{given!r})
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3], stderr=subprocess.PIPE)
    log, end = folder / "state" / "trials.log", time.monotonic() + 200
    while not (log.exists() and log.read_text().count("\n") >= 1):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    before = log.read_text()
    tuned = tvm_coexec.tune(nets.network(), None, nets.CPU, nets.GPU, folder, **given)
    lines = log.read_text().splitlines()
    assert lines[: before.count("\n")] == before.splitlines()[: before.count("\n")] and len(lines) == 4
    assert tuned.summary["trials"] == 4
    psutil.wait_procs(family, timeout=20)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "a process is left"
