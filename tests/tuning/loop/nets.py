"""A small network whose plan has shares, and costs with which it has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from tests import models
from tvm_coexec.cost_models import Link, MeasuredCosts

CPU, GPU = "llvm", "opencl -model=pocl"
# Few runs of few candidates, and plans with shares whatever they gain.
QUICK = {"number": 1, "repeat": 1, "min_repeat_ms": 0, "min_gain": 0.0, "plans": 3, "show": False}


def network(channels: int = 16):
    """A convolution that both devices share, by the costs of `write_profile`."""
    return models.conv_chain(1, channels=channels, size=28)


def write_profile(path: Path) -> str:
    """Write costs of devices of equal speed, between which copies are free."""
    free = Link(0.0, 0.0)
    MeasuredCosts(free, free, free, description="made up").save(str(path))
    return str(path)


def made_up_s(text: str) -> float:
    """Seconds that depend on a text and nothing else, from 10 to 90 microseconds."""
    return 1e-5 + 8e-5 * int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8


class Clock:
    """What measures candidates, with times that depend on the candidate only; stops after some of them.

    Parameters
    ----------
    stop_after : int, optional
        Raise `KeyboardInterrupt` in place of the next measurement.
    """

    def __init__(self, stop_after: int | None = None):
        self.stop_after, self.measured = stop_after, 0

    def start(self) -> int:
        return 1

    def measure(self, task, configs: Sequence, save: Callable, go_on: Callable[[], bool] = lambda: True) -> None:
        from tvm.autotvm.measure import MeasureInput, MeasureResult

        from tvm_coexec.tuning.loop.trials import key_of

        for number, config in enumerate(configs):
            if not go_on():
                return
            if self.measured == self.stop_after:
                raise KeyboardInterrupt
            self.measured += 1
            key = key_of(MeasureInput(task.target, task, config))
            failed = int(hashlib.sha256(key.encode()).hexdigest()[-1], 16) == 0
            costs = ("", RuntimeError("made up")) if failed else (made_up_s(key),)
            save(number, MeasureResult(costs, 4 if failed else 0, 0.01, 0.0))

    def close(self) -> None:
        pass
