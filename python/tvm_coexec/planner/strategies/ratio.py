"""The plan for a ratio given by the user: chains as long as their halos allow. No costs are asked."""

from __future__ import annotations

from tvm_coexec.core.chains import chain_dims, chain_shares, find_refused, last_axis
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import AXIS_EQUALS, Kernel, KernelGraph, round_cut
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.reasons import Reason, Why, own_reason, reason

from ..options import Result
from ..segments import merge_segments
from .single import on_one

# A chain with a given ratio grows while the halo rows that both devices compute stay below this part of its work.
MAX_RECOMPUTED = 0.125
# Rows are preferred where maps are this tall; below, a halo is a large part of a share (CoDL, table of section 2).
MIN_ROWS = 14


def axis_names(kernel: Kernel) -> list[str]:
    """Axes of a heavy kernel in the order in which they are tried: rows of tall maps, then channels, then the rest."""
    names = [a.name for a in kernel.axes]
    tall = [a.name for a in kernel.axes if a.name == "h" and a.extent >= MIN_ROWS]
    order = [*tall, "oc", "batch", "n", "m", "h"]
    return [n for n in dict.fromkeys(order) if n in names]


def is_connected(graph: KernelGraph, members: list[int], index: int) -> bool:
    """Whether a kernel reads a member's value, or an input that a member reads as well (a parallel branch)."""
    inside = set(members)
    outer = {v for m in members for v in graph.kernels[m].inputs if v not in inside}
    return any(v in inside or v in outer for v in graph.kernels[index].inputs)


def last_axis_name(graph: KernelGraph, members: list[int], axis: str) -> str | None:
    """Name that the chain's axis has at its last kernel (a matrix product calls its channels n)."""
    found = graph.kernels[members[-1]].named_axis(axis)
    return found.name if found else None


def can_chain(graph: KernelGraph, members: list[int], axis: str) -> bool:
    """Whether the kernels can carry one split together."""
    name = last_axis_name(graph, members, axis)
    if name is None:
        return False
    try:
        chain_dims(graph, members, name)
    except CoExecError:
        return False
    return True


def recomputed(graph: KernelGraph, members: list[int], axis: str, cut: int) -> float:
    """Work done twice, as a part of the chain's work."""
    shares = chain_shares(graph, members, axis, cut)
    done = total = 0.0
    for m in members:
        kernel = graph.kernels[m]
        extent = kernel.outputs[0].shape[shares.dims[m]]
        rows = sum(r[1] - r[0] for r in (shares.gpu[m], shares.cpu[m]))
        total += kernel.flops
        done += kernel.flops * rows / extent
    return done / total - 1.0 if total else 0.0


def fixed_plan(graph: KernelGraph, ratio: float, axis: str) -> Result:
    """Segments that give the GPU `ratio` of every convolution and matrix product, chained as far as halos allow.

    Parameters
    ----------
    graph : KernelGraph
    ratio : float
        The GPU's part, 0..1. At 0 everything is on the CPU, at 1 all that it can run is on the GPU.
    axis : str
        Axis name, or ``auto`` for the first that suits each chain.

    Returns
    -------
    segments : tuple of Segment
    reasons : dict of int to Reason
        Why kernels stay whole.
    """
    everything = tuple(k.index for k in graph.kernels)
    if ratio in (0.0, 1.0):
        device = "gpu" if ratio else "cpu"
        return on_one(graph, device), dict.fromkeys(everything, reason(Why.RATIO_GIVEN, ratio=ratio, device=device))
    segments: list[Segment] = []
    reasons: dict[int, Reason] = {}
    index = 0
    while index < len(graph.kernels):
        chain = _fixed_chain(graph, index, ratio, axis)
        if chain is None:
            reasons[index] = whole_reason(graph.kernels[index], axis)
            segments.append(Segment("cpu", (index,)))
            index += 1
        else:
            segments.append(chain)
            index = chain.kernels[-1] + 1
    return merge_segments(graph, segments), reasons


def whole_reason(kernel: Kernel, axis: str) -> Reason:
    """Why a kernel is not divided along `axis`."""
    if own := own_reason(kernel):
        return own
    if not kernel.is_heavy:
        return reason(Why.NOT_HEAVY)
    if axis != "auto" and (refusal := kernel.refusal(axis)):
        return reason(Why.GPU_REFUSES, compiler=refusal)
    if axis != "auto" and kernel.named_axis(axis) is None:
        return reason(Why.NO_AXIS, axis=axis, axes=", ".join(a.name for a in kernel.axes))
    return reason(Why.NO_CUT)


def unprofitable_reason(kernel: Kernel, axis: str, gain: float) -> Reason:
    """As `whole_reason` where cuts are chosen by their cost: a kernel with cuts would save less than `gain`, 0..1."""
    found = whole_reason(kernel, axis)
    return reason(Why.LITTLE_GAIN, gain=gain) if found.why is Why.NO_CUT else found


def _fixed_chain(graph: KernelGraph, head: int, ratio: float, axis: str) -> Segment | None:
    kernel = graph.kernels[head]
    if not kernel.is_heavy or not kernel.axes:
        return None
    for name in axis_names(kernel) if axis == "auto" else [axis, AXIS_EQUALS.get(axis, axis)]:
        members, best = [head], _cut(graph, [head], name, ratio)
        if best is None:
            continue
        for nxt in range(head + 1, len(graph.kernels)):
            longer = [*members, nxt]
            if not is_connected(graph, members, nxt) or not can_chain(graph, longer, name):
                break
            segment = _cut(graph, longer, name, ratio)
            if segment is None or recomputed(graph, longer, segment.axis, segment.cut) > MAX_RECOMPUTED:
                break
            members, best = longer, segment
        return best
    return None


def _cut(graph: KernelGraph, members: list[int], axis: str, ratio: float) -> Segment | None:
    """The chain cut at `ratio`, or `None` where a device would get nothing, or the GPU what it can't run."""
    name = last_axis_name(graph, members, axis)
    if name is None:
        return None
    last = last_axis(graph, members, name)
    cut = round_cut(last, ratio)
    if not 0 < cut < last.extent or find_refused(graph, members, name, cut):
        return None
    return Segment("split", tuple(members), name, cut)
