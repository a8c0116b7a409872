"""Costs of a model whose kernels were tuned: what was measured with the tuned configurations, else other costs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import damage, read_json, write_atomically
from tvm_coexec.core.kernel_graph import DEVICES, Kernel

from .costs import Costs, Device
from .derived import DerivedCosts
from .measured import WHOLE, MeasuredCosts, ShareKey
from .profile import Profile

VERSION = 1
KIND = "tuned"


@dataclass(frozen=True)
class KernelTime:
    """Seconds of a kernel, or of a share of it, alone; the other attributes are those of `ShareKey`."""

    device: str
    kernel: str
    seconds: float
    dim: int = WHOLE
    rows: int = 0

    @property
    def key(self) -> ShareKey:
        """What the seconds are of."""
        return ShareKey(self.device, self.kernel, self.dim, self.rows)


class TunedCosts(DerivedCosts):
    """Other costs, in which some kernels take what was measured.

    The ratio of measured to predicted seconds is interpolated between the measured shares of an axis, and up to the
    whole kernel. Below the smallest measured share it is constant.

    Parameters
    ----------
    base : Costs
    kernels : iterable of KernelTime
    """

    def __init__(self, base: Costs, kernels: Iterable[KernelTime] = ()):
        super().__init__(base, f"{base.description}; tuned kernels as measured")
        self.kernels = tuple(kernels)
        self._points: dict[tuple[str, str, int], dict[int, float]] = {}
        for k in self.kernels:
            self._points.setdefault((k.device, k.kernel, k.dim), {})[k.rows] = k.seconds

    def whole_of_many(self, device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
        """See `Costs.whole_of_many`."""
        seconds = np.array(self.base.whole_of_many(device, kernels), float)
        for at, k in enumerate(kernels):
            found = self._points.get((device, k.signature(), WHOLE), {}).get(0)
            if found is not None:
                seconds[at] = self._in_network(device, found)
        return seconds

    def _ratios(self, device: Device, kernel: Kernel, dim: int, rows: np.ndarray) -> np.ndarray:
        """Measured over predicted seconds of shares, interpolated in their rows."""
        signature, extent = kernel.signature(), kernel.axis(dim).extent
        whole = self._points.get((device, signature, WHOLE), {}).get(0)
        points = self._points.get((device, signature, dim), {})
        if whole is None and not points:
            return np.ones(len(rows))
        known = sorted(points)
        ends = [(0, r) if device == "gpu" else (extent - r, extent) for r in known]
        predicted = self.base.shares_s(device, kernel, dim, np.array(ends, float)) if known else np.zeros(0)
        ratios = [self._in_network(device, points[r]) / max(p, 1e-12) for r, p in zip(known, predicted, strict=True)]
        last = 1.0
        if whole is not None:
            last = self._in_network(device, whole) / max(self.base.whole_s(device, kernel), 1e-12)
        return np.interp(rows, [*known, extent], [*ratios, last])

    def _in_network(self, device: Device, seconds: float) -> float:
        return float(self.base.in_network_s(device, np.array([seconds]))[0])

    def samples_of(self, device: Device, kernel: Kernel) -> tuple[str, int] | None:
        """See `Costs.samples_of`; what was measured needs none."""
        measured = (device, kernel.signature(), WHOLE) in self._points
        return None if measured else self.base.samples_of(device, kernel)

    def to_json(self) -> str:
        """Return the costs as JSON.

        Raises
        ------
        CoExecError
            If the other costs are neither a profile nor measured.
        """
        if not isinstance(self.base, (Profile, MeasuredCosts)):
            raise CoExecError(
                f"costs of the class {type(self.base).__name__} can't be written to a file: give a profile"
            )
        head = {"version": VERSION, "kind": KIND, "base": json.loads(self.base.to_json())}
        keys = ("device", "kernel", "seconds", "dim", "rows")
        lines = ",\n".join("  " + json.dumps({n: getattr(k, n) for n in keys}) for k in self.kernels)
        return json.dumps(head, separators=(",", ":"))[:-1] + f',\n"kernels":[\n{lines}\n]}}\n'

    def save(self, path: str | os.PathLike) -> None:
        """Write the costs; the file is replaced atomically."""
        write_atomically(os.fspath(path), self.to_json())

    @staticmethod
    def load(path: str | os.PathLike) -> TunedCosts:
        """Read a file of `save`; `CoExecError` names the file if it can't be read."""
        path = os.fspath(path)
        d = read_json(path, KIND, "profile")
        try:
            kernels = [
                KernelTime(str(k["device"]), str(k["kernel"]), float(k["seconds"]), int(k["dim"]), int(k["rows"]))
                for k in d["kernels"]
            ]
            if wrong := [k.device for k in kernels if k.device not in DEVICES]:
                raise ValueError(f"device '{wrong[0]}'")
            base = d["base"]
            read = _READERS[base["kind"]]
        except (KeyError, TypeError, ValueError) as err:
            raise CoExecError(f"profile {path} is damaged ({damage(err)}); tune again") from None
        return TunedCosts(read(base, path), kernels)


_READERS: dict[str, Callable[[dict[str, Any], str], Costs]] = {
    "profile": Profile.from_json,
    "measured": MeasuredCosts.from_json,
}


def load_costs(path: str | os.PathLike) -> Costs:
    """Read costs from a file: a `Profile`, the `MeasuredCosts` of one model, or the `TunedCosts` of one.

    Raises
    ------
    CoExecError
        If the file can't be read, is none of these, or is damaged; the text names it.
    """
    path = os.fspath(path)
    kind: Any = None
    try:
        with open(path, encoding="utf-8") as f:
            kind = json.load(f).get("kind")
    except (OSError, ValueError, AttributeError):
        pass  # the reader raises the error
    if kind == KIND:
        return TunedCosts.load(path)
    return Profile.load(path) if kind == "profile" else MeasuredCosts.load(path)


def load_profile(path: str | os.PathLike) -> Profile:
    """Read a profile whose models predict any kernel; `CoExecError` for costs of one model's kernels."""
    costs = load_costs(path)
    if isinstance(costs, Profile):
        return costs
    raise CoExecError(
        f"{os.fspath(path)} has measured times of one model's kernels, which serve plans and `coexec predict`: give a "
        "profile that `coexec fit` wrote"
    )


__all__ = ["KernelTime", "TunedCosts", "load_costs", "load_profile"]
