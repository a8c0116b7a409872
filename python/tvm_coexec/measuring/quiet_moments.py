"""Time loaded libraries at moments when other users do not slow their devices.

The cores of a virtual machine are often threads of cores that have other users: they are slower by half for seconds,
and at their full speed for a second in between. Phones that get warm behave alike. So the libraries of a batch wait
together: a probe of a few milliseconds, the reference kernel, is repeated until a device is at its full speed, and
whatever waits for it is timed then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .protocol import spread_of

# While the reference kernel takes longer than this factor times its shortest time, a device is not at its full speed.
LOW_DRIFT = 1.15
PAUSE_S = 0.02
# A library is timed at this many quiet moments at most, until its repeats differ by less than LOW_SPREAD.
MOMENTS, LOW_SPREAD = 4, 0.05


class Drift(Protocol):
    """How fast a device is now (see `executors.ReferenceDrift`)."""

    best_s: float

    def measure(self) -> float:
        """Return the present time of the reference kernel over its shortest so far, `best_s`."""
        ...


@dataclass
class Waiting:
    """A loaded library to be timed.

    Attributes
    ----------
    time_once : callable
        Returns the seconds of some repeats.
    drift : Drift or None
        Of the device; `None` if it is not watched.
    seconds : tuple of float
        Repeats at quiet moments; if there was none, all repeats.
    moments : int
        How many quiet moments there were.
    reference_s : float
        Shortest time of the reference kernel next to repeats.
    """

    time_once: Callable[[], tuple[float, ...]]
    drift: Drift | None
    seconds: tuple[float, ...] = ()
    moments: int = 0
    reference_s: float = float("inf")

    @property
    def is_done(self) -> bool:
        """Whether no more quiet moments are needed."""
        return self.moments >= MOMENTS or (self.moments > 0 and spread_of(self.seconds) < LOW_SPREAD)

    @property
    def pace(self) -> float:
        """The least reference drift during repeats, by what is now known of the device's full speed."""
        return self.reference_s / self.drift.best_s if self.drift else 1.0

    def try_now(self, must: bool) -> bool:
        """Time the library if its device is quiet, or if it must have a time now; return whether it was quiet."""
        before = self.drift.measure() if self.drift else 1.0
        if before > LOW_DRIFT and (self.seconds or not must):
            return False
        found = self.time_once()
        pace = 1.0
        if self.drift:
            pace = max(before, self.drift.measure())
            self.reference_s = min(self.reference_s, pace * self.drift.best_s)
        if pace > LOW_DRIFT:
            self.seconds += found if not self.moments else ()
            return False
        self.seconds = self.seconds + found if self.moments else found
        self.moments += 1
        return True


def time_when_quiet(
    libraries: Sequence[Waiting],
    patience_s: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Time each library, if possible at quiet moments.

    Parameters
    ----------
    libraries : sequence of Waiting
        Their `seconds` and `pace` are set.
    patience_s : float
        Longest time without a quiet moment; then those that are left are timed as it is.
    clock, sleep : callable
        Time in seconds, and a pause.
    """
    left, last = list(libraries), clock()
    while left:
        must = clock() - last >= patience_s
        found = [library.try_now(must) for library in left]
        left = [library for library in left if not library.is_done]
        if any(found):
            last = clock()
        elif must:
            return
        else:
            sleep(PAUSE_S)
