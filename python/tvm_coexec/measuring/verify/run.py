"""Propose plans, measure them, and keep the fastest."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import tvm
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Verified
from tvm_coexec.cost_models import Costs
from tvm_coexec.cost_models.plan_cache import append_records
from tvm_coexec.cost_models.plan_records import PlanRecord
from tvm_coexec.planner import CachedCosts, Options, makespan_s, with_times

from ..host_info import header_of
from ..local_devices import why_not_here
from ..worker import ChildError
from .bench import Bench
from .candidates import propose_candidates
from .correct import Corrections
from .entries import Entry, build_entries, time_in_turns
from .options import FEWEST_PLANS, Verify

logger = logging.getLogger("tvm_coexec")

# Plans by corrected costs: each corrects what the one before has changed, such as the sizes of shares.
CORRECTIONS = 3


def verify_plans(
    graph: KernelGraph,
    costs: Costs | None,
    options: Options,
    first: Plan,
    divide: Callable[[Plan], tvm.IRModule],
    targets: tuple[Target, Target],
    verify: Verify,
) -> tuple[Plan, tvm.IRModule, Costs | None]:
    """Measure candidate plans on the devices and choose the fastest.

    Each device alone and a plan for both come first. What the devices took for their shares of that plan corrects the
    costs, which propose the next plans (`correct`); what is left of the number of plans are other candidates.

    Parameters
    ----------
    graph : KernelGraph
    costs : Costs or None
        The costs of planning.
    options : Options
    first : Plan
        The plan that is used without verifying.
    divide : callable
        Makes the co-executed module of a plan.
    targets : (Target, Target)
        CPU and GPU, as `tvm_coexec.targets` returns them.
    verify : Verify

    Returns
    -------
    plan : Plan
        The fastest; its `verified` lists all.
    module : IRModule
        Its co-executed module.
    costs : Costs or None
        The costs that its expected times are by: corrected ones, if it was made by them.

    Raises
    ------
    CoExecError
        If the devices can't be used, no plan works, or outputs differ and the CPU alone, which decides, can't be run.
    """
    why = "" if verify.server else why_not_here(*targets)
    if why:
        raise CoExecError(
            f"verify: plans can't be run here ({why}); compile on the device, name its RPC server, or leave verify out"
        )
    proposed = propose_candidates(graph, costs, options, first, verify.plans)
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory(prefix="coexec-verify-", ignore_cleanup_errors=True) as folder:
        bench = Bench(*targets, verify, folder, options)
        try:
            header = header_of(bench.devices())
            build_entries(entries, [Entry(p) for p in proposed[:FEWEST_PLANS]], divide, bench)
            if (corrections := Corrections.of(graph, costs, options)) is not None:
                add_corrected(entries, entries[-1], corrections, divide, bench, verify.plans - len(entries))
            known = {e.plan.digest() for e in entries}
            others = [Entry(p) for p in proposed[FEWEST_PLANS:] if p.digest() not in known]
            build_entries(entries, others[: verify.plans - len(entries)], divide, bench)
            quiet = time_in_turns(entries, bench, verify.repeats)
            best = _choose_fastest(entries)
            found = replace(best.plan, verified=_list_verified(entries, costs is not None))
            if corrections is not None and _learn(best, corrections, bench):
                best.costs = corrections.costs  # by these the plan promises what its own shares take
                found = with_times(graph, CachedCosts(graph, best.costs), found)
        finally:
            bench.close()
    if costs is not None and quiet:
        _keep_records(graph, costs, entries, header)
    assert best.placed is not None
    return found, best.placed, best.costs or costs


def add_corrected(
    entries: list[Entry],
    last: Entry,
    corrections: Corrections,
    divide: Callable[[Plan], tvm.IRModule],
    bench: Bench,
    most: int = CORRECTIONS,
) -> None:
    """Record a plan, and build one that the corrected costs propose; repeat with that one.

    Parameters
    ----------
    entries : list of Entry
        Built ones, to which at most `most` are added.
    last : Entry
        The one to record first. Others are divided and built in its context.
    corrections : Corrections
    divide : callable
        See `verify_plans`.
    bench : Bench
    most : int
        Never more than `CORRECTIONS`.
    """
    for _ in range(min(CORRECTIONS, most)):
        if not _learn(last, corrections, bench):
            return
        plan = corrections.propose()
        if plan.digest() in {e.plan.digest() for e in entries if e.context is last.context}:
            return
        last = Entry(plan, last.context, "by recorded runs", costs=corrections.costs)
        build_entries(entries, [last], divide, bench)


def _learn(entry: Entry, corrections: Corrections, bench: Bench) -> bool:
    """Record a plan's runs, and correct the costs by them; return whether that was possible."""
    if entry.compiled is None or entry.plan.device != "both":
        return False
    try:
        seconds = bench.record(entry.compiled)
    except ChildError as err:
        logger.info("costs are not corrected by recorded runs: %s", err)
        return False
    if seconds is not None:
        corrections.learn(entry.plan, seconds)
    return seconds is not None


def _keep_records(graph: KernelGraph, costs: Costs, entries: list[Entry], header: dict) -> None:
    """Append records to the cache, for the co-run calibration of profiles."""
    working = [e for e in entries if e.compiled is not None]
    alone = [e.seconds for e in working if e.plan.device != "both"]
    if not alone:
        return
    at = time.strftime("%Y-%m-%dT%H:%M:%S")
    # Without the calibration, which is fitted to these records.
    plain = CachedCosts(graph, costs, calibrated=False)
    path = append_records(
        header,
        [
            PlanRecord(
                graph=graph.fingerprint(),
                segments=e.plan.digest(),
                strategy=e.plan.strategy,
                device=e.plan.device,
                chains=len(e.plan.chains),
                predicted_s=makespan_s(graph, plain, e.plan.segments),
                measured_s=e.seconds,
                alone_s=min(alone),
                costs=costs.description,
                at=at,
            )
            for e in working
        ],
    )
    if path is not None:
        logger.info("measurements of the plans are in %s", path)


def _choose_fastest(entries: list[Entry]) -> Entry:
    working = [e for e in entries if e.compiled is not None]
    if not working:
        raise CoExecError(
            f"verify: none of {len(entries)} plans can be built and run here ({entries[0].error}); leave verify out"
        )
    return min(working, key=lambda e: e.seconds)


def _list_verified(entries: list[Entry], are_expected: bool) -> tuple[Verified, ...]:
    """Return what a plan keeps of all; with expected times, by the costs that each was proposed by."""
    return tuple(
        Verified(
            strategy=e.plan.strategy,
            segments=e.plan.digest(),
            device=e.plan.device,
            chains=len(e.plan.chains),
            expected_s=e.plan.expected_s if are_expected else 0.0,
            measured_s=e.seconds if e.compiled is not None else 0.0,
            error=e.error,
        )
        for e in entries
    )
