"""Measured energy of runs, as records of a dataset, and the power fitted to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tvm_coexec.core.errors import CoExecError

from .features.workload import Workload
from .power import Power, Reading

# Power of a device beyond idle, over idle power, below which a gauge does not see it.
LEAST_RISE = 0.01


@dataclass(frozen=True)
class EnergyRecord:
    """Energy of the machine while a device repeated a kernel, both did, or none.

    Attributes
    ----------
    seconds, joules : float
        Duration and energy.
    busy_s : mapping of str to float
        See `Reading.busy_s`; empty at rest.
    gauge : str
    device : str
        ``cpu`` or ``gpu``; empty at rest, and if both worked.
    signature : str
        Of the kernel (see `Kernel`), if one device worked; of both, the CPU's first, if both did.
    workload : Workload or None
        If one device worked.
    """

    seconds: float
    joules: float
    busy_s: Mapping[str, float] = field(default_factory=dict)
    gauge: str = ""
    device: str = ""
    signature: str = ""
    workload: Workload | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Identifies what ran; equal for repeated measurements."""
        return (self.device, self.signature)

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds

    @property
    def reading(self) -> Reading:
        """As a reading of a meter."""
        return Reading(self.seconds, self.joules, dict(self.busy_s))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as a record of a dataset."""
        d: dict[str, Any] = {"record": "energy", "seconds": self.seconds, "joules": self.joules}
        d |= {"busy_s": dict(self.busy_s), "gauge": self.gauge, "device": self.device, "signature": self.signature}
        return d if self.workload is None else d | {"workload": self.workload.to_json()}

    @staticmethod
    def from_json(d: dict[str, Any]) -> EnergyRecord:
        """Read the values of `to_json`; raise `CoExecError`, `KeyError`, `TypeError` or `ValueError` for others."""
        numbers = {n: float(d[n]) for n in ("seconds", "joules")}
        busy_s = {str(n): float(s) for n, s in d["busy_s"].items()}
        for name, value in (numbers | {f"busy_s of {n}": s for n, s in busy_s.items()}).items():
            if not (math.isfinite(value) and (value > 0 or (value == 0 and name not in numbers))):
                raise ValueError(f"{name} {value}")
        if d["device"] not in ("", "cpu", "gpu"):
            raise ValueError(f"device '{d['device']}'")
        return EnergyRecord(
            numbers["seconds"],
            numbers["joules"],
            busy_s,
            str(d["gauge"]),
            d["device"],
            str(d["signature"]),
            Workload.from_json(d["workload"]) if "workload" in d else None,
        )


def fit_power(records: Sequence[EnergyRecord]) -> Power:
    """Fit power to measured energy.

    Raises
    ------
    CoExecError
        If the gauge does not see one of the devices, or the records can't distinguish the states.
    """
    if unseen := find_unseen_device(records):
        raise CoExecError(
            f"{records[0].gauge} shows no more power while the {unseen} works than at rest, so it does not measure it; "
            "give readings of a power meter to `coexec fit --meter`"
        )
    return Power.fit([r.reading for r in records])


def find_unseen_device(records: Sequence[EnergyRecord]) -> str:
    """Return the device whose work raises the power no more than it varies at rest; empty if there is none.

    A counter of the processor does not see a graphics card, for instance, and by its power work there would be free.
    """
    idle = [r.watts for r in records if not r.busy_s]
    for device in ("cpu", "gpu"):
        busy = [r.watts for r in records if r.device == device]
        if not idle or not busy:
            continue
        if median(busy) - median(idle) <= max(LEAST_RISE * median(idle), max(idle) - min(idle)):
            return device
    return ""


def find_spreads(records: Sequence[EnergyRecord]) -> dict[tuple[str, str], float]:
    """Return the relative spread of the power of repeated measurements: largest less smallest, over the median."""
    by_key: dict[tuple[str, str], list[float]] = {}
    for r in records:
        by_key.setdefault(r.key, []).append(r.watts)
    return {key: (max(w) - min(w)) / median(w) for key, w in by_key.items()}
