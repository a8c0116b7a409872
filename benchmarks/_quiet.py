"""Wait until both cores are free: concurrent work can be timed only while no other process uses a core.

On a virtual machine two cores may be two threads of one core, or be used by others, for seconds or minutes. That does
not affect a model on one core, but slows one on two cores by half. A fixed loop is timed alone and together with the
same loop on the other core: if both take the same time, the two cores are independent.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection

import numpy as np

_MOST = 1.12  # largest accepted slowdown by the other core's loop
_PAUSE_S = 0.5
_ROUNDS = 12


class Quiet:
    """A helper on the other core; use it as a context manager.

    Parameters
    ----------
    patience_s : float
        Upper limit of all waits together.
    """

    def __init__(self, patience_s: float = 120.0):
        self.left_s, self.waited_s = patience_s, 0.0
        self._own, other = multiprocessing.get_context("spawn").Pipe()
        self._child = multiprocessing.get_context("spawn").Process(target=_helper, args=(other,), daemon=True)

    def __enter__(self) -> Quiet:
        self._child.start()
        self._own.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._own.send(None)
        self._child.join()

    def wait(self, core: int, other: int) -> bool:
        """Wait until the other core's loop does not slow ours; return `False` if `patience_s` is used up."""
        while True:
            if self.hindrance(core, other) <= _MOST:
                return True
            if self.left_s <= 0:
                return False
            time.sleep(_PAUSE_S)
            self.left_s -= _PAUSE_S
            self.waited_s += _PAUSE_S

    def hindrance(self, core: int, other: int) -> float:
        """Slowdown of the loop on a core while the other core runs it as well."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            alone = min(_loop() for _ in range(_ROUNDS))
            self._own.send(other)
            self._own.recv()
            together = sorted(_loop() for _ in range(_ROUNDS))[_ROUNDS // 2]
            self._own.send("rest")
            self._own.recv()
        finally:
            os.sched_setaffinity(0, before)
        return together / alone


def _helper(pipe: Connection) -> None:
    """Run the loop on the requested core until the next message."""
    pipe.send("ready")
    while (core := pipe.recv()) is not None:
        os.sched_setaffinity(0, {core})
        pipe.send("running")
        while not pipe.poll():
            _loop()
        pipe.recv()
        pipe.send("resting")


_X = np.random.default_rng(0).standard_normal(10000)


def _loop() -> float:
    """Seconds of about a millisecond of arithmetic."""
    start = time.perf_counter()
    x = _X
    for _ in range(12):
        x = np.sin(x)  # numpy runs it on one thread
    return time.perf_counter() - start
