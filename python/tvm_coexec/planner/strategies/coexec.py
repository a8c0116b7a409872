"""Ours: the best plan that the search finds, and never one that promises less than a single device."""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import DEVICES, Kernel, KernelGraph
from tvm_coexec.core.plan import Segment
from tvm_coexec.cost_models import Costs

from ..cached_costs import Tables
from ..margin import margin_of
from ..objective import score_of
from ..options import Options, Result
from ..search.candidates import Candidates
from ..search.outcomes import Outcomes
from ..search.search import Search
from ..segments import joined
from ..simulator import ran
from .ratio import whole_reason
from .single import best_alone, on_one

# Each chain is charged so much of the better device's time: a plan with more meetings must be worth it.
MEETING_CHARGE = 1.6e-3


def coexec(graph: KernelGraph, costs: Costs, options: Options) -> Result:
    """Segments by dynamic programming over the simulated makespan (see `planner.search`)."""
    (promised, best), *_ = scored_proposals(graph, costs, options)
    margin = margin_of(graph, costs) if options.min_gain is None else options.min_gain
    alone, device = best_alone(graph, costs, options.objective)
    if promised > alone * (1.0 - margin):
        why = f"{device} alone is expected to be as good"
        return on_one(graph, device), {str(k.index): k.reason or why for k in graph.kernels}
    split = {k for s in best if s.device == "split" for k in s.kernels}
    return best, {str(k.index): _reason(k, options, margin) for k in graph.kernels if k.index not in split}


def proposals(graph: KernelGraph, costs: Costs, options: Options) -> list[tuple[Segment, ...]]:
    """The best plans of the search, the best first, whatever a single device does."""
    return [segments for _, segments in scored_proposals(graph, costs, options)]


def scored_proposals(graph: KernelGraph, costs: Costs, options: Options) -> list[tuple[float, tuple[Segment, ...]]]:
    """The best plans of the search with their scores, the best first."""
    tables = costs if isinstance(costs, Tables) else Tables(graph, costs)
    margin = margin_of(graph, tables) if options.min_gain is None else options.min_gain
    alone_s = min(sum(tables.whole[d]) for d in DEVICES)
    outcomes = Outcomes(tables, margin / (1.0 - margin), MEETING_CHARGE * alone_s, options.objective != "latency")
    found = Search(graph, tables, Candidates(tables, outcomes, options.axis, options.ratio), options.objective).run()
    plans = dict.fromkeys(joined(graph, segments) for segments in found)
    return sorted(((score_of(options.objective, ran(graph, tables, p)), p) for p in plans), key=lambda p: p[0])


def _reason(kernel: Kernel, options: Options, margin: float) -> str:
    reason = whole_reason(kernel, options.axis)
    return reason if "ratio" not in reason else f"dividing it is not expected to save {margin:.0%}"
