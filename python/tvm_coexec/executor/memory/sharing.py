"""Decide which tensors are one buffer: copies between devices that share memory, reshapes, operands of concatenations.

A concatenation whose operands are contiguous in its result is a no-op if the operands are computed there in the first
place. If the result is itself such an operand (dense blocks), all of them are in one buffer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..graph_json import Graph
from .steps import Step, concatenation_offsets

_Location = tuple[int, int]  # entry that owns the buffer, offset in bytes


@dataclass
class BufferSharing:
    """Buffers of a graph's tensors.

    Attributes
    ----------
    location : list of (int, int)
        For each entry: the entry that owns its buffer, and its offset there in bytes.
    in_place : set of int
        Nodes of concatenations whose operands are computed in the result's buffer, so that the node is a no-op.
    """

    location: list[_Location]
    in_place: set[int] = field(default_factory=set)


def share_buffers(graph: Graph, steps: list[Step], shared: bool, alignment: int | None) -> BufferSharing:
    """Decide which tensors are one buffer.

    Parameters
    ----------
    graph : Graph
    steps : list of Step
    shared : bool
        Whether both devices can use the same memory; if not, only reshapes share a buffer.
    alignment : int or None
        Alignment in bytes of a tensor inside another one. `None`: no tensor may be inside another one, and inputs
        share no memory.

    Returns
    -------
    BufferSharing

    Notes
    -----
    Inputs and outputs of the graph are never inside another tensor: the caller may replace their memory.
    """
    return _Sharer(graph, shared, alignment).run(steps)


class _Sharer:
    def __init__(self, graph: Graph, shared: bool, alignment: int | None):
        self.graph, self.shared, self.alignment = graph, shared, alignment
        self.parent: list[_Location] = [(e.index, 0) for e in graph.entries]
        self.fixed = {*graph.inputs, *graph.outputs}

    def run(self, steps: list[Step]) -> BufferSharing:
        in_place: set[int] = set()
        for step in steps:
            if step.what == "view" or (step.what in ("upload", "download") and self._may_alias(step)):
                self.parent[step.writes[0]] = (step.reads[0], 0)
            elif step.what in ("cpu", "gpu") and self._concatenate_in_place(step):
                in_place.add(step.node)
        return BufferSharing([self.locate(e.index) for e in self.graph.entries], in_place)

    def locate(self, entry: int) -> _Location:
        offset = 0
        while self.parent[entry][0] != entry:
            entry, further = self.parent[entry]
            offset += further
        return entry, offset

    def _may_alias(self, step: Step) -> bool:
        source = self.locate(step.reads[0])[0]
        return self.shared and (self.alignment is not None or source not in self.graph.inputs)

    def _concatenate_in_place(self, step: Step) -> bool:
        if not self.shared or not self.alignment:
            return False
        offsets = concatenation_offsets(self.graph, self.graph.nodes[step.node])
        if offsets is None:
            return False
        result, entries = step.writes[0], self.graph.entries
        locations = [self.locate(e) for e in step.reads]
        first, at = locations[0]
        if all(p == (first, at + offset) for p, offset in zip(locations, offsets, strict=True)):
            # The operands are contiguous already: the other device concatenates them, too.
            self.parent[result] = (first, at)
            return True
        roots = [root for root, _ in locations]
        whole = all(entries[r].nbytes == entries[e].nbytes for r, e in zip(roots, step.reads, strict=True))
        aligned = all(offset % self.alignment == 0 for offset in offsets)
        if not whole or not aligned or len(set(roots)) < len(roots) or not self.fixed.isdisjoint(roots):
            return False
        for root, offset in zip(roots, offsets, strict=True):
            self.parent[root] = (result, offset)
        return True
