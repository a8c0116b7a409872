"""Ours: the best plan that the search finds, and never one that promises less than a single device."""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import DEVICES, KernelGraph
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.reasons import Why, reason

from ..cached_costs import CachedCosts
from ..margin import decision_margin, margin_of
from ..objective import score_of
from ..options import Options, Result
from ..search.candidates import Candidates
from ..search.outcomes import Outcomes
from ..search.search import Search, pause_garbage_collection
from ..segments import merge_segments, whole_reasons
from ..simulator import simulate
from .ratio import unprofitable_reason
from .single import best_alone, on_one

# Each chain is charged this fraction of the better device's time: more sync points must be worth it.
MEETING_CHARGE = 1.6e-3


def coexec(graph: KernelGraph, costs: CachedCosts, options: Options) -> Result:
    """Segments by dynamic programming over the simulated makespan (see `planner.search`)."""
    (promised, best), *_ = scored_proposals(graph, costs, options)
    margin = decision_margin(costs, costs.weak_fractions) if options.min_gain is None else options.min_gain
    alone, device = best_alone(graph, costs, options.objective)
    if promised > alone * (1.0 - margin):
        as_good = reason(Why.ONE_DEVICE_IS_AS_GOOD, device=device)
        alone_on_it = on_one(graph, device)
        return alone_on_it, whole_reasons(graph, alone_on_it, as_good)
    split = {k for s in best if s.device == "split" for k in s.kernels}
    whole = [k for k in graph.kernels if k.index not in split]
    return best, {k.index: unprofitable_reason(k, options.axis, margin) for k in whole}


def proposals(graph: KernelGraph, costs: CachedCosts, options: Options) -> list[tuple[Segment, ...]]:
    """The best plans of the search, the best first, whatever a single device does."""
    return [segments for _, segments in scored_proposals(graph, costs, options)]


@pause_garbage_collection()
def scored_proposals(
    graph: KernelGraph, costs: CachedCosts, options: Options
) -> list[tuple[float, tuple[Segment, ...]]]:
    """The best plans of the search with their scores, the best first."""
    margin = margin_of(costs, costs.weak_fractions) if options.min_gain is None else options.min_gain
    alone_s = min(sum(costs.whole[d]) for d in DEVICES)
    outcomes = Outcomes(costs, margin / (1.0 - margin), MEETING_CHARGE * alone_s, options.objective != "latency")
    found = Search(graph, costs, Candidates(costs, outcomes, options.axis, options.ratio), options.objective).run()
    plans = dict.fromkeys(merge_segments(graph, segments) for segments in found)
    return sorted(((score_of(options.objective, simulate(graph, costs, p)), p) for p in plans), key=lambda p: p[0])
