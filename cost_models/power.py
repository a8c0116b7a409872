"""Power of a pair of devices, from which the energy of a plan is predicted."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvm_coexec.core.errors import CoExecError

from .models.regression import fit_non_negative, round_digits
from .one_thread import on_one_thread

Busy = Mapping[str, float]  # seconds by "cpu", "gpu", or by "cpu/conv", "gpu/dense"...


@dataclass(frozen=True)
class Reading:
    """One reading of a power meter over a known run.

    Attributes
    ----------
    seconds : float
        Duration of the run.
    joules : float
        Energy of the whole machine.
    busy_s : mapping of str to float
        Seconds of computing, by ``cpu`` and ``gpu``, or by device and kernel class as in ``gpu/conv``.
    """

    seconds: float
    joules: float
    busy_s: Busy


def read_readings(path: str | os.PathLike) -> list[Reading]:
    """Read meter readings from a CSV file.

    Its columns are ``seconds``, ``joules`` and, for each name of `Reading.busy_s`, the busy seconds; an empty field
    means 0.

    Raises
    ------
    CoExecError
        If the file can't be read, or a field is missing or not a number; the text names the file and line.
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
                f"line {number} of {path} is not a meter reading; it needs columns seconds, joules, and the busy "
                "seconds of cpu, gpu or classes such as gpu/conv"
            ) from None
    return readings


@dataclass(frozen=True)
class Power:
    """Power by device and state: energy = idle power x time + sum over devices of additional power x busy time.

    The form is that of NeuralPower (ACML 2017, section 3.3: energy is the sum of power times time over layers), with
    one power per kernel class instead of a polynomial, and separate idle power, so that the power of two devices adds
    up.

    Attributes
    ----------
    idle_w : float
        Watts of the whole machine when both devices are idle.
    busy_w : dict of str to float
        Additional watts of a device while it computes, by ``cpu`` and ``gpu``, and by device and class if measured
        (``cpu/conv``).
    """

    idle_w: float
    busy_w: dict[str, float] = field(default_factory=dict)

    def energy_j(self, seconds: float, busy_s: Busy) -> float:
        """Return the joules of a run.

        Parameters
        ----------
        seconds : float
            Duration of the run.
        busy_s : mapping of str to float
            See `Reading`; a class without its own power has that of its device.

        Raises
        ------
        CoExecError
            If the power of a device is unknown.
        """
        return self.idle_w * seconds + sum(self.watts(name) * s for name, s in busy_s.items())

    def watts(self, name: str) -> float:
        """Return the additional watts of a device, or of a device and class."""
        device = name.split("/")[0]
        found = self.busy_w.get(name, self.busy_w.get(device))
        if found is None:
            raise CoExecError(
                f"the profile has no power for '{device}'; measure it with `coexec profile --energy`, or give readings "
                "of a meter with `coexec fit --meter`"
            )
        return found

    @staticmethod
    @on_one_thread
    def fit(readings: Sequence[Reading]) -> Power:
        """Fit non-negative watts to meter readings, with the least relative error.

        A class gets its own power only if at least three readings distinguish it from its device. Where all classes of
        a device have their own, other classes get the mean of these, by busy time.

        Raises
        ------
        CoExecError
            If the readings can't distinguish the states.
        """
        joules = np.array([r.joules for r in readings], float)
        if len(readings) < 2 or not (joules > 0).all():
            raise CoExecError("a power profile needs at least two meter readings, each of more than 0 joules")
        by_class = sorted({n for r in readings for n in r.busy_s if "/" in n})
        often = [n for n in by_class if sum(n in r.busy_s for r in readings) >= 3]
        devices = sorted({n.split("/")[0] for r in readings for n in r.busy_s})
        names = [*devices, *often]
        while True:
            busy = {n: [_busy_seconds(r.busy_s, n, names) for r in readings] for n in names}
            used = [n for n in names if any(busy[n])]
            columns = [[r.seconds for r in readings], *(busy[n] for n in used)]
            x = np.array(columns, float).T
            if np.linalg.matrix_rank(x / x.max(axis=0, initial=1e-12)) == x.shape[1]:
                break
            if len(names) <= len(devices):
                raise CoExecError(
                    "the meter readings can't distinguish idle power and the devices: "
                    "add readings with the device idle, with each processor alone, and with both"
                )
            names.pop()
        found = round_digits(fit_non_negative(x, joules))
        watts = dict(zip(used, found[1:], strict=True))
        for device in set(devices) - set(used):
            own = [n for n in used if n.split("/")[0] == device]
            mean_w = np.average([watts[n] for n in own], weights=[sum(busy[n]) for n in own])
            watts[device] = round_digits(np.array([mean_w]))[0]
        return Power(found[0], {n: watts[n] for n in names})

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"idle_w": self.idle_w, "busy_w": self.busy_w}

    @staticmethod
    def from_json(d: Mapping[str, Any]) -> Power:
        """Read the values of `to_json`."""
        return Power(float(d["idle_w"]), {str(n): float(w) for n, w in d["busy_w"].items()})


def _busy_seconds(busy_s: Busy, name: str, names: Sequence[str]) -> float:
    """Return the busy seconds of a name; those of a device are the ones of its classes that are not in `names`."""
    if "/" in name:
        return busy_s.get(name, 0.0)
    return sum(s for n, s in busy_s.items() if n.split("/")[0] == name and (n == name or n not in names))
