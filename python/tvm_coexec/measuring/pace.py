"""Whether devices are as fast as they were when a file of measurements was started."""

from __future__ import annotations

import time
from collections.abc import Callable

# A device that is slower or faster by more is not as it was; it is given some seconds to recover.
SAME_PACE, REFERENCE_TRIES, PAUSE_S = 1.3, 5, 1.0


def is_same_pace(now_s: float, then_s: float | None) -> bool:
    """Whether two times of the reference kernel are of a device at the same speed; `None` is of none."""
    return then_s is None or 1 / SAME_PACE <= now_s / then_s <= SAME_PACE


def time_reference(time_once: Callable[[], float], then_s: float | None) -> float:
    """Seconds of the reference kernel now; timed again some times where it differs from what it took then.

    Parameters
    ----------
    time_once : callable
        Times the reference kernel.
    then_s : float or None
        What it took when the file was started.
    """
    now_s = time_once()
    for _ in range(REFERENCE_TRIES):
        if is_same_pace(now_s, then_s):
            break
        time.sleep(PAUSE_S)
        now_s = min(now_s, time_once())
    return now_s
