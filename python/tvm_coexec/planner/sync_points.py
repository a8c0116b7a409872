"""How often the devices meet in a plan: the same by whatever costs."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Segment

from .chain_reads import outer_needs, read_after_join


def count_sync_points(graph: KernelGraph, segments: Sequence[Segment]) -> int:
    """Number of synchronisations of segments run in order, the outputs brought to the CPU.

    There are two for a chain, one for a segment that needs values that only the other device has, and one for the
    outputs of the model where the GPU has some of them; values without elements are not copied. Reports, plans and
    modules state this number; a measured run counts the copies that it made instead (see `tracing`).
    """
    where: dict[int, set[str]] = {-1 - i: {"cpu"} for i in range(len(graph.inputs))}
    count = 0
    for segment in segments:
        if segment.device == "split":
            count += 2
            _run_chain(graph, segment, where)
            continue
        inside = set(segment.kernels)
        values = {v for k in segment.kernels for v in graph.kernels[k].inputs if v not in inside}
        count += any(segment.device not in where[v] and graph.tensor(v).nbytes for v in values)
        for v in values:
            where[v].add(segment.device)
        where.update({k: {segment.device} for k in segment.kernels})
    return count + any("cpu" not in where[v] and graph.tensor(v).nbytes for v in graph.outputs)


def _run_chain(graph: KernelGraph, segment: Segment, where: dict[int, set[str]]) -> None:
    """Where values are after a chain: whole ones stay where they were sent, parts are joined on the CPU."""
    shares = segment.shares(graph)
    for value, need in outer_needs(graph, segment, shares).items():
        if need.get("cpu"):
            where[value].add("cpu")
        if need.get("gpu") == 1.0:
            where[value].add("gpu")
    for k, cut in shares.cuts.items():
        where[k] = {"gpu" if cut == graph.kernels[k].axis(shares.dims[k]).extent else "cpu"}
    for value in read_after_join(graph, segment, shares):
        where[value].add("cpu")
