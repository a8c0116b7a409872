"""Which plans are worth measuring."""

from __future__ import annotations

from dataclasses import replace

from tvm_coexec.core.kernel_graph import DEVICES, KernelGraph
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.core.reasons import Reason, Why, reason
from tvm_coexec.cost_models import Costs
from tvm_coexec.planner import STRATEGIES, CachedCosts, Options, margin_of, needs_costs, with_times
from tvm_coexec.planner.segments import whole_reasons, write_notes
from tvm_coexec.planner.strategies.coexec import proposals
from tvm_coexec.planner.strategies.single import on_one

# A cautious search: for when meetings cost more than the costs say.
CAUTION, LEAST_CAUTIOUS = 2.0, 0.2


def candidates(graph: KernelGraph, costs: Costs | None, options: Options, first: Plan, count: int) -> list[Plan]:
    """Plans in the order in which they are measured.

    Parameters
    ----------
    graph : KernelGraph
    costs : Costs or None
        `None` where the user gave the ratio.
    options : Options
        What `first` was planned with.
    first : Plan
        The plan that would be taken unverified.
    count : int
        At most so many.

    Returns
    -------
    list of Plan
        All different: the CPU alone, the GPU alone, `first`, and as far as there is room what the search proposes
        beside it, what a search without a margin and a more cautious one propose, and each kernel on its faster device.
    """
    cached = None if costs is None else CachedCosts(graph, costs)
    fastest = {d: reason(Why.ONE_DEVICE_WAS_FASTEST, device=d) for d in DEVICES}
    alone = [_plan(graph, cached, on_one(graph, d), "single", why) for d, why in fastest.items()]
    more = [first]
    if costs is not None and cached is not None and options.strategy == "coexec" and needs_costs(options):
        margin = margin_of(costs) if options.min_gain is None else options.min_gain
        cautious = replace(options, min_gain=min(0.9, max(CAUTION * margin, LEAST_CAUTIOUS)))
        # A margin guards against what the costs get wrong; where plans are measured, less may be tried.
        bold = replace(options, min_gain=options.min_gain or 0.0)
        best, *others = proposals(graph, cached, options)
        layerwise, _ = STRATEGIES["layerwise"](graph, cached, options)
        why = reason(Why.WHOLE_WAS_FASTEST)
        found = [best, proposals(graph, cached, bold)[0], proposals(graph, cached, cautious)[0]]
        more += [_plan(graph, cached, s, "coexec", why) for s in found]
        more.append(_plan(graph, cached, layerwise, "layerwise", reason(Why.DEVICES_BY_KERNEL_WERE_FASTEST)))
        more += [_plan(graph, cached, s, "coexec", why) for s in others]
    different = {p.digest(): p for p in reversed((*alone, *more))}  # of two that are equal the first is kept
    order = list(dict.fromkeys(p.digest() for p in (*alone, *more)))
    return [first if d == first.digest() else different[d] for d in order][:count]


def _plan(
    graph: KernelGraph, cached: CachedCosts | None, segments: tuple[Segment, ...], strategy: str, why: Reason
) -> Plan:
    notes = write_notes(graph, segments, whole_reasons(graph, segments, why))
    plan = Plan(graph.fingerprint(), segments, strategy, notes)
    return plan if cached is None else with_times(graph, cached, plan)
