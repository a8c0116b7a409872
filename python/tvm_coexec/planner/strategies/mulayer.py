"""muLayer's channel-wise distribution (Kim et al., EuroSys 2019, section 4): every operator on its own.

Each convolution or matrix product is divided by output channels where one of three ratios promises less time than the
better device alone, inputs and output on the CPU each time; nothing is chained, so every divided operator has its own
two sync points.
"""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import Kernel, KernelGraph, round_cut
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.reasons import Why, reason

from ..cached_costs import CachedCosts
from ..options import Options, Result
from ..segments import merge_segments
from ..simulator import Simulator

RATIOS = (0.25, 0.5, 0.75)


def mulayer(graph: KernelGraph, costs: CachedCosts, options: Options) -> Result:
    """Per operator the best of the CPU, the GPU and three ratios."""
    chosen = [_best(graph, costs, k, options) for k in graph.kernels]
    reasons = {s.kernels[0]: reason(Why.WHOLE_IS_FASTER, device=s.device) for s in chosen if s.device != "split"}
    return merge_segments(graph, chosen), reasons


def _best(graph: KernelGraph, costs: CachedCosts, kernel: Kernel, options: Options) -> Segment:
    ratios = RATIOS if options.ratio is None else (options.ratio,)
    found = [Segment(d, (kernel.index,)) for d in kernel.devices]
    axis = kernel.named_axis("oc" if options.axis == "auto" else options.axis)
    if kernel.is_heavy and axis is not None:
        cuts = dict.fromkeys(round_cut(axis, r) for r in ratios)
        found += [Segment("split", (kernel.index,), axis.name, c) for c in cuts if 0 < c < axis.extent]
    return min(found, key=lambda s: _alone_s(graph, costs, s))


def _alone_s(graph: KernelGraph, costs: CachedCosts, segment: Segment) -> float:
    """Seconds of one operator from inputs on the CPU to its output there."""
    sim = Simulator(graph, costs)
    kernel = graph.kernels[segment.kernels[0]]
    sim.where.update({v: {"cpu"} for v in kernel.inputs})
    sim.run(segment)
    if segment.device == "gpu":
        return sim.now_s + costs.meeting.to_cpu_s(kernel.out_bytes)
    return sim.now_s
