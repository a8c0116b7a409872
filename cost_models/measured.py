"""Costs from measurements of a model's own kernels: a table with linear interpolation."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np

from tvm_coexec.core.devices import parse_runtime
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import damage, read_json, write_atomically
from tvm_coexec.core.kernel_graph import Kernel, KernelGraph

from .costs import AnalyticCosts, Costs, Device, Link, Ranges, UnifiedMemory, parse_seconds

VERSION = 1
WHOLE = -2  # stands for the dimension of an undivided kernel (-1 is the reduction)
UNUSABLE_S = 1e3  # recorded for a kernel that a device can't run; never written to a file


class ShareKey(NamedTuple):
    """A kernel, or a share of it, on a device.

    Attributes
    ----------
    device : {"cpu", "gpu"}
    kernel : str
        Its signature (see `Kernel`).
    dim : int
        The dimension that is split; `WHOLE` for a whole kernel.
    rows : int
        Of the share; 0 for a whole kernel.
    """

    device: str
    kernel: str
    dim: int = WHOLE
    rows: int = 0


class MeasuredCosts(Costs):
    """Measured seconds by kernel signature, device, dimension and rows.

    A share is interpolated between measured shares of the same kernel. A kernel that was not measured is predicted by
    `fallback`, and its name is added to `unmeasured`, for reports.

    Parameters
    ----------
    upload, download, host_copy : Link
    fallback : Costs, optional
    description : str
    runtime : {"own", "tvm"}
        See `Costs`.
    unified : UnifiedMemory or None
        See `Costs`.
    sync_s, enqueue_s : float
        See `Costs`. Older files include `sync_s` in the constant of the download, which has the same effect.

    Attributes
    ----------
    unmeasured : set of str
    references : dict of str to float
        Seconds of the reference kernel, by device, when measuring started.
    """

    def __init__(
        self,
        upload: Link,
        download: Link,
        host_copy: Link,
        fallback: Costs | None = None,
        description: str = "measured on these devices",
        sync_s: float = 0.0,
        enqueue_s: float = 0.0,
        runtime: str = "own",
        unified: UnifiedMemory | None = None,
    ):
        self.upload, self.download, self.host_copy = upload, download, host_copy
        self.fallback = fallback or AnalyticCosts()
        self.description, self.sync_s, self.enqueue_s = description, sync_s, enqueue_s
        self.runtime, self.unified = runtime, unified
        self.table: dict[tuple[str, str, int], dict[int, float]] = {}
        self.unmeasured: set[str] = set()
        self.networks: dict[tuple[str, str], float] = {}
        self.references: dict[str, float] = {}

    def add(self, device: Device, signature: str, dim: int, rows: int, seconds: float) -> None:
        """Add a measurement; for a whole kernel `dim` is `WHOLE` and `rows` 0."""
        self.table.setdefault((device, signature, dim), {})[rows] = seconds

    def has(self, device: Device, signature: str, dim: int = WHOLE, rows: int = 0) -> bool:
        """Whether the table has the measurement."""
        return rows in self.table.get((device, signature, dim), {})

    def add_network(self, device: Device, graph: KernelGraph, seconds: float) -> None:
        """Add the seconds of a whole network on one device."""
        self.networks[device, graph.fingerprint()] = seconds

    def has_failed(self, device: Device, kernel: Kernel) -> bool:
        """See `Costs.has_failed`."""
        return self.table.get((device, kernel.signature(), WHOLE), {}).get(0, 0.0) >= UNUSABLE_S

    def alone_s(self, device: Device, graph: KernelGraph) -> float | None:
        """See `Costs.alone_s`; it may be less than the sum of the kernels, which convert layouts separately."""
        return self.networks.get((device, graph.fingerprint()))

    def whole_s(self, device: Device, kernel: Kernel) -> float:
        """See `Costs.whole_s`."""
        found = self.table.get((device, kernel.signature(), WHOLE), {}).get(0)
        if found is None:
            self.unmeasured.add(kernel.name)
            return self.fallback.whole_s(device, kernel)
        return found

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """See `Costs.shares_s`."""
        extent = kernel.axis(dim).extent
        whole = self.whole_s(device, kernel)
        points = {**self.table.get((device, kernel.signature(), dim), {}), extent: whole}
        known = sorted(points)
        # For shares smaller than the smallest measured one, interpolate down to a launch: a twentieth of its time.
        seconds = [points[known[0]] * 0.05, *(points[r] for r in known)]
        rows = np.diff(np.asarray(ranges, float).reshape(-1, 2), axis=1)[:, 0]
        return np.where(rows > 0, np.interp(rows, [0, *known], seconds), 0.0)

    def epilogue_s(self, kernel: Kernel) -> float:
        """See `Costs.epilogue_s`; it is not measured but predicted by `fallback`."""
        return max(super().epilogue_s(kernel), self.fallback.epilogue_s(kernel))

    def slowdown(self, device: Device) -> float:
        """See `Costs.slowdown`; it is not measured, so it is 1."""
        return 1.0

    def to_json(self) -> str:
        """Return the table as JSON."""
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
        head |= {"runtime": self.runtime} if self.runtime != "own" else {}
        head |= {"unified": self.unified.to_json()} if self.unified else {}
        head |= {"sync": self.sync_s, "enqueue": self.enqueue_s, "references": self.references}
        head |= {"networks": [[*key, s] for key, s in sorted(self.networks.items())]}
        lines = ",\n".join("  " + json.dumps(e) for e in entries)
        return json.dumps(head, indent=1)[:-2] + f',\n "entries": [\n{lines}\n ]\n}}\n'

    def save(self, path: str) -> None:
        """Write the table as JSON; the file is replaced atomically."""
        write_atomically(path, self.to_json())

    @staticmethod
    def load(path: str) -> MeasuredCosts:
        """Read a file of `save`; `CoExecError` names the file if it can't be read."""
        return MeasuredCosts.from_json(read_json(path, "measured", "profile"), path)

    @staticmethod
    def from_json(d: dict, source: str = "profile") -> MeasuredCosts:
        """Read the object of `to_json`; `CoExecError` names the source if it is damaged."""
        try:
            links = {n: Link.from_json(d["links"][n]) for n in ("upload", "download", "host_copy")}
            costs = MeasuredCosts(
                links["upload"],
                links["download"],
                links["host_copy"],
                description=str(d["description"]),
                sync_s=parse_seconds("sync", d.get("sync", 0.0)),
                enqueue_s=parse_seconds("enqueue", d.get("enqueue", 0.0)),
                runtime=parse_runtime(d.get("runtime", "own")),
                unified=UnifiedMemory.from_json(d["unified"]) if "unified" in d else None,
            )
            costs.networks = {
                (str(device), str(g)): parse_seconds("networks", s) for device, g, s in d.get("networks", ())
            }
            costs.references = {
                str(device): parse_seconds("references", s) for device, s in d.get("references", {}).items()
            }
            for e in d["entries"]:
                rows = int(e["rows"])
                dim = int(e["dim"]) if rows else WHOLE  # earlier files have -1 there
                costs.add(str(e["device"]), str(e["kernel"]), dim, rows, parse_seconds("entries", e["seconds"]))
        except (KeyError, TypeError, ValueError) as err:
            raise CoExecError(f"profile {source} is damaged ({damage(err)}); measure again") from None
        return costs
