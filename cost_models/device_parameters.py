"""What predictors know of a device without measuring kernels: peak rate, bandwidth, cores, clock, caches."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import read_text

KINDS = ("cpu", "gpu", "cores")


@dataclass(frozen=True)
class DeviceParameters:
    """Parameters of one device; 0 stands for an unknown number.

    Attributes
    ----------
    kind : {"cpu", "gpu", "cores"}
        ``cores`` is a GPU that is made of CPU cores.
    peak_flops_per_s : float
        FLOP/s in single precision, all cores; a multiply-add counts as two.
    bandwidth_bytes_per_s : float
        Of the main memory.
    cores : int
        Cores, or compute units.
    clock_hz : float
        Highest clock.
    l1_bytes, l2_bytes, l3_bytes : int
        Data caches: of one core, of one core or cluster, and shared. A GPU's local memory is its `l1_bytes`.
    """

    kind: str = "cpu"
    peak_flops_per_s: float = 0.0
    bandwidth_bytes_per_s: float = 0.0
    cores: int = 0
    clock_hz: float = 0.0
    l1_bytes: int = 0
    l2_bytes: int = 0
    l3_bytes: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CoExecError(f"device kind '{self.kind}'; there are: {', '.join(KINDS)}")
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "kind":
                continue
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and value >= 0 and math.isfinite(value)):
                raise CoExecError(f"device parameter {f.name} is {value!r}; give a number that is not negative")

    def to_json(self) -> dict[str, Any]:
        """Return JSON values of what is known."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name))}

    @staticmethod
    def from_json(d: Mapping[str, Any]) -> DeviceParameters:
        """Read the values of `to_json`; raise `CoExecError` for others."""
        known = [f.name for f in fields(DeviceParameters)]
        if unknown := sorted(set(d) - set(known)):
            raise CoExecError(f"unknown device parameter '{unknown[0]}'; there are: {', '.join(known)}")
        return DeviceParameters(**d)


def merge_parameters(found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, DeviceParameters]:
    """Return parameters by device: each number as it is given, else as it was found on the machine.

    Parameters
    ----------
    found, given : mapping of str to mapping of str to (str or number)
        JSON values by device.

    Raises
    ------
    CoExecError
        If there is another device or parameter.
    """
    parse_parameters(given)  # names the unknown
    return parse_parameters({d: {**found.get(d, {}), **given.get(d, {})} for d in dict.fromkeys([*found, *given])})


def read_parameters(path: str | os.PathLike) -> dict[str, Any]:
    """Read parameters that are given by hand: a JSON file ``{"cpu": {"peak_flops_per_s": 1e11...}, "gpu": {...}}``.

    Raises
    ------
    CoExecError
        If the file can't be read, or has another device or parameter; the text names it.
    """
    try:
        given = json.loads(read_text(path, "device parameters"))
        parse_parameters(given)
    except (CoExecError, ValueError, TypeError, AttributeError) as err:
        raise CoExecError(f"device parameters {os.fspath(path)}: {err}") from None
    return given


def parse_parameters(d: Mapping[str, Any]) -> dict[str, DeviceParameters]:
    """Read parameters by device (``cpu``, ``gpu``); raise `CoExecError`, `TypeError` or `AttributeError` for others."""
    for device in d:
        if device not in ("cpu", "gpu"):
            raise CoExecError(f"parameters of the device '{device}'; there are: cpu, gpu")
    return {device: DeviceParameters.from_json({"kind": device, **values}) for device, values in d.items()}
