"""Neurosurgeon's partition (Kang et al., ASPLOS 2017): the network is cut once, between two places.

The layers before the cut run at the first place, the rest at the second, and what crosses goes over a link of given
bandwidth. Here the places are the CPU and the GPU, either of them first; `two_machines` runs the two halves on
two machines.
"""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.progress import progress
from tvm_coexec.core.reasons import Why, reason

from ..cached_costs import CachedCosts
from ..objective import score_of
from ..options import Options, Result
from ..simulator import simulate


def neurosurgeon(graph: KernelGraph, costs: CachedCosts, options: Options) -> Result:
    """The best of all cuts, in both directions, and of each place alone; the link is that of the costs."""
    best = min(
        progress(_cuts(graph), "planning", "cut"), key=lambda s: score_of(options.objective, simulate(graph, costs, s))
    )
    return best, {k.index: reason(Why.ONE_CUT) for k in graph.kernels}


def _cuts(graph: KernelGraph) -> list[tuple[Segment, ...]]:
    """Every cut at which each place can run what it gets."""
    n = len(graph.kernels)
    everything = tuple(range(n))
    found: list[tuple[Segment, ...]] = [(Segment("cpu", everything),), (Segment("gpu", everything),)]
    for at in range(1, n):
        first, second = tuple(range(at)), tuple(range(at, n))
        found += [(Segment(a, first), Segment(b, second)) for a, b in (("cpu", "gpu"), ("gpu", "cpu"))]
    return [
        segments for segments in found if all(s.device in graph.kernels[k].devices for s in segments for k in s.kernels)
    ]
