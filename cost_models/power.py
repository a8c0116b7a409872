"""Watts of a device pair: what a plan's energy is predicted from."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvm_coexec.core.errors import CoExecError

from .models.regression import non_negative_sum, rounded

Busy = Mapping[str, float]  # seconds by "cpu", "gpu", or by "cpu/conv", "gpu/dense"...


@dataclass(frozen=True)
class Reading:
    """One reading of a power meter over a known run.

    Attributes
    ----------
    seconds : float
        How long the run took.
    joules : float
        What the whole device used in that time.
    busy_s : mapping of str to float
        Seconds that a device computed, by ``cpu`` or ``gpu``, or by device and kernel class as in ``gpu/conv``.
    """

    seconds: float
    joules: float
    busy_s: Busy


def read_readings(path: str | os.PathLike) -> list[Reading]:
    """Meter readings from a CSV file.

    Its columns are ``seconds``, ``joules`` and, for each name of `Reading.busy_s`, the seconds that it was busy; an
    empty field means none.

    Raises
    ------
    CoExecError
        Naming file and line, when it can't be read or a field is missing or no number.
    """
    path = os.fspath(path)
    try:
        with open(path, newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
    except (OSError, UnicodeDecodeError) as err:
        raise CoExecError(f"can't read meter readings {path}: {getattr(err, 'strerror', None) or err}") from None
    readings = []
    for number, row in enumerate(rows, 2):
        try:
            busy = {n: float(v) for n, v in row.items() if n not in ("seconds", "joules") and v}
            readings.append(Reading(float(row["seconds"]), float(row["joules"]), busy))
        except (KeyError, TypeError, ValueError):
            raise CoExecError(
                f"line {number} of {path} is no meter reading; it needs columns seconds, joules, and the busy seconds "
                "of cpu, gpu or classes such as gpu/conv"
            ) from None
    return readings


@dataclass(frozen=True)
class Power:
    """Watts by device and state; energy = idle power x time + sum over devices of extra power x busy time.

    The form is NeuralPower's (ACML 2017, section 3.3: energy is the sum of power times time over layers), with one
    power a kernel class instead of a polynomial, and idle power told apart, so that two devices at work add up.

    Attributes
    ----------
    idle_w : float
        Of the whole device, both processors idle.
    busy_w : dict of str to float
        What a device draws beyond that while it computes, by ``cpu`` and ``gpu``, and by device and class where that
        was measured (``cpu/conv``).
    """

    idle_w: float
    busy_w: dict[str, float] = field(default_factory=dict)

    def energy_j(self, seconds: float, busy_s: Busy) -> float:
        """Joules of a run.

        Parameters
        ----------
        seconds : float
            From its start to its end.
        busy_s : mapping of str to float
            See `Reading`; a class without a power of its own has its device's.

        Raises
        ------
        CoExecError
            When nothing is known of a device.
        """
        return self.idle_w * seconds + sum(self.watts(name) * s for name, s in busy_s.items())

    def watts(self, name: str) -> float:
        """Extra watts of a device, or of a device and class."""
        device = name.split("/")[0]
        found = self.busy_w.get(name, self.busy_w.get(device))
        if found is None:
            raise CoExecError(f"the profile has no power for '{device}'; give meter readings, or idle_w and busy_w")
        return found

    @staticmethod
    def fit(readings: Sequence[Reading]) -> Power:
        """Watts from meter readings, not negative, with the least relative error.

        A class gets a power of its own only where at least three readings tell it from its device.

        Raises
        ------
        CoExecError
            When the readings can't tell the states apart.
        """
        joules = np.array([r.joules for r in readings], float)
        if len(readings) < 2 or not (joules > 0).all():
            raise CoExecError("a power profile needs at least two meter readings, each of more than 0 joules")
        by_class = sorted({n for r in readings for n in r.busy_s if "/" in n})
        often = [n for n in by_class if sum(n in r.busy_s for r in readings) >= 3]
        devices = sorted({n.split("/")[0] for r in readings for n in r.busy_s})
        names = [*devices, *often]
        while True:
            columns = [[r.seconds for r in readings]]
            columns += [[_busy(r.busy_s, n, names) for r in readings] for n in names]
            x = np.array(columns, float).T
            if np.linalg.matrix_rank(x / x.max(axis=0, initial=1e-12)) == x.shape[1]:
                break
            if len(names) <= len(devices):
                raise CoExecError(
                    "the meter readings can't tell idle power and the devices apart: "
                    "add readings with the device idle, with each processor alone, and with both"
                )
            names.pop()
        found = rounded(non_negative_sum(x, joules))
        return Power(found[0], dict(zip(names, found[1:], strict=True)))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"idle_w": self.idle_w, "busy_w": self.busy_w}

    @staticmethod
    def from_json(d: Mapping[str, Any]) -> Power:
        """What `to_json` made."""
        return Power(float(d["idle_w"]), {str(n): float(w) for n, w in d["busy_w"].items()})


def _busy(busy_s: Busy, name: str, names: Sequence[str]) -> float:
    """Seconds that count for a name: a device's are those of its classes that have no name of their own."""
    if "/" in name:
        return busy_s.get(name, 0.0)
    return sum(s for n, s in busy_s.items() if n.split("/")[0] == name and (n == name or n not in names))
