"""Runs of benchmarks at quiet moments."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from benchmarks._quiet import Probe, Quiet, Run


class MadeUpQuiet(Quiet):
    """Without a helper: probes are those of a list; the last one is repeated."""

    def __init__(self, probes: list[Probe], patience_s: float = 60.0):
        super().__init__(patience_s)
        self.probes = probes

    def probe(self, cores: tuple[int, int]) -> Probe:
        found = self.probes.pop(0) if len(self.probes) > 1 else self.probes[0]
        self.best = (min(found[0], self.best[0]), min(found[1], self.best[1]))
        return found


FULL, SLOW = (1.0, 1.0), (1.0, 2.0)
ALL = {"cpu": [[0, 1], [2, 3]], "both": [[0, 1], [2, 3]]}


def count() -> Iterator[float]:
    yield from map(float, range(100))


def test_a_run_is_repeated_until_both_cores_were_at_full_speed() -> None:
    quiet, seconds = MadeUpQuiet([FULL, SLOW, FULL, FULL, FULL, FULL]), count()
    quiet.probe((0, 1))
    run = quiet.time(lambda: next(seconds), (0, 1), 30.0)  # SLOW: waits; then a run between FULL and FULL
    assert run == Run(0.0, FULL)
    quiet.probes = [FULL, SLOW, FULL, FULL]
    assert quiet.time(lambda: next(seconds), (0, 1), 30.0) == Run(2.0, FULL)  # the run before SLOW did not count
    assert 0 < quiet.waited_s < 1


def test_patience_ends() -> None:
    quiet, seconds = MadeUpQuiet([FULL, SLOW], patience_s=0.05), count()
    quiet.probe((0, 1))
    run = quiet.time(lambda: next(seconds), (0, 1), 30.0)
    assert run == Run(0.0, SLOW) and not quiet.is_quiet(run)
    assert quiet.left_s < 0.02
    assert quiet.time(lambda: next(seconds), (0, 1), 30.0).seconds == 1.0  # at once


@pytest.mark.parametrize(
    ("cpu", "both", "kept", "percent"),
    [
        ([[FULL, FULL], [FULL, FULL]], [[FULL, FULL], [FULL, FULL]], ALL, 100),
        ([[SLOW, FULL], [FULL, FULL]], [[FULL, SLOW], [SLOW, SLOW]], {"cpu": [[1]], "both": [[0]]}, 25),
        ([[SLOW, SLOW], [FULL, FULL]], [[FULL, FULL], [SLOW, SLOW]], ALL, 0),
    ],
    ids=["all", "some", "none"],
)
def test_which_runs_count(cpu, both, kept, percent) -> None:
    quiet = MadeUpQuiet([FULL])
    quiet.probe((0, 1))
    turns = {}
    for name, of in (("cpu", cpu), ("both", both)):
        numbers = count()
        turns[name] = [[Run(next(numbers), probe) for probe in runs] for runs in of]
    assert quiet.select(turns) == kept
    assert quiet.quiet_percent == percent


def test_full_speed_that_is_found_late_counts_for_earlier_runs() -> None:
    quiet = MadeUpQuiet([SLOW, FULL])
    quiet.probe((0, 1))
    run = Run(1.0, SLOW)
    assert quiet.is_quiet(run)
    quiet.probe((0, 1))
    assert not quiet.is_quiet(run)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_the_loop_runs_on_both_cores() -> None:
    before = os.sched_getaffinity(0)
    with Quiet(1.0) as quiet:
        quiet.settle((0, 1))
        assert 1e-5 < min(quiet.best) <= max(quiet.best) < 0.1
        probe = quiet.probe((0, 1))
        assert quiet.slowdown(probe) >= 1.0
    assert os.sched_getaffinity(0) == before
