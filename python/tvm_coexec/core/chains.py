"""Propagation of a split through a chain of kernels: split dimensions, and the ranges of both shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .access import Node, Range, Region, propagate
from .errors import CoExecError
from .kernel_graph import Kernel, KernelGraph, SplitAxis, round_cut


@dataclass(frozen=True)
class Shares:
    """Division of a chain's work: per kernel the split dimension and the two ranges.

    Attributes
    ----------
    dims : dict
        Kernel index to the output dimension that is split; `REDUCED` for a last kernel with partial sums.
    gpu, cpu : dict
        Kernel index to the range each device computes (with halo rows; may be empty). Along `REDUCED` it is a range of
        input channels.
    cuts : dict
        For every live-out: the index where the GPU's part of the joined value ends. Along `REDUCED`: the input channel
        where the GPU's sum ends.
    """

    dims: dict[int, int]
    gpu: dict[int, Range]
    cpu: dict[int, Range]
    cuts: dict[int, int]


def chain_dims(graph: KernelGraph, members: Sequence[int], axis: str) -> dict[int, int]:
    """Return the split dimension of each kernel of a chain, starting from the last kernel's axis ``axis``.

    The split propagates along the edges inside the chain: a consumer that is split along a dimension needs its producer
    split along the dimension that its rule names. Only the last kernel may be split along its reduction, because its
    results are partial sums, which no kernel can read before they are added.

    Raises
    ------
    CoExecError
        If a kernel can't carry the split; the text names it and the reason.
    """
    inside = set(members)
    last = graph.kernels[members[-1]]
    dims = {last.index: last_axis(graph, members, axis).dim}
    for index in reversed(members):
        kernel = graph.kernels[index]
        if index not in dims:  # no kernel of the chain reads it: another live-out, split along the same axis
            dims[index] = _second_axis(kernel, axis, last).dim
        split = kernel.find_axis(dims[index])
        if split is None:
            why = f": {kernel.refused[-1][1]}" if kernel.refused else ""
            raise CoExecError(f"kernel {index} ({kernel.name}) can't be split along dimension {dims[index]}{why}")
        for value, need in zip(kernel.inputs, split.needs, strict=True):
            if value not in inside:
                continue
            if need is None:
                raise CoExecError(
                    f"kernel {index} ({kernel.name}) needs all of kernel {value}, which the chain would split; leave "
                    f"kernel {value} out of the chain"
                )
            if need.after_join:
                raise CoExecError(
                    f"kernel {index} ({kernel.name}) adds kernel {value} to its sum after the join; leave kernel "
                    f"{value} out of the chain"
                )
            if dims.setdefault(value, need.dim) != need.dim:
                raise CoExecError(
                    f"kernel {value} would be split along two dimensions at once; leave it out of the chain"
                )
    return dims


def find_refused(graph: KernelGraph, members: Sequence[int], axis: str, cut: int) -> str:
    """Return which kernel's share of a chain the GPU can't run, and why; empty if it can run all.

    Raises
    ------
    CoExecError
        See `chain_shares`.
    """
    shares = chain_shares(graph, members, axis, cut)
    for m in members:
        kernel, (lo, hi) = graph.kernels[m], shares.gpu[m]
        own = kernel.axis(shares.dims[m])
        if hi - lo in own.refused_rows:
            why = kernel.refusal(own.name)
            return f"the GPU's part of kernel {m} ({kernel.name}) would be {hi - lo} of {own.extent}: {why}"
    return ""


def last_axis(graph: KernelGraph, members: Sequence[int], axis: str) -> SplitAxis:
    """Return the axis of a chain's last kernel by name; the chain's cut is along this axis.

    Raises
    ------
    CoExecError
        If the kernel can't be split along it; the text states the reason, or the axes that it has.
    """
    last = graph.kernels[members[-1]]
    found = last.named_axis(axis)
    if found is not None:
        return found
    if why := last.refusal(axis):
        raise CoExecError(f"kernel {last.index} ({last.name}) can't be split along '{axis}': {why}")
    if not last.axes:
        raise CoExecError(f"kernel {last.index} ({last.name}) can't be split: {last.reason or 'it has no axes'}")
    available = ", ".join(a.name for a in last.axes)
    raise CoExecError(f"kernel {last.index} ({last.name}) has no axis '{axis}' (available: {available})")


def _second_axis(kernel: Kernel, axis: str, last: Kernel) -> SplitAxis:
    """Return the axis of another kernel whose value leaves the chain."""
    found = kernel.named_axis(axis)
    if found is None:
        raise CoExecError(f"kernel {kernel.index} ({kernel.name}) has no axis '{axis}' to split along")
    if found.reduces:
        raise CoExecError(
            f"kernel {kernel.index} ({kernel.name}) would compute partial sums in addition to those of kernel "
            f"{last.index}: only the last kernel of a chain can be split along 'ic'"
        )
    return found


def chain_shares(graph: KernelGraph, members: Sequence[int], axis: str, cut: int) -> Shares:
    """Compute the ranges of both shares of a chain, including halo rows, backwards from its end.

    Parameters
    ----------
    graph : KernelGraph
    members : sequence of int
        Kernel indices in topological order.
    axis : str
        Axis of the last kernel.
    cut : int
        Where the GPU's range of the last kernel's output ends, 0..extent.

    Raises
    ------
    CoExecError
        If the chain can't carry the split, or the cut is outside the axis.
    """
    key = (*members, axis, cut)
    if key in graph.shares_memo:
        return graph.shares_memo[key]
    dims = chain_dims(graph, members, axis)
    axes = {m: graph.kernels[m].axis(d) for m, d in dims.items()}
    last = members[-1]
    if not 0 <= cut <= axes[last].extent or cut % axes[last].granule:
        raise CoExecError(
            f"cut {cut} of kernel {last} ({graph.kernels[last].name}) must be a multiple of {axes[last].granule} "
            f"between 0 and {axes[last].extent}"
        )
    inside = set(members)
    nodes = [_node(graph.kernels[m], axes[m], inside) for m in reversed(members)]

    def compute(wanted: dict[int, Range]) -> dict[int, Range]:
        """Return the range that each member computes, given the ranges wanted of the live-outs."""
        regions = {m: Region(dims[m], *wanted.get(m, (0, 0))) for m in members}
        propagate(nodes, regions)
        return {m: regions[m].range for m in members}

    # An inner value that is also read outside the chain is cut where the GPU's range ends anyway.
    for_last = compute({last: (0, cut)})
    cuts = {last: cut}
    for m in members[:-1]:
        if not graph.is_live_out(m, inside):
            continue
        if any(c in inside for c in graph.consumers.get(m, ())):
            cuts[m] = for_last[m][1]
        else:
            cuts[m] = round_cut(axes[m], cut / axes[last].extent)
    gpu = compute({m: (0, c) for m, c in cuts.items()})
    cpu = compute({m: (c, axes[m].extent) for m, c in cuts.items() if c < axes[m].extent})
    graph.shares_memo[key] = Shares(dims, gpu, cpu, cuts)
    return graph.shares_memo[key]


def _node(kernel: Kernel, axis: SplitAxis, inside: set[int]) -> Node:
    """Return the kernel as a node for `propagate`, with its inputs from inside the chain."""
    reads = [(v, need) for v, need in zip(kernel.inputs, axis.needs, strict=True) if v in inside]
    return Node(kernel.index, axis.granule, axis.extent, reads)
