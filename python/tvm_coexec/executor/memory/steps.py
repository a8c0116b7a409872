"""What each node of a graph does, in the order in which the host comes to them.

The host runs the CPU's kernels itself and hands the GPU's to a queue, which runs them one after the other, meanwhile or
later. Host and queue meet where the host copies a tensor from the GPU: it waits for the kernel that wrote it, and so
for all kernels before that one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..graph_json import COPY, NOTHING, Graph, Node

# A concatenation and nothing else: TVM names a fused function after its operators, and numbers equal names.
_CONCATENATION = re.compile(r"(?:tvmgen_\w+?_)?fused_concatenate(?:_\d+)*")


@dataclass(frozen=True)
class Step:
    """One node, as its effect on memory.

    Attributes
    ----------
    node : int
    what : str
        ``cpu`` or ``gpu``: a kernel; ``upload``, ``download``, ``view`` (the output is the input), ``input``.
    reads, writes : tuple of int
        Entries.
    """

    node: int
    what: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]


def steps_of(graph: Graph) -> list[Step]:
    """One step per node, in order."""
    return [Step(n.index, _what(graph, n), n.inputs, n.outputs) for n in graph.nodes]


def _what(graph: Graph, node: Node) -> str:
    if not node.function:
        return "input"
    if node.function == NOTHING:
        return "view"
    to_cpu = graph.entries[node.outputs[0]].on_cpu
    if node.function != COPY:
        return "cpu" if to_cpu else "gpu"
    if graph.entries[node.inputs[0]].on_cpu == to_cpu:
        return "cpu" if to_cpu else "gpu"  # a copy within a device is work like any other
    return "download" if to_cpu else "upload"


def concatenated(graph: Graph, node: Node) -> list[int] | None:
    """Byte offsets of a concatenation's operands in its result, where both are one run of memory each.

    Parameters
    ----------
    graph : Graph
    node : Node

    Returns
    -------
    list of int or None
        `None` for other functions, where the operands' bytes alternate (dimensions before the axis exceed 1), and where
        an operand has no elements: behind the last byte there may be no memory for its address.
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
    return running_sum(p.nbytes for p in parts)


def running_sum(sizes: Iterable[int]) -> list[int]:
    """Where each of some runs begins when they lie behind each other from 0."""
    offsets, at = [], 0
    for n in sizes:
        offsets.append(at)
        at += n
    return offsets
