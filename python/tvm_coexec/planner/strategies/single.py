"""Each device alone, and the better of the two; what the GPU can't run stays on the CPU."""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import DEVICES, KernelGraph
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.reasons import Why, reason

from ..cached_costs import CachedCosts
from ..objective import score_of
from ..options import Options, Result
from ..segments import merge_segments
from ..simulator import simulate


def single(graph: KernelGraph, costs: CachedCosts, options: Options) -> Result:
    """The whole model on the device that is better at it alone."""
    device = best_single(graph, costs, options.objective)
    wanted = reason(Why.ONE_DEVICE_WANTED, device=device)
    return on_one(graph, device), {k.index: wanted for k in graph.kernels}


def on_one(graph: KernelGraph, device: str) -> tuple[Segment, ...]:
    """One segment with everything on a device; kernels that it can't run are on the CPU, in segments between."""
    if all(device in k.devices for k in graph.kernels):
        return (Segment(device, tuple(k.index for k in graph.kernels)),)
    return merge_segments(graph, [Segment(device if device in k.devices else "cpu", (k.index,)) for k in graph.kernels])


def best_single(graph: KernelGraph, costs: CachedCosts, objective: str = "latency") -> str:
    """``cpu`` or ``gpu``; the CPU where both are as good."""
    return best_alone(graph, costs, objective)[1]


def best_alone(graph: KernelGraph, costs: CachedCosts, objective: str = "latency") -> tuple[float, str]:
    """Score of the better device, and which it is; what was measured of it counts more than the sum of its kernels."""
    found = []
    for device in DEVICES:
        is_measured = objective == "latency" and all(device in k.devices for k in graph.kernels)
        measured = costs.alone_s(device, graph) if is_measured else None
        found.append((measured or score_of(objective, simulate(graph, costs, on_one(graph, device))), device))
    return min(found, key=lambda f: f[0])
