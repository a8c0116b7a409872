"""The storage layout of a graph: the block of every tensor, and its offset there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from ..graph_json import Graph
from .lifetimes import Buffer, compute_buffers, find_gpu_writers
from .packing import pack_blocks, pack_offsets
from .sharing import BufferSharing, share_buffers
from .steps import Step, classify_nodes

# Alignment in bytes of buffers in a block, so that no two of them share a cache line.
BLOCK_ALIGNMENT = 128


@dataclass
class Block:
    """One allocation; buffers at overlapping offsets are never in use at the same time.

    Attributes
    ----------
    kind : str
        ``cpu``, ``gpu``, or ``shared`` (used by both).
    nbytes : int
    buffers : list of Buffer
    offsets : list of int
        Offset of each buffer, in bytes.
    weight : bool
        Whether it holds a parameter.
    """

    kind: str
    nbytes: int
    buffers: list[Buffer] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    weight: bool = False


@dataclass(frozen=True)
class StorageLayout:
    """Block and offset of every tensor of a graph.

    Attributes
    ----------
    graph : Graph
    steps : list of Step
    sharing : BufferSharing
    shared : bool
        Whether both devices use the same memory.
    blocks : tuple of Block
    of : dict of int to (int, int)
        For each entry: index of its block, and offset there in bytes.
    writers : dict of int to list of int
        By the download's node: the GPU kernels that write its source.
    """

    graph: Graph
    steps: list[Step]
    sharing: BufferSharing
    shared: bool
    blocks: tuple[Block, ...]
    of: dict[int, tuple[int, int]]
    writers: dict[int, list[int]]

    def is_elided(self, step: Step) -> bool:
        """Return whether a copy's source and destination are the same memory."""
        return self.sharing.location[step.reads[0]] == self.sharing.location[step.writes[0]]

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks, without those of parameters."""
        return sum(b.nbytes for b in self.blocks if not b.weight)


def plan_storage(
    graph: Graph, inputs: Collection[str], shared: bool, mapped: bool = False, fetch: bool = False, alignment: int = 128
) -> StorageLayout:
    """Compute the storage layout of a graph.

    Parameters
    ----------
    graph : Graph
    inputs : collection of str
        Names of the nodes that are inputs; other nodes without a function are parameters.
    shared : bool
        Whether both devices can use the same memory. If not, copies stay, and each device has its own blocks.
    mapped : bool
        Whether the host may access shared memory only while it is mapped. The unit of mapping is a block, so nothing is
        concatenated in place, and inputs, which the caller writes at any time, and the CPU's intermediate values have
        blocks of their own.
    fetch : bool
        Whether downloads start when the kernels that write their sources end, instead of when the host reaches them.
    alignment : int
        Alignment in bytes of a tensor inside another one.

    Returns
    -------
    StorageLayout
    """
    steps = classify_nodes(graph)
    sharing = share_buffers(graph, steps, shared, None if mapped else alignment)
    writers = find_gpu_writers(graph, steps, sharing)
    buffers = compute_buffers(graph, steps, sharing, writers, fetch)
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
            size, offsets = pack_offsets(by_kind[kind], BLOCK_ALIGNMENT)
            blocks.append(Block(kind, size, by_kind[kind], offsets))
        else:
            blocks += [Block(kind, k[0].nbytes, k, [0] * len(k)) for k in pack_blocks(by_kind[kind])]
    of: dict[int, tuple[int, int]] = {}
    for number, block in enumerate(blocks):
        for b, begin in zip(block.buffers, block.offsets, strict=True):
            of |= {e: (number, begin + sharing.location[e][1]) for e in b.entries}
    return StorageLayout(graph, steps, sharing, shared, tuple(blocks), of, writers)


def _kind(buffer: Buffer, shared: bool, mapped: bool) -> str:
    if shared and (len(buffer.devices) > 1 or not mapped):
        return "shared"
    assert len(buffer.devices) == 1, "a buffer has tensors of both devices, whose memory is not shared"
    return next(iter(buffer.devices))
