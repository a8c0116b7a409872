"""Time concurrent work at moments when no one else slows a core.

The cores of a virtual machine are often threads of cores that have other users, or of one core: they are slower by
half for seconds and at full speed for a tenth of a second in between. A model on one core only takes longer then, and
a model on two waits for the slower one. So a fixed loop runs on both cores at once before and after each run; a run
counts if both cores were at their full speed both times.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

# While the loop takes longer than this factor times its shortest time, a core is not at its full speed.
_MOST = 1.15
_PAUSE_S = 0.005
# To find how long the loop takes at full speed.
_SETTLE_S = 3.0


Probe = tuple[float, float]


class Run(NamedTuple):
    """Seconds of a run, and on each core the slower of the loops before and after it; `None` if it does not matter."""

    seconds: float
    probe: Probe | None = None


class Quiet:
    """A helper on the other core; use it as a context manager.

    Parameters
    ----------
    patience_s : float
        Upper limit of all waits together, runs that do not count included.

    Attributes
    ----------
    left_s, waited_s : float
        What is left of it, and what was used.
    best : tuple of float
        Shortest time of the loop on this core and on the other one.
    quiet_percent : float
        Percentage of the runs that `select` last kept since they were at quiet moments.
    """

    def __init__(self, patience_s: float = 120.0):
        self.left_s, self.waited_s = patience_s, 0.0
        self.best: Probe = (float("inf"), float("inf"))
        self.quiet_percent = 100.0
        self._own, other = multiprocessing.get_context("spawn").Pipe()
        self._child = multiprocessing.get_context("spawn").Process(target=_helper, args=(other,), daemon=True)

    def __enter__(self) -> Quiet:
        self._child.start()
        self._own.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._own.send(None)
        self._child.join()

    def settle(self, cores: tuple[int, int]) -> None:
        """Run the loop for a while, so that its shortest time is known."""
        end = time.perf_counter() + min(_SETTLE_S, self.left_s)
        while time.perf_counter() < end:
            self.probe(cores)

    def wait(self, cores: tuple[int, int], most_s: float | None = None) -> Probe:
        """Wait until both cores are at full speed, or `most_s` or what is left of `patience_s` is used up."""
        start = time.perf_counter()
        most_s = self.left_s if most_s is None else min(most_s, self.left_s)
        while self.slowdown(found := self.probe(cores)) > _MOST and time.perf_counter() - start < most_s:
            time.sleep(_PAUSE_S)
        self.spend(time.perf_counter() - start)
        return found

    def time(self, once: Callable[[], float], cores: tuple[int, int], most_s: float) -> Run:
        """Call a function that returns its seconds until both cores were at full speed before and after it.

        After `most_s`, or if nothing is left of `patience_s`, the last call counts.
        """
        end = time.perf_counter() + min(most_s, self.left_s)
        while True:
            before = self.wait(cores, end - time.perf_counter())
            start = time.perf_counter()
            seconds = once()
            after = self.probe(cores)
            run = Run(seconds, (max(before[0], after[0]), max(before[1], after[1])))
            if self.is_quiet(run) or time.perf_counter() >= end:
                return run
            self.spend(time.perf_counter() - start)

    def spend(self, seconds: float) -> None:
        """Count time that was spent waiting."""
        self.left_s -= seconds
        self.waited_s += seconds

    def is_quiet(self, run: Run) -> bool:
        """Whether both cores were at full speed, by what is now known of it."""
        return run.probe is None or self.slowdown(run.probe) <= _MOST

    def select(self, turns: Mapping[str, Sequence[Sequence[Run]]]) -> dict[str, list[list[float]]]:
        """Return the seconds of the runs at quiet moments, by the runner's name and turn.

        Turns that lack such a run of a runner are left out; if all do, all runs are returned, and `quiet_percent` is 0.
        """
        quiet = {name: [[r.seconds for r in runs if self.is_quiet(r)] for runs in of] for name, of in turns.items()}
        chosen = [i for i, found in enumerate(zip(*quiet.values(), strict=True)) if all(found)]
        if chosen:
            kept = {name: [of[i] for i in chosen] for name, of in quiet.items()}
        else:
            kept = {name: [[r.seconds for r in runs] for runs in of] for name, of in turns.items()}
        count = sum(len(runs) for of in turns.values() for runs in of)
        self.quiet_percent = 100 * sum(len(runs) for of in kept.values() for runs in of) / count if chosen else 0.0
        return kept

    def slowdown(self, probe: Probe) -> float:
        """Time of the loop over its shortest time so far, on the slower core."""
        return max(now / best for now, best in zip(probe, self.best, strict=True))

    def probe(self, cores: tuple[int, int]) -> Probe:
        """Seconds of the loop on this core and on the other one, at the same time."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cores[0]})
        try:
            self._own.send(cores[1])
            seconds = _loop(), self._own.recv()
        finally:
            os.sched_setaffinity(0, before)
        self.best = (min(seconds[0], self.best[0]), min(seconds[1], self.best[1]))
        return seconds


class CoreDrift:
    """How fast a core is now, as `tvm_coexec.measuring.quiet_moments.Drift`: by the loop in the calling thread.

    Parameters
    ----------
    core : int

    Attributes
    ----------
    best_s : float
        Shortest time of the loop so far.
    """

    def __init__(self, core: int):
        self.core, self.best_s = core, float("inf")
        end = time.perf_counter() + _SETTLE_S
        while time.perf_counter() < end:
            self.measure()

    def measure(self) -> float:
        """Return the present time of the loop over its shortest so far."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.core})
        try:
            seconds = _loop()
        finally:
            os.sched_setaffinity(0, before)
        self.best_s = min(self.best_s, seconds)
        return seconds / self.best_s


def _helper(pipe: Connection) -> None:
    """Run the loop on the requested core and return its seconds, until the message is `None`."""
    pipe.send("ready")
    while (core := pipe.recv()) is not None:
        os.sched_setaffinity(0, {core})
        pipe.send(_loop())


_X = np.random.default_rng(0).standard_normal(1000)


def _loop() -> float:
    """Seconds of about a millisecond of arithmetic."""
    start = time.perf_counter()
    x = _X
    for _ in range(120):
        x = np.sin(x)  # numpy runs it on one thread
    return time.perf_counter() - start
