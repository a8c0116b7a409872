"""Modules measured in turns at the end: the untuned one, and the candidate plans with the new records."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import tvm
from tvm.target import Target

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Verified
from tvm_coexec.cost_models import Costs
from tvm_coexec.measuring.verify import Verify
from tvm_coexec.measuring.verify.bench import Bench
from tvm_coexec.measuring.verify.candidates import propose_candidates
from tvm_coexec.measuring.verify.run import Entry, build_entries, time_in_turns
from tvm_coexec.planner import CachedCosts, makespan_s, with_times
from tvm_coexec.planner.strategies.single import on_one
from tvm_coexec.remote import Server, parse_reachable
from tvm_coexec.tuning.records import Records
from tvm_coexec.tuning.serving import apply_records

from .boards import tracker_of
from .options import TuneOptions

logger = logging.getLogger("tvm_coexec")

UNTUNED, TUNED = "untuned", "tuned"
REPEATS = 7
_EARLIER = 2  # plans of earlier rounds


@dataclass(frozen=True)
class Result:
    """A module that was measured.

    Attributes
    ----------
    name : str
        What it is, for the summary.
    plan : Plan
    tuned : bool
        Whether it was built with the new records.
    expected_s : float
        By the profile before, or after tuning.
    measured_s : float
        The shortest run; 0 if there is an error.
    error : str
    """

    name: str
    plan: Plan
    tuned: bool
    expected_s: float
    measured_s: float = 0.0
    error: str = ""


def choose_modules(
    graph: KernelGraph, first: Plan, plans: Sequence[Plan], before: Costs, after: Costs, options: TuneOptions
) -> list[Result]:
    """Return what to measure; the first is the untuned CPU, whose results are the reference.

    Parameters
    ----------
    graph : KernelGraph
    first : Plan
        Made before tuning.
    plans : sequence of Plan
        Made after each round, the last of them with all records.
    before, after : Costs
        Without and with what was measured.
    options : TuneOptions
    """
    cached = {False: CachedCosts(graph, before), True: CachedCosts(graph, after)}
    alone = with_times(graph, cached[False], Plan(graph.fingerprint(), on_one(graph, "cpu"), "single"))
    found = [(alone, False, f"{UNTUNED}, CPU alone"), (first, False, UNTUNED)]
    if first.digest() == alone.digest():
        found = [(first, False, UNTUNED)]
    last = plans[-1] if plans else first
    proposed = propose_candidates(graph, after, options, last, options.plans)
    earlier = [p for p in dict.fromkeys(reversed(plans)) if p.digest() != last.digest()][:_EARLIER]
    seen: set[str] = set()
    for plan in (*proposed, first, *earlier):
        if plan.digest() in seen:
            continue
        seen.add(plan.digest())
        if plan.digest() == last.digest():
            name = TUNED
        elif plan.device != "both":
            name = f"{TUNED}, {plan.device.upper()} alone"
        else:
            name = f"{TUNED}, {'the first' if plan.digest() == first.digest() else 'another'} plan"
        found.append((plan, True, name))
    return [Result(name, p, tuned, makespan_s(graph, cached[tuned], p.segments)) for p, tuned, name in found]


def measure_modules(
    modules: Sequence[Result],
    divide: Callable[[Plan], tvm.IRModule],
    targets: Sequence[Target],
    records: Records,
    options: TuneOptions,
    server: Server | None = None,
) -> list[Result]:
    """Build, compare and measure modules in turns.

    Parameters
    ----------
    modules : sequence of Result
    divide : callable
        Makes the co-executed module of a plan.
    targets : (Target, Target)
    records : Records
        For the tuned ones.
    options : TuneOptions
    server : Server, optional
        RPC server of the devices.

    Returns
    -------
    list of Result
        With times, or the reason why a module has none.
    """

    def context(tuned: bool) -> Callable[[], AbstractContextManager]:
        return (lambda: apply_records(records, targets)) if tuned and records.pairs else nullcontext

    entries = [Entry(m.plan, context(m.tuned), m.name) for m in modules]
    verify = Verify(max(3, len(entries)), REPEATS)
    if server is not None:
        verify = Verify(max(3, len(entries)), REPEATS, parse_reachable("tracker", tracker_of(server)), server.key)
    cpu, gpu = targets
    with tempfile.TemporaryDirectory(prefix="coexec-tune-", ignore_cleanup_errors=True) as folder:
        bench = Bench(cpu, gpu, verify, folder, options.runtime or "own")
        try:
            build_entries(entries, divide, bench)
            time_in_turns(entries, bench, REPEATS)
        finally:
            bench.close()
    return [
        Result(m.name, m.plan, m.tuned, m.expected_s, e.seconds if e.compiled is not None else 0.0, e.error)
        for m, e in zip(modules, entries, strict=True)
    ]


def verified_of(results: Sequence[Result]) -> tuple[Verified, ...]:
    """Return results as a plan stores them."""
    return tuple(
        Verified(
            strategy=r.plan.strategy,
            segments=r.plan.digest(),
            device=r.plan.device,
            chains=len(r.plan.chains),
            expected_s=r.expected_s,
            measured_s=r.measured_s,
            error=r.error,
        )
        for r in results
    )
