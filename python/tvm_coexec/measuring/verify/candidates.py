"""Propose plans to measure."""

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

# A search with a larger minimum gain, in case synchronisation costs more than predicted.
CAUTIOUS_FACTOR, MIN_CAUTIOUS_GAIN = 2.0, 0.2


def propose_candidates(
    graph: KernelGraph, costs: Costs | None, options: Options, first: Plan, count: int
) -> list[Plan]:
    """Propose plans, in the order in which they are measured.

    Parameters
    ----------
    graph : KernelGraph
    costs : Costs or None
        `None` if the user has given the ratio.
    options : Options
        Options with which `first` was planned.
    first : Plan
        The plan that is used without verifying.
    count : int
        Maximum number of plans.

    Returns
    -------
    list of Plan
        Distinct plans: the CPU alone, the GPU alone, `first`; then, up to `count`, the best plans of the search, of one
        without a margin and of a more cautious one, each kernel on its faster device, and other plans of the search.
    """
    cached = None if costs is None else CachedCosts(graph, costs)
    fastest = {d: reason(Why.ONE_DEVICE_WAS_FASTEST, device=d) for d in DEVICES}
    alone = [make_plan(graph, cached, on_one(graph, d), "single", why) for d, why in fastest.items()]
    more = [first]
    if costs is not None and cached is not None and options.strategy == "coexec" and needs_costs(options):
        margin = margin_of(costs) if options.min_gain is None else options.min_gain
        cautious = replace(options, min_gain=min(0.9, max(CAUTIOUS_FACTOR * margin, MIN_CAUTIOUS_GAIN)))
        # The margin guards against errors of the costs; plans that are measured need none.
        bold = replace(options, min_gain=options.min_gain or 0.0)
        best, *others = proposals(graph, cached, options)
        layerwise, _ = STRATEGIES["layerwise"](graph, cached, options)
        why = reason(Why.WHOLE_WAS_FASTEST)
        found = [best, proposals(graph, cached, bold)[0], proposals(graph, cached, cautious)[0]]
        more += [make_plan(graph, cached, s, "coexec", why) for s in found]
        more.append(make_plan(graph, cached, layerwise, "layerwise", reason(Why.DEVICES_BY_KERNEL_WERE_FASTEST)))
        more += [make_plan(graph, cached, s, "coexec", why) for s in others]
    different = {p.digest(): p for p in reversed((*alone, *more))}  # the first of equal plans is kept
    order = list(dict.fromkeys(p.digest() for p in (*alone, *more)))
    return [first if d == first.digest() else different[d] for d in order][:count]


def make_plan(
    graph: KernelGraph, cached: CachedCosts | None, segments: tuple[Segment, ...], strategy: str, why: Reason
) -> Plan:
    """Make a plan of segments, with `why` for kernels that stay whole, and with expected times if there are costs."""
    notes = write_notes(graph, segments, whole_reasons(graph, segments, why))
    plan = Plan(graph.fingerprint(), segments, strategy, notes)
    return plan if cached is None else with_times(graph, cached, plan)
