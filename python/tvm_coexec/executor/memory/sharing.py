"""Which tensors are the same memory: copies between devices that share it, reshapes, and parts of a concatenation.

A concatenation whose operands lie one behind the other in its result needs no work if its operands are written there to
begin with. Operands of a result that is an operand itself (dense blocks) end up in one buffer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..graph_json import Graph
from .steps import Step, concatenated

_Place = tuple[int, int]  # entry whose memory it is, offset in bytes


@dataclass
class Sharing:
    """What became of a graph's tensors.

    Attributes
    ----------
    place : list of (int, int)
        Of each entry: the entry in whose buffer it lies, and the byte where it begins there.
    joined : set of int
        Nodes of concatenations that have nothing left to do.
    """

    place: list[_Place]
    joined: set[int] = field(default_factory=set)


def share(graph: Graph, steps: list[Step], shared: bool, alignment: int | None) -> Sharing:
    """Decide which tensors are one memory.

    Parameters
    ----------
    graph : Graph
    steps : list of Step
    shared : bool
        Whether both devices can use the same memory; else only reshapes share theirs.
    alignment : int or None
        Where a tensor inside of another one may begin: at multiples of that many bytes. `None`: nowhere, and inputs
        share no memory either.

    Notes
    -----
    Inputs and outputs of the graph are never parts of something else: the caller may exchange their memory for his own.
    """
    return _Sharer(graph, shared, alignment).run(steps)


class _Sharer:
    def __init__(self, graph: Graph, shared: bool, alignment: int | None):
        self.graph, self.shared, self.alignment = graph, shared, alignment
        self.parent: list[_Place] = [(e.index, 0) for e in graph.entries]
        self.fixed = {*graph.inputs, *graph.outputs}

    def run(self, steps: list[Step]) -> Sharing:
        joined: set[int] = set()
        for step in steps:
            if step.what == "view" or (step.what in ("upload", "download") and self._may_be_one(step)):
                self.parent[step.writes[0]] = (step.reads[0], 0)
            elif self.shared and self.alignment and step.what in ("cpu", "gpu") and self._join(step):
                joined.add(step.node)
        return Sharing([self.place(e.index) for e in self.graph.entries], joined)

    def place(self, entry: int) -> _Place:
        offset = 0
        while self.parent[entry][0] != entry:
            entry, further = self.parent[entry]
            offset += further
        return entry, offset

    def _may_be_one(self, step: Step) -> bool:
        source = self.place(step.reads[0])[0]
        return self.shared and (self.alignment is not None or source not in self.graph.inputs)

    def _join(self, step: Step) -> bool:
        offsets = concatenated(self.graph, self.graph.nodes[step.node])
        if offsets is None:
            return False
        result, entries = step.writes[0], self.graph.entries
        places = [self.place(e) for e in step.reads]
        first, at = places[0]
        if all(p == (first, at + offset) for p, offset in zip(places, offsets, strict=True)):
            # they lie behind each other already, because the other device has joined them, too
            self.parent[result] = (first, at)
            return True
        roots = [root for root, _ in places]
        whole = all(entries[r].nbytes == entries[e].nbytes for r, e in zip(roots, step.reads, strict=True))
        aligned = all(offset % self.alignment == 0 for offset in offsets)
        if not whole or not aligned or len(set(roots)) < len(roots) or not self.fixed.isdisjoint(roots):
            return False
        for root, offset in zip(roots, offsets, strict=True):
            self.parent[root] = (result, offset)
        return True
