"""Decomposition of a run, on timelines made by hand and at random."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm.relay")

import numpy as np

from benchmarks import _decomposition
from benchmarks._decomposition import Activity, bound_s, lost_time, mean_activity, measure_activity
from tvm_coexec.tracing import Timeline, TraceEvent

pytestmark = pytest.mark.llvm

CPU_S, GPU_S = 60.0, 90.0  # so that the bound is 36


def timeline(total_s: float, *events: tuple[str, float, float, str]) -> Timeline:
    return Timeline(total_s, tuple(TraceEvent(*e) for e in events))


CO_RUN = timeline(
    50.0,
    ("cpu", 0, 2, "slice"),  # the GPU is idle: a meeting on both devices
    ("cpu", 2, 3, "enqueue"),
    ("cpu", 3, 33, "work"),
    ("cpu", 33, 42, "wait"),  # from 40 on the GPU is idle: again a meeting
    ("cpu", 42, 44, "elided copy"),
    ("cpu", 44, 46, "join"),
    # the executor itself until 47
    ("cpu", 47, 50, "work"),
    ("gpu", 5, 37, "work"),
    ("gpu", 37, 40, "slice"),
)
ALONE = timeline(
    100.0,
    ("cpu", 2, 5, "enqueue"),
    ("gpu", 3, 31, "work"),
    ("cpu", 5, 35, "wait"),
    ("cpu", 35, 63, "work"),
    ("cpu", 90, 94, "work"),
)


def test_each_term_of_a_run():
    found = lost_time(CPU_S, GPU_S, measure_activity(CO_RUN), measure_activity(ALONE))
    want = {
        "shares": 32 / CPU_S + 28 / GPU_S - 1,
        "co_run": (33 - 32) / CPU_S + (32 - 28) / GPU_S,
        # slice, join, copy, and two seconds of waiting; the GPU's slice, and its idle time during the CPU's
        "meetings": (6 + 2) / CPU_S + (3 + 2 + 6) / GPU_S,
        "launch": 2 / CPU_S,
        # waiting for kernels and for the slice; idle while the CPU launches or computes
        "imbalance": 7 / CPU_S + (2 + 2 + 3) / GPU_S,
    }
    assert found == pytest.approx(want) and tuple(found) == _decomposition.TERMS
    assert sum(found.values()) == pytest.approx(50 / 36 - 1, abs=1e-12)
    assert bound_s(CPU_S, GPU_S) == pytest.approx(36)


def test_a_perfect_run_loses_nothing():
    both = timeline(36.0, ("cpu", 0, 36, "work"), ("gpu", 0, 36, "work"))
    apart = timeline(72.0, ("cpu", 0, 36, "work"), ("gpu", 36, 72, "work"))
    found = lost_time(CPU_S, GPU_S, measure_activity(both), measure_activity(apart))
    assert found == pytest.approx(dict.fromkeys(_decomposition.TERMS, 0.0), abs=1e-12)


def random_activity(rng: np.random.Generator) -> Activity:
    """Of a timeline whose events overlap and begin before or end after the run, as uncertain clocks make them."""
    kinds = {"cpu": ["work", "slice", "join", "enqueue", "upload", "wait"], "gpu": ["work", "join", "device copy"]}
    events = [
        (lane, start, start + length, what)
        for lane, whats in (*kinds.items(), ("transfers", ["upload", "download"]))
        for what in whats
        for start, length in zip(rng.uniform(-5, 100, 4), rng.uniform(0, 20, 4), strict=True)
    ]
    return measure_activity(timeline(float(rng.uniform(50, 100)), *events))


def test_the_sum_is_exact_for_any_runs_and_their_mean():
    rng = np.random.default_rng(0)
    for _ in range(50):
        cpu_s, gpu_s = rng.uniform(10, 200, 2)
        runs, alone = ([random_activity(rng) for _ in range(n)] for n in (7, 3))
        run = mean_activity(runs)
        lost = sum(lost_time(cpu_s, gpu_s, run, mean_activity(alone)).values())
        assert lost == pytest.approx(run.run_s / bound_s(cpu_s, gpu_s) - 1, abs=1e-9)
        assert all(s >= 0 for s in run.seconds.values())
        lengths = sorted(r.run_s for r in runs)
        assert run.run_s == pytest.approx(sum(lengths[1:-1]) / 5)  # a quarter of 7 is 1


def test_moments_outside_of_the_run_do_not_count():
    found = measure_activity(timeline(10.0, ("gpu", -2, 4, "work"), ("gpu", 8, 12, "work"), ("cpu", 0, 10, "work")))
    assert found.of(gpu=("work",)) == 6 and found.of(gpu=("idle",)) == 4 and found.run_s == 10
