"""Which plans are worth measuring."""

from __future__ import annotations

from dataclasses import replace

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.cost_models import Costs
from tvm_coexec.planner import STRATEGIES, Options, margin_of, needs_costs, with_times
from tvm_coexec.planner.cached_costs import Tables
from tvm_coexec.planner.segments import add_refusals
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
    tables = None if costs is None else Tables(graph, costs)
    alone = [_plan(graph, tables, on_one(graph, d), "single", f"{d} alone was the fastest") for d in ("cpu", "gpu")]
    more = [first]
    if tables is not None and options.strategy == "coexec" and needs_costs(options):
        margin = margin_of(graph, costs) if options.min_gain is None else options.min_gain
        cautious = replace(options, min_gain=min(0.9, max(CAUTION * margin, LEAST_CAUTIOUS)))
        # A margin guards against what the costs get wrong; where plans are measured, less may be tried.
        bold = replace(options, min_gain=options.min_gain or 0.0)
        best, *others = proposals(graph, tables, options)
        layerwise, _ = STRATEGIES["layerwise"](graph, tables, options)
        why = "a plan that leaves it whole was the fastest"
        found = [best, proposals(graph, tables, bold)[0], proposals(graph, tables, cautious)[0]]
        more += [_plan(graph, tables, s, "coexec", why) for s in found]
        more.append(_plan(graph, tables, layerwise, "layerwise", "each kernel whole on one device was the fastest"))
        more += [_plan(graph, tables, s, "coexec", why) for s in others]
    different = {p.digest(): p for p in reversed((*alone, *more))}  # of two that are equal the first is kept
    order = list(dict.fromkeys(p.digest() for p in (*alone, *more)))
    return [first if d == first.digest() else different[d] for d in order][:count]


def _plan(graph: KernelGraph, tables: Tables | None, segments: tuple[Segment, ...], strategy: str, why: str) -> Plan:
    split = {k for s in segments if s.device == "split" for k in s.kernels}
    notes = {str(k.index): k.reason or why for k in graph.kernels if k.index not in split}
    plan = Plan(graph.fingerprint(), segments, strategy, add_refusals(graph, segments, notes))
    return plan if tables is None else with_times(graph, tables, plan)
