"""From a kernel graph and costs to a plan. Nothing here imports TVM.

Read it in this order: `simulator` (what a plan takes), `cached_costs` (costs as tables), `chain_times` and
`chain_sweep` (a chain at all cuts), `search` (candidate chains, dynamic programming), `strategies` (ours and others).
"""

from __future__ import annotations

from dataclasses import replace

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models import Costs

from .cached_costs import CachedCosts
from .compare import compare
from .margin import DEFAULT_MIN_GAIN, margin_of
from .options import OBJECTIVES, Options, check_options, refuse_idle
from .search.search import pause_garbage_collection
from .segments import write_notes
from .simulator import Simulator, makespan_s, simulate, with_times
from .strategies import STRATEGIES, fixed_plan

__all__ = [
    "DEFAULT_MIN_GAIN",
    "OBJECTIVES",
    "STRATEGIES",
    "CachedCosts",
    "Options",
    "Simulator",
    "check_options",
    "compare",
    "make_plan",
    "makespan_s",
    "margin_of",
    "needs_costs",
    "refuse_idle",
    "simulate",
    "with_times",
]


def needs_costs(options: Options) -> bool:
    """Whether the options leave something to decide by cost."""
    return options.ratio is None or (options.strategy != "coexec" and 0.0 < options.ratio < 1.0)


@pause_garbage_collection()
def make_plan(graph: KernelGraph, costs: Costs | None = None, options: Options | None = None, **given: object) -> Plan:
    """Plan a kernel graph.

    Parameters
    ----------
    graph : KernelGraph
    costs : Costs, optional
        Needed when `needs_costs`; otherwise only used to fill in expected times.
    options : Options, optional
    **given
        Fields of `Options`, as `check_options` takes them, where `options` is left out.

    Returns
    -------
    Plan
        The same inputs give the same plan, byte for byte.

    Raises
    ------
    CoExecError
        When an option is wrong, or costs are needed and not given, or can't tell what the objective asks.
    """
    options = options or check_options(**given)
    cached = None if costs is None else CachedCosts(graph, options.costs_in_place(costs), options.bandwidth)
    if needs_costs(options):
        if cached is None:
            raise CoExecError(f"strategy '{options.strategy}' with ratio auto needs costs: give a profile, or a ratio")
        segments, reasons = STRATEGIES[options.strategy](graph, cached, options)
    else:
        assert options.ratio is not None
        segments, reasons = fixed_plan(graph, options.ratio, options.axis)
    plan = Plan(graph.fingerprint(), segments, options.strategy, write_notes(graph, segments, reasons))
    plan.check(graph)
    if cached is not None:
        return with_times(graph, cached, plan)
    return replace(plan, costs="none: the ratio was given", runtime=options.runtime or "own")
