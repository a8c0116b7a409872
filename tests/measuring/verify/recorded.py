"""What recorded runs would be of devices that are slower than predicted."""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models import Costs
from tvm_coexec.planner import CachedCosts, simulate


def recorded(graph: KernelGraph, costs: Costs, plan: Plan, **slower: float) -> dict[tuple[int, str], float]:
    """Return seconds by segment and device: those that are predicted, times a factor of the device."""
    predicted = simulate(graph, CachedCosts(graph, costs), plan.segments).totals.kernel_s
    found: dict[tuple[int, str], float] = {}
    for number, segment in enumerate(plan.segments):
        for k in segment.kernels:
            for device, seconds in predicted.get(k, {}).items():
                key = number, device
                found[key] = found.get(key, 0.0) + seconds * slower.get(device, 1.0)
    return found
