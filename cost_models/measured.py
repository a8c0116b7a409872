"""Costs from measurements of this model's own kernels: a table with straight lines between its points."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tvm_coexec.errors import CoExecError
from tvm_coexec.kernel_graph import Kernel, Range
from tvm_coexec.plan import write_atomically

from .base import read_json
from .costs import AnalyticCosts, Costs, Device, Link

VERSION = 1
WHOLE = -1  # stands for the dimension of an undivided kernel
UNUSABLE_S = 1e3  # recorded for a kernel that a device can't run; never written to a file


class MeasuredCosts:
    """Measured seconds by kernel signature, device, dimension and rows.

    A share is interpolated between measured shares of the same kernel. A kernel that was never measured is answered
    by `fallback`, and its name is kept in `unmeasured`, so that a report can say so.

    Parameters
    ----------
    upload, download, host_copy : Link
    fallback : Costs, optional
    description : str
    """

    def __init__(
        self,
        upload: Link,
        download: Link,
        host_copy: Link,
        fallback: Costs | None = None,
        description: str = "measured on these devices",
    ):
        self.upload, self.download, self.host_copy = upload, download, host_copy
        self.fallback = fallback or AnalyticCosts()
        self.description = description
        self.table: dict[tuple[str, str, int], dict[int, float]] = {}
        self.unmeasured: set[str] = set()

    def add(self, device: Device, signature: str, dim: int, rows: int, seconds: float) -> None:
        """Records one measurement; ``dim`` is `WHOLE` for the undivided kernel (``rows`` then 0)."""
        self.table.setdefault((device, signature, dim), {})[rows] = seconds

    def has(self, device: Device, signature: str, dim: int = WHOLE, rows: int = 0) -> bool:
        """Whether that measurement is in the table."""
        return rows in self.table.get((device, signature, dim), {})

    def whole_s(self, device: Device, kernel: Kernel) -> float:
        """See `Costs.whole_s`."""
        found = self.table.get((device, kernel.signature(), WHOLE), {}).get(0)
        if found is None:
            self.unmeasured.add(kernel.name)
            return self.fallback.whole_s(device, kernel)
        return found

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Sequence[Range]) -> list[float]:
        """See `Costs.shares_s`."""
        axis = kernel.axis(dim)
        extent = axis.extent if axis is not None else 1
        whole = self.whole_s(device, kernel)
        points = {**self.table.get((device, kernel.signature(), dim), {}), extent: whole}
        rows = sorted(points)
        first = points[rows[0]]
        # Below the smallest measured share time falls to a launch, taken as a twentieth of that share.
        xs, ys = [0, *rows], [first * 0.05, *(points[r] for r in rows)]
        return [_interpolate(xs, ys, hi - lo) if hi > lo else 0.0 for lo, hi in ranges]

    def slowdown(self, device: Device) -> float:
        """See `Costs.slowdown`; it is not measured here."""
        return 1.0

    def save(self, path: str) -> None:
        """Writes the table as JSON; the file is replaced as a whole or not at all."""
        entries = [
            {"device": d, "kernel": s, "dim": dim, "rows": rows, "seconds": seconds}
            for (d, s, dim), points in sorted(self.table.items())
            for rows, seconds in sorted(points.items())
            if seconds < UNUSABLE_S
        ]
        links = {
            n: [getattr(self, n).constant_s, getattr(self, n).per_byte_s] for n in ("upload", "download", "host_copy")
        }
        head = {"version": VERSION, "kind": "measured", "description": self.description, "links": links}
        lines = ",\n".join("  " + json.dumps(e) for e in entries)
        write_atomically(path, json.dumps(head, indent=1)[:-2] + f',\n "entries": [\n{lines}\n ]\n}}\n')

    @staticmethod
    def load(path: str) -> MeasuredCosts:
        """Reads what `save` wrote; `CoExecError` names the file when it can't."""
        d = read_json(path, "measured", "profile")
        try:
            links = {n: Link(*map(float, d["links"][n])) for n in ("upload", "download", "host_copy")}
            costs = MeasuredCosts(**links, description=str(d["description"]))
            for e in d["entries"]:
                costs.add(str(e["device"]), str(e["kernel"]), int(e["dim"]), int(e["rows"]), float(e["seconds"]))
        except (KeyError, TypeError, ValueError) as err:
            raise CoExecError(f"profile {path} is damaged ({err}); measure again") from None
        return costs


def _interpolate(xs: list[int], ys: list[float], x: int) -> float:
    for i in range(1, len(xs)):
        if x <= xs[i]:
            t = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
            return ys[i - 1] + t * (ys[i] - ys[i - 1])
    return ys[-1] * x / xs[-1]
