"""Lifetimes of buffers when both devices work concurrently: when the memory of a buffer may be reused.

The host executes nodes in the graph's order, and so does the GPU's queue, but the two orders are only related where the
host waits. So memory whose last user is a GPU kernel

- may be reused by a later GPU kernel immediately: the queue runs it after the first one;
- may be reused by a CPU kernel only after the host has waited for that GPU kernel, or for a later one.

Memory whose last user is the CPU may be reused by either: a GPU kernel is submitted to the queue afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from ..graph_json import Graph
from .sharing import BufferSharing
from .steps import Step

BEFORE, NEVER = -1.0, inf


@dataclass
class Buffer:
    """Contiguous memory of one tensor or several aliasing tensors, and its lifetime in node indices.

    Attributes
    ----------
    root : int
        The entry that owns the buffer and determines its size.
    nbytes : int
        At least 1: a tensor without elements needs a valid address, too.
    entries : list of int
        The entries in it.
    devices : set of str
        ``cpu``, ``gpu``: whose kernels use it.
    first : dict of str to float
        By device: the first node that uses the buffer.
    free_for : dict of str to float
        By device: the last node during which the buffer is in use from the point of view of that device's kernels. A
        later kernel of that device may reuse the memory.
    """

    root: int
    nbytes: int
    entries: list[int] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)
    first: dict[str, float] = field(default_factory=dict)
    free_for: dict[str, float] = field(default_factory=lambda: {"cpu": BEFORE, "gpu": BEFORE})

    def precedes(self, other: Buffer) -> bool:
        """Return whether this buffer's last use precedes `other`'s first use, so that `other` may reuse its memory."""
        return all(at > self.free_for[device] for device, at in other.first.items())

    def may_share_memory(self, other: Buffer) -> bool:
        """Return whether the two lifetimes are disjoint, so that both buffers may use the same memory."""
        return self.precedes(other) or other.precedes(self)


class Waits:
    """The host's waits, and which GPU kernels have certainly ended after each of them.

    Parameters
    ----------
    steps : sequence of Step
    writers : mapping of int to sequence of int
        By the node of a ``download``: the GPU kernels (nodes) that wrote its source.
    """

    def __init__(self, steps: Sequence[Step], writers: Mapping[int, Sequence[int]]):
        self._known: list[tuple[int, int]] = []  # (node of the wait, last kernel that has ended by then)
        last = -1
        for step in steps:
            if step.what == "download" and max(writers[step.node], default=-1) > last:
                last = max(writers[step.node])
                self._known.append((step.node, last))

    def find_end(self, kernel: int) -> float:
        """Return the first node after which a GPU kernel has certainly ended; infinity if there is none."""
        return next((wait for wait, last in self._known if last >= kernel), NEVER)


def find_gpu_writers(graph: Graph, steps: Sequence[Step], sharing: BufferSharing) -> dict[int, list[int]]:
    """Find the GPU kernels that write the source of each download.

    Parameters
    ----------
    graph : Graph
    steps : sequence of Step
    sharing : BufferSharing

    Returns
    -------
    dict of int to list of int
        By the download's node: the nodes of kernels that write bytes of its source.
    """
    written: dict[int, list[tuple[int, int, int]]] = {}  # buffer -> (begin, end, kernel)
    found: dict[int, list[int]] = {}
    for step in steps:
        if step.what == "gpu" and step.node not in sharing.in_place:
            for e in step.writes:
                root, at = sharing.location[e]
                written.setdefault(root, []).append((at, at + graph.entries[e].nbytes, step.node))
        elif step.what == "download":
            root, at = sharing.location[step.reads[0]]
            end = at + graph.entries[step.reads[0]].nbytes
            found[step.node] = [k for a, b, k in written.get(root, ()) if a < end and at < b]
    return found


def compute_buffers(
    graph: Graph,
    steps: Sequence[Step],
    sharing: BufferSharing,
    writers: Mapping[int, Sequence[int]],
    fetch: bool = False,
) -> dict[int, Buffer]:
    """Compute all buffers and their lifetimes.

    Inputs and parameters are in use during the whole run, outputs from their first use to its end.

    Parameters
    ----------
    graph : Graph
    steps : sequence of Step
    sharing : BufferSharing
    writers : mapping of int to sequence of int
        As `find_gpu_writers` returns it.
    fetch : bool
        Whether downloads start when their sources' kernels end, so that their destinations are in use from then on.

    Returns
    -------
    dict of int to Buffer
        By root, in the order of the graph's entries.
    """
    buffers: dict[int, Buffer] = {}
    for e in graph.entries:
        root = sharing.location[e.index][0]
        buffer = buffers.setdefault(root, Buffer(root, max(1, graph.entries[root].nbytes)))
        buffer.entries.append(e.index)
    waits = Waits(steps, writers)
    for step in steps:
        if step.what == "input":
            buffers[sharing.location[step.writes[0]][0]].first = {"cpu": BEFORE, "gpu": BEFORE}
        elif step.what != "view" and step.node not in sharing.in_place:
            for agent, entry in memory_uses(step, sharing):
                _extend_lifetime(buffers[sharing.location[entry][0]], agent, step.node, waits)
    for node, kernels in writers.items() if fetch else ():
        # A download that starts early uses its destination from then on.
        target = buffers[sharing.location[steps[node].writes[0]][0]]
        target.first["cpu"] = min(target.first.get("cpu", node), max(kernels, default=node))
    for kept in (*graph.inputs, *graph.outputs):
        buffers[sharing.location[kept][0]].free_for = {"cpu": NEVER, "gpu": NEVER}
    for b in buffers.values():
        b.devices = {"cpu" if graph.entries[e].on_cpu else "gpu" for e in b.entries}
    return buffers


def memory_uses(step: Step, sharing: BufferSharing) -> list[tuple[str, int]]:
    """Return which device uses which entries in a step.

    The CPU uses the one side of a copy between the devices and the GPU the other; a copy within one buffer is a no-op.

    Parameters
    ----------
    step : Step
    sharing : BufferSharing

    Returns
    -------
    list of (str, int)
        ``cpu`` or ``gpu``, and an entry.
    """
    if step.what in ("cpu", "gpu"):
        return [(step.what, e) for e in (*step.reads, *step.writes)]
    if step.what in ("upload", "download") and sharing.location[step.reads[0]] == sharing.location[step.writes[0]]:
        return []
    sides = {"upload": ("cpu", "gpu"), "download": ("gpu", "cpu")}.get(step.what)
    return [] if sides is None else [(sides[0], step.reads[0]), (sides[1], step.writes[0])]


def _extend_lifetime(buffer: Buffer, agent: str, node: int, waits: Waits) -> None:
    buffer.first.setdefault(agent, node)
    free = buffer.free_for
    free["gpu"] = max(free["gpu"], node)
    free["cpu"] = max(free["cpu"], node if agent == "cpu" else waits.find_end(node))
