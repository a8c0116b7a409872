"""The effect of each node of a graph on memory, in the order in which the host executes them.

The host runs the CPU's kernels itself and submits the GPU's kernels to a queue, which runs them in order and
asynchronously. The host synchronises with the queue when it copies a tensor from the GPU: it waits for the kernel that
wrote the tensor, and thereby for all kernels submitted before that one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..graph_json import COPY, NOTHING, Graph, Node

# A concatenation fused with no other operator: TVM names a function after its operators and numbers duplicates.
_CONCATENATION = re.compile(r"(?:tvmgen_\w+?_)?fused_concatenate(?:_\d+)*")


@dataclass(frozen=True)
class Step:
    """The effect of one node on memory.

    Attributes
    ----------
    node : int
    what : str
        ``cpu`` or ``gpu``: a kernel; ``upload``, ``download``, ``view`` (the output is the
        input's memory), ``input``.
    reads, writes : tuple of int
        Indices of entries.
    """

    node: int
    what: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]


def classify_nodes(graph: Graph) -> list[Step]:
    """Return one step per node, in the graph's order.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    list of Step
    """
    return [Step(n.index, _classify(graph, n), n.inputs, n.outputs) for n in graph.nodes]


def _classify(graph: Graph, node: Node) -> str:
    if not node.function:
        return "input"
    if node.function == NOTHING:
        return "view"
    to_cpu = graph.entries[node.outputs[0]].on_cpu
    if node.function != COPY:
        return "cpu" if to_cpu else "gpu"
    if graph.entries[node.inputs[0]].on_cpu == to_cpu:
        return "cpu" if to_cpu else "gpu"  # a copy within one device is a kernel
    return "download" if to_cpu else "upload"


def concatenation_offsets(graph: Graph, node: Node) -> list[int] | None:
    """Return the byte offsets of a concatenation's operands in its result, if each operand is contiguous there.

    Parameters
    ----------
    graph : Graph
    node : Node

    Returns
    -------
    list of int or None
        `None` for other functions, if the operands interleave (an extent before the axis exceeds 1), and if an operand
        has no elements: its offset might be the end of the allocation, which is not a valid address.
    """
    if not _CONCATENATION.fullmatch(node.function) or len(node.outputs) != 1 or len(node.inputs) < 2:
        return None
    out, parts = graph.entries[node.outputs[0]], [graph.entries[i] for i in node.inputs]
    if any(p.dtype != out.dtype or p.device != out.device or len(p.shape) != len(out.shape) for p in parts):
        return None
    differ = [d for d, n in enumerate(out.shape) if any(p.shape[d] != n for p in parts)]
    if len(differ) != 1 or sum(p.shape[differ[0]] for p in parts) != out.shape[differ[0]]:
        return None
    if any(n != 1 for n in out.shape[: differ[0]]) or any(p.nbytes == 0 for p in parts):
        return None
    return exclusive_sum(p.nbytes for p in parts)


def exclusive_sum(sizes: Iterable[int]) -> list[int]:
    """Return the offsets of consecutive ranges: the exclusive prefix sum of their sizes.

    Parameters
    ----------
    sizes : iterable of int

    Returns
    -------
    list of int
    """
    offsets, at = [], 0
    for n in sizes:
        offsets.append(at)
        at += n
    return offsets
