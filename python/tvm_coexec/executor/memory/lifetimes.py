"""From when on a buffer's memory may be used for something else, although both devices may be at work.

What the host does is in the order of the graph's nodes, and so is what the GPU does, but the two orders are only tied
together where the host waits. So memory that the GPU has used last

- may be given to another GPU kernel at once: the queue runs it later;
- may be given to a CPU kernel only behind a wait for that kernel, or for a later one.

Memory that the CPU has used last may be given to either: a GPU kernel is handed to the queue afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from ..graph_json import Graph
from .sharing import Sharing
from .steps import Step

BEFORE, NEVER = -1.0, inf


@dataclass
class Buffer:
    """Tensors that lie in one run of memory, and when it is in use.

    Attributes
    ----------
    root : int
        The entry that gives it its size.
    nbytes : int
        At least 1: a tensor without elements has an address too, in memory that exists.
    entries : list of int
    devices : set of str
        ``cpu``, ``gpu``: which kernels use it.
    first : dict of str to float
        The first node that uses it, by device.
    free_for : dict of str to float
        The last node at which it is in use as far as each device's kernels are concerned.
    """

    root: int
    nbytes: int
    entries: list[int] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)
    first: dict[str, float] = field(default_factory=dict)
    free_for: dict[str, float] = field(default_factory=lambda: {"cpu": BEFORE, "gpu": BEFORE})

    def precedes(self, other: Buffer) -> bool:
        """Whether the other one's memory may be this one's from the other one's first use on."""
        return all(at > self.free_for[device] for device, at in other.first.items())

    def fits_beside(self, other: Buffer) -> bool:
        """Whether both may be the same memory."""
        return self.precedes(other) or other.precedes(self)


class Waits:
    """When the host knows that a GPU kernel has ended.

    Parameters
    ----------
    steps : sequence of Step
    writers : mapping of int to sequence of int
        For each ``download``'s node: the GPU kernels (nodes) that wrote what it brings.
    """

    def __init__(self, steps: Sequence[Step], writers: Mapping[int, Sequence[int]]):
        self._known: list[tuple[int, int]] = []  # (node of the wait, last kernel that has ended by then)
        last = -1
        for step in steps:
            if step.what == "download" and max(writers[step.node], default=-1) > last:
                last = max(writers[step.node])
                self._known.append((step.node, last))

    def after(self, kernel: int) -> float:
        """The first node behind which a GPU kernel is known to have ended; infinite if there is none."""
        return next((wait for wait, last in self._known if last >= kernel), NEVER)


def gpu_writers(graph: Graph, steps: Sequence[Step], sharing: Sharing) -> dict[int, list[int]]:
    """For each download's node: the GPU kernels that wrote bytes of its source."""
    written: dict[int, list[tuple[int, int, int]]] = {}  # buffer -> (begin, end, kernel)
    found: dict[int, list[int]] = {}
    for step in steps:
        if step.what == "gpu" and step.node not in sharing.joined:
            for e in step.writes:
                root, at = sharing.place[e]
                written.setdefault(root, []).append((at, at + graph.entries[e].nbytes, step.node))
        elif step.what == "download":
            root, at = sharing.place[step.reads[0]]
            end = at + graph.entries[step.reads[0]].nbytes
            found[step.node] = [k for a, b, k in written.get(root, ()) if a < end and at < b]
    return found


def buffers_of(
    graph: Graph, steps: Sequence[Step], sharing: Sharing, writers: Mapping[int, Sequence[int]], fetch: bool = False
) -> dict[int, Buffer]:
    """The buffers by root, in the order of the graph's entries, with the times of their uses.

    Inputs, parameters and what the graph returns keep their memory: the first from before the run on, all to its end.
    """
    buffers: dict[int, Buffer] = {}
    for e in graph.entries:
        root = sharing.place[e.index][0]
        buffer = buffers.setdefault(root, Buffer(root, max(1, graph.entries[root].nbytes)))
        buffer.entries.append(e.index)
    waits = Waits(steps, writers)
    for step in steps:
        if step.what == "input":
            buffers[sharing.place[step.writes[0]][0]].first = {"cpu": BEFORE, "gpu": BEFORE}
        elif step.what != "view" and step.node not in sharing.joined:
            for agent, entry in uses(step, sharing):
                _use(buffers[sharing.place[entry][0]], agent, step.node, waits)
    for node, kernels in writers.items() if fetch else ():
        # a download that is begun early has its destination from then on
        target = buffers[sharing.place[steps[node].writes[0]][0]]
        target.first["cpu"] = min(target.first.get("cpu", node), max(kernels, default=node))
    for kept in (*graph.inputs, *graph.outputs):
        buffers[sharing.place[kept][0]].free_for = {"cpu": NEVER, "gpu": NEVER}
    for b in buffers.values():
        b.devices = {"cpu" if graph.entries[e].on_cpu else "gpu" for e in b.entries}
    return buffers


def uses(step: Step, sharing: Sharing) -> list[tuple[str, int]]:
    """What a step does to memory: (``cpu`` or ``gpu``, entry).

    A copy is the device's on one side and the host's on the other; between tensors that are one memory it is nothing.
    """
    if step.what in ("cpu", "gpu"):
        return [(step.what, e) for e in (*step.reads, *step.writes)]
    if step.what in ("upload", "download") and sharing.place[step.reads[0]] == sharing.place[step.writes[0]]:
        return []
    sides = {"upload": ("cpu", "gpu"), "download": ("gpu", "cpu")}.get(step.what)
    return [] if sides is None else [(sides[0], step.reads[0]), (sides[1], step.writes[0])]


def _use(buffer: Buffer, agent: str, node: int, waits: Waits) -> None:
    buffer.first.setdefault(agent, node)
    free = buffer.free_for
    free["gpu"] = max(free["gpu"], node)
    free["cpu"] = max(free["cpu"], node if agent == "cpu" else waits.after(node))
