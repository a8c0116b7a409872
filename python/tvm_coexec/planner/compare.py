"""Strategies side by side: the same graph, the same costs, the same simulated executor."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.core.progress import progress
from tvm_coexec.cost_models import Costs

from .cached_costs import CachedCosts
from .objective import energy_j
from .options import Options
from .segments import write_notes
from .simulator import Simulator, simulate, with_times
from .strategies import STRATEGIES


@dataclass(frozen=True)
class Compared:
    """What a strategy plans, and what that is expected to take.

    Attributes
    ----------
    strategy : str
    plan : Plan or None
        `None` where the strategy can't plan this graph.
    seconds : float
    joules : float or None
    sync_points, chains : int
    bytes_moved : float
    planning_s : float
    reason : str
        Why there is no plan.
    meetings_s : float
        What the sync points cost the CPU: copies, slices, joins and waits.
    """

    strategy: str
    plan: Plan | None
    seconds: float = 0.0
    joules: float | None = None
    sync_points: int = 0
    chains: int = 0
    bytes_moved: float = 0.0
    planning_s: float = 0.0
    reason: str = ""
    meetings_s: float = 0.0


def compare(
    graph: KernelGraph, costs: Costs, options: Options | None = None, strategies: Iterable[str] = ()
) -> list[Compared]:
    """Plans of several strategies; all of them, if none is named, in the order of `STRATEGIES`."""
    options = options or Options()
    cached = CachedCosts(graph, options.costs_in_place(costs), options.bandwidth)
    wanted = progress(list(strategies or STRATEGIES), "comparing", "strategy")
    return [_planned(graph, cached, replace(options, strategy=s)) for s in wanted]


def _planned(graph: KernelGraph, costs: CachedCosts, options: Options) -> Compared:
    start = time.perf_counter()
    try:
        segments, reasons = STRATEGIES[options.strategy](graph, costs, options)
    except CoExecError as why:
        return Compared(options.strategy, None, reason=str(why))
    took = time.perf_counter() - start
    notes = write_notes(graph, segments, reasons)
    plan = with_times(graph, costs, Plan(graph.fingerprint(), segments, options.strategy, notes))
    return from_simulation(options.strategy, plan, simulate(graph, costs, segments), took)


def from_simulation(name: str, plan: Plan, sim: Simulator, planning_s: float = 0.0) -> Compared:
    """A plan's simulated run as a row to compare."""
    totals = sim.totals
    return Compared(
        name,
        plan,
        sim.now_s,
        energy_j(sim),
        sim.sync_points,
        len(plan.chains),
        totals.bytes_moved,
        planning_s,
        meetings_s=totals.meetings_s,
    )
