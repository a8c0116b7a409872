"""Integrate a gauge while something runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tvm_coexec.core.errors import CoExecError

from .gauges import Gauge

CHUNK_S = 0.1  # between readings
LEAST_CHANGES = 3


@dataclass(frozen=True)
class EnergyRun:
    """Energy of a run.

    Attributes
    ----------
    seconds : float
        Duration.
    joules : float
        Of the whole machine, as far as the gauge shows it.
    busy_s : float
        Seconds of `seconds` in which the device worked.
    load : float
        Cores that other processes used meanwhile.
    """

    seconds: float
    joules: float
    busy_s: float
    load: float = 0.0

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds


def sleep() -> float:
    """Leave the devices idle for a moment; return the seconds of work."""
    time.sleep(CHUNK_S)
    return 0.0


def measure_run(
    gauge: Gauge,
    work: Callable[[], float],
    least_s: float | None = None,
    other_cpu_s: Callable[[], float] = lambda: 0.0,
) -> EnergyRun:
    """Measure the energy while work is repeated.

    The run begins and ends when the gauge changes, so that steps of a coarse one cancel.

    Parameters
    ----------
    gauge : Gauge
    work : callable
        Works for about `CHUNK_S`, and returns for how many seconds.
    least_s : float, optional
        Shortest duration; by default that of the gauge.
    other_cpu_s : callable
        Returns the CPU seconds of other processes so far.

    Raises
    ------
    CoExecError
        If the gauge can't be read, or does not change.
    """
    least_s = gauge.least_s if least_s is None else least_s
    settled = time.perf_counter() + gauge.settle_s
    while time.perf_counter() < settled:
        work()
    before, start = gauge.read(), time.perf_counter()
    changes, joules, busy_s, others_s, at = -1, 0.0, 0.0, 0.0, start  # the run begins at the first change
    while True:
        worked_s = work()
        after, now = gauge.read(), time.perf_counter()
        has_changed = after != before
        if changes < 0:
            if has_changed:
                changes, start, others_s = 0, now, other_cpu_s()
        else:
            busy_s += worked_s
            joules += gauge.joules(before, after, now - at)
            changes += has_changed
        before, at = after, now
        lasted_s = now - start
        enough = lasted_s >= least_s and changes >= gauge.changes and has_changed
        if enough or lasted_s >= max(gauge.most_s, least_s):
            break
    if changes < LEAST_CHANGES:
        raise CoExecError(
            f"{gauge.name} changed {max(0, changes)} times in {lasted_s:.0f} s, which is too coarse to measure power; "
            "give readings of a power meter to `coexec fit --meter`"
        )
    if joules <= 0.0:
        raise CoExecError(
            f"{gauge.name} shows {joules:.3g} J for {lasted_s:.0f} s: give readings of a power meter instead"
        )
    return EnergyRun(lasted_s, joules, busy_s, max(0.0, other_cpu_s() - others_s) / lasted_s)
