"""The layout of a graph's memory: every tensor's block, and where it begins there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from ..graph_json import Graph
from .lifetimes import Buffer, buffers_of, gpu_writers
from .packing import into_blocks, into_one
from .sharing import Sharing, share
from .steps import Step, steps_of

# What buffers in one block begin at a multiple of: no two of them share a line of any cache.
BLOCK_ALIGNMENT = 128


@dataclass
class Block:
    """One allocation; buffers that overlap in it are never in use at the same time.

    Attributes
    ----------
    kind : str
        ``cpu``, ``gpu``, or ``shared`` by both.
    nbytes : int
    buffers : list of Buffer
    offsets : list of int
        Where each of them begins.
    weight : bool
        A parameter's.
    """

    kind: str
    nbytes: int
    buffers: list[Buffer] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    weight: bool = False


@dataclass(frozen=True)
class Layout:
    """Where every tensor of a graph lives.

    Attributes
    ----------
    graph : Graph
    steps : list of Step
    sharing : Sharing
    shared : bool
        Whether both devices use the same memory.
    blocks : tuple of Block
    of : dict of int to (int, int)
        For each entry: number of its block, offset there in bytes.
    writers : dict of int to list of int
        For each download's node: the GPU kernels that wrote what it brings.
    """

    graph: Graph
    steps: list[Step]
    sharing: Sharing
    shared: bool
    blocks: tuple[Block, ...]
    of: dict[int, tuple[int, int]]
    writers: dict[int, list[int]]

    def one_memory(self, step: Step) -> bool:
        """Whether a copy's source and destination are the same memory."""
        return self.sharing.place[step.reads[0]] == self.sharing.place[step.writes[0]]

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks that are no parameter's."""
        return sum(b.nbytes for b in self.blocks if not b.weight)


def lay_out(
    graph: Graph, inputs: Collection[str], shared: bool, mapped: bool = False, fetch: bool = False, alignment: int = 128
) -> Layout:
    """Plan the memory of a graph.

    Parameters
    ----------
    graph : Graph
    inputs : collection of str
        Nodes that are inputs; other nodes without a function are parameters.
    shared : bool
        Whether both devices can use the same memory. If not, copies stay, and each device has blocks of its own.
    mapped : bool
        The host may use shared memory only while it is mapped. Then the unit is a whole block, so nothing is joined in
        place; inputs, which the caller writes at any time, and what only the CPU uses have memory of their own.
    fetch : bool
        Downloads begin when the kernels that wrote their sources have ended, not when the host comes to them.
    alignment : int
        Bytes at which a tensor inside of another one may begin.

    Returns
    -------
    Layout
    """
    steps = steps_of(graph)
    sharing = share(graph, steps, shared, None if mapped else alignment)
    writers = gpu_writers(graph, steps, sharing)
    buffers = buffers_of(graph, steps, sharing, writers, fetch)
    weights = {graph.nodes[graph.entries[e].node].name for e in graph.inputs} - set(inputs)
    blocks: list[Block] = []
    by_kind: dict[str, list[Buffer]] = {}
    for b in buffers.values():
        kind = _kind(b, shared, mapped)
        if graph.nodes[graph.entries[b.root].node].name in weights:
            blocks.append(Block(kind if len(b.devices) > 1 else next(iter(b.devices)), b.nbytes, [b], [0], weight=True))
        else:
            by_kind.setdefault(kind, []).append(b)
    for kind in sorted(by_kind):
        if kind == "cpu" or (shared and not mapped):
            size, offsets = into_one(by_kind[kind], BLOCK_ALIGNMENT)
            blocks.append(Block(kind, size, by_kind[kind], offsets))
        else:
            blocks += [Block(kind, k[0].nbytes, k, [0] * len(k)) for k in into_blocks(by_kind[kind])]
    of = {}
    for number, block in enumerate(blocks):
        for b, begin in zip(block.buffers, block.offsets, strict=True):
            of |= {e: (number, begin + sharing.place[e][1]) for e in b.entries}
    return Layout(graph, steps, sharing, shared, tuple(blocks), of, writers)


def _kind(buffer: Buffer, shared: bool, mapped: bool) -> str:
    if shared and (len(buffer.devices) > 1 or not mapped):
        return "shared"
    assert len(buffer.devices) == 1, "tensors of both devices in one buffer of memory that is not shared"
    return next(iter(buffer.devices))
