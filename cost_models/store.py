"""A store of measured latencies that is asked before anything is measured or predicted, as SQLite.

After the evolving database of NNLQP (Liu et al., ICPP 2022): a query is the hash of a graph and a device, the answer
its measured latency. Here an entry is a kernel, a share of one, or a whole network:

- kernels and shares by the digest of their signature (see `Kernel.signature`) and range,
- networks by the fingerprint of their graph (see `KernelGraph.fingerprint`) if a verified plan names it, otherwise by
  their name.

A measurement that is added again replaces a longer one, since other load only adds time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph

from .dataset import Samples
from .device_names import devices_of

VERSION = 1
KINDS = ("kernel", "share", "network")
_COLUMNS = {
    "hash": "TEXT",
    "kind": "TEXT",
    "name": "TEXT",
    "device": "TEXT",
    "machine": "TEXT",
    "target": "TEXT",
    "seconds": "REAL",
    "source": "TEXT",
    "measured_at": "TEXT",
}
_KEY = ("hash", "device", "machine", "target")


@dataclass(frozen=True)
class Entry:
    """One measured latency.

    Attributes
    ----------
    hash : str
        Of the kernel, share or network.
    kind : {"kernel", "share", "network"}
    name : str
        Operators of the kernel, or name of the network.
    device : {"cpu", "gpu", "both"}
        ``both`` for a network that a plan divides.
    machine : str
        Name of the device, and threads of a CPU (see `name_device`); of both devices for ``both``.
    target : str
        TVM target.
    seconds : float
    source : str
        File that it was added from.
    measured_at : str
        As the file says; may be empty.
    """

    hash: str
    kind: str
    name: str
    device: str
    machine: str
    target: str
    seconds: float
    source: str = ""
    measured_at: str = ""


def hash_kernel(signature: str, dim: int = -1, rows: tuple[int, int] | None = None) -> str:
    """Return the hash of a kernel, or of its share along a dimension."""
    text = signature if rows is None else f"{signature}|{dim}|{rows[0]}:{rows[1]}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def entries_of(samples: Samples, source: str = "") -> list[Entry]:
    """Return the entries of a dataset: measured kernels, shares and networks, and verified plans.

    Parameters
    ----------
    samples : Samples
        Kernels without a signature are left out; so are measurements of plans that were only predicted.
    source : str
        Name of the file.
    """
    targets, names = devices_of(samples)
    at = str(samples.header.get("started") or "")

    def entry(key: str, kind: str, name: str, device: str, seconds: float, measured_at: str = at) -> Entry:
        of = [device] if device != "both" else ["cpu", "gpu"]
        machine, target = (" + ".join(values[d] for d in of) for values in (names, targets))
        return Entry(key, kind, name, device, machine, target, seconds, source, measured_at)

    found = [
        entry(hash_kernel(s.signature, s.dim, s.rows), "share" if s.rows else "kernel", s.kernel, s.device, s.seconds)
        for s in samples.usable
        if s.signature
    ]
    found += [entry(n["network"], "network", n["network"], n["device"], n["seconds"]) for n in samples.networks]
    found += [entry(p.graph, "network", p.strategy, p.device, p.measured_s, p.at) for p in samples.plans]
    return found


class LatencyStore:
    """The store in one file.

    Parameters
    ----------
    path : str or path
    create : bool
        Whether to make the file if it is not there.

    Raises
    ------
    CoExecError
        If the file can't be opened, is not a store, or is of another version; the text names it.
    """

    def __init__(self, path: str | os.PathLike, create: bool = True):
        self.path = os.fspath(path)
        is_new = not os.path.exists(self.path) or not os.path.getsize(self.path)
        if is_new and not create:
            raise CoExecError(f"there is no store {self.path}; add measurements with `coexec store add`")
        with self._connect() as db:
            if is_new:
                columns = ", ".join(f"{n} {t} NOT NULL" for n, t in _COLUMNS.items())
                db.execute(f"CREATE TABLE latency ({columns}, PRIMARY KEY ({', '.join(_KEY)})) WITHOUT ROWID")
                db.execute(f"PRAGMA user_version = {VERSION}")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            present = [row[1] for row in db.execute("PRAGMA table_info(latency)")]
        if version != VERSION or present != list(_COLUMNS):
            raise CoExecError(f"{self.path} is not a store of version {VERSION}; give another file")

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction."""
        try:
            db = sqlite3.connect(self.path, timeout=30)
            try:
                with db:
                    yield db
            finally:
                db.close()
        except sqlite3.Error as err:
            raise CoExecError(f"can't use the store {self.path}: {err}; give another file") from None

    def add(self, entries: Iterable[Entry]) -> int:
        """Add entries, all or none; return how many are new, or shorter than the stored ones, which they replace."""
        names = ", ".join(_COLUMNS)
        marks = ", ".join(f":{n}" for n in _COLUMNS)
        changes = ", ".join(f"{n} = excluded.{n}" for n in _COLUMNS if n not in _KEY)
        statement = (
            f"INSERT INTO latency ({names}) VALUES ({marks}) ON CONFLICT ({', '.join(_KEY)}) "
            f"DO UPDATE SET {changes} WHERE excluded.seconds < latency.seconds"
        )
        with self._connect() as db:
            before = db.total_changes
            db.executemany(statement, [asdict(e) for e in entries])
            return db.total_changes - before

    def find(self, **wanted: str) -> list[Entry]:
        """Return the entries whose columns have the given values, in a fixed order.

        Parameters
        ----------
        **wanted : str
            Such as ``kind="network"``, ``device="gpu"``, ``hash=graph.fingerprint()``.
        """
        if unknown := sorted(set(wanted) - set(_COLUMNS)):
            raise CoExecError(f"the store has no column '{unknown[0]}'; it has: {', '.join(_COLUMNS)}")
        where = " AND ".join(f"{n} = :{n}" for n in wanted) or "1"
        order = "kind, name, hash, device, machine, target"
        with self._connect() as db:
            rows = db.execute(f"SELECT {', '.join(_COLUMNS)} FROM latency WHERE {where} ORDER BY {order}", wanted)
            return [Entry(*row) for row in rows]

    def find_kernels(self, graph: KernelGraph, device: str, machine: str = "") -> list[Entry | None]:
        """Return the shortest entry of each whole kernel of a graph on a device; `None` if it was not measured.

        Parameters
        ----------
        graph : KernelGraph
        device : {"cpu", "gpu"}
        machine : str, optional
            Only entries of this machine.
        """
        shortest: dict[str, Entry] = {}
        for e in self.find(device=device, kind="kernel", **({"machine": machine} if machine else {})):
            if e.hash not in shortest or e.seconds < shortest[e.hash].seconds:
                shortest[e.hash] = e
        return [shortest.get(hash_kernel(k.signature())) for k in graph.kernels]

    def count(self) -> list[dict[str, Any]]:
        """Return the number of entries for each kind, device and machine."""
        groups = "kind, device, machine, target"
        with self._connect() as db:
            rows = db.execute(f"SELECT {groups}, COUNT(*) FROM latency GROUP BY {groups} ORDER BY {groups}")
            return [dict(zip([*groups.split(", "), "entries"], row, strict=True)) for row in rows]
