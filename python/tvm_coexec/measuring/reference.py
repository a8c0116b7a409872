"""The reference kernel: whether a device is as fast as when a dataset was started."""

from __future__ import annotations

import time
from collections.abc import Callable

# Times of the reference kernel may differ by this factor; otherwise the device is given some seconds to recover.
MAX_SPEED_RATIO, REFERENCE_TRIES, PAUSE_S = 1.3, 5, 1.0


def is_same_speed(now_s: float, then_s: float | None) -> bool:
    """Whether two times of the reference kernel are of a device at the same speed; `None` is of none."""
    return then_s is None or 1 / MAX_SPEED_RATIO <= now_s / then_s <= MAX_SPEED_RATIO


def time_reference(time_once: Callable[[], float], then_s: float | None) -> float:
    """Time the reference kernel, a few times if it differs from the earlier time.

    Parameters
    ----------
    time_once : callable
        Times the reference kernel.
    then_s : float or None
        Its time when the dataset was started.

    Returns
    -------
    float
        Seconds.
    """
    now_s = time_once()
    for _ in range(REFERENCE_TRIES):
        if is_same_speed(now_s, then_s):
            break
        time.sleep(PAUSE_S)
        now_s = min(now_s, time_once())
    return now_s
