"""Each operator whole on the device that computes it faster: what frameworks do that know both."""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import Kernel, KernelGraph
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.reasons import Why, reason

from ..cached_costs import CachedCosts
from ..options import Options, Result
from ..segments import merge_segments


def layerwise(graph: KernelGraph, costs: CachedCosts, _options: Options) -> Result:
    """Kernel by kernel; copies are not weighed, as in heterogeneous executions that choose by operator."""
    faster = [_find_faster_device(costs, k) for k in graph.kernels]
    segments = merge_segments(graph, [Segment(d, (k,)) for k, d in enumerate(faster)])
    reasons = {k: reason(Why.FASTER_DEVICE, device=d) for k, d in enumerate(faster)}
    return segments, reasons


def _find_faster_device(costs: CachedCosts, kernel: Kernel) -> str:
    return min(kernel.devices, key=lambda d: costs.whole_s(d, kernel))
