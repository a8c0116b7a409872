"""Waiting until both cores are free: what runs side by side can only be timed while nobody else takes a core.

On a virtual machine two cores may be two threads of one, or be lent to others, for seconds or minutes; a model on one
core does not notice, one on two takes half as long again. A fixed loop is timed alone and beside the same loop on the
other core: while they do not hinder each other, the machine is what it says it is.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection

import numpy as np

_MOST = 1.12  # times as long beside the other core's loop
_PAUSE_S = 0.5
_ROUNDS = 12


class Quiet:
    """A helper on the other core; use it as a context manager.

    Parameters
    ----------
    patience_s : float
        Wait no longer than that, all waits together.
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
        """Wait until the loop takes as long beside the other core's as alone; `False` when patience has run out."""
        while True:
            if self.hindrance(core, other) <= _MOST:
                return True
            if self.left_s <= 0:
                return False
            time.sleep(_PAUSE_S)
            self.left_s -= _PAUSE_S
            self.waited_s += _PAUSE_S

    def hindrance(self, core: int, other: int) -> float:
        """How many times as long the loop takes on a core while the other core runs it, too."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            alone = min(_loop() for _ in range(_ROUNDS))
            self._own.send(other)
            self._own.recv()
            beside = sorted(_loop() for _ in range(_ROUNDS))[_ROUNDS // 2]
            self._own.send("rest")
            self._own.recv()
        finally:
            os.sched_setaffinity(0, before)
        return beside / alone


def _helper(pipe: Connection) -> None:
    """Runs the loop on the core that is sent, until the next message."""
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
        x = np.sin(x)  # numpy has no threads for it
    return time.perf_counter() - start
