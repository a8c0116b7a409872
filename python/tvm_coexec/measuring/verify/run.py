"""Build, run, compare and time plans in turns, and keep the fastest."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import tvm
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Verified
from tvm_coexec.core.progress import progress
from tvm_coexec.cost_models import Costs
from tvm_coexec.cost_models.plan_cache import append_records
from tvm_coexec.cost_models.plan_records import PlanRecord
from tvm_coexec.planner import CachedCosts, Options, makespan_s

from ..host_info import BUSY_CORES, header_of
from ..local_devices import why_not_here
from ..worker import ChildError
from .bench import Bench
from .candidates import propose_candidates
from .child import Compiled
from .correct import Corrections
from .options import FEWEST_PLANS, Verify

logger = logging.getLogger("tvm_coexec")

# Largest error of a plan's outputs, relative to the largest value, against those of a single device.
TOLERANCE = 1e-3
# After this time no further rounds are started, except the first three.
ENOUGH_S, FEWEST_ROUNDS = 60.0, 3
# Plans by corrected costs: each corrects what the one before has changed, such as the sizes of shares.
CORRECTIONS = 3


@dataclass
class Entry:
    """A plan to build and measure, and its state.

    Attributes
    ----------
    plan : Plan
    context : callable
        Makes the context, such as tuning records, in which it is divided and built.
    label : str
        Added to its name in messages.
    placed : IRModule or None
        The co-executed module, once it is built.
    compiled : Compiled or None
        `None` before it is built, and after a failure.
    times : list of float
        Seconds of each timing.
    error : str
        Why it is left out.
    costs : Costs or None
        Corrected ones, if the plan was made by them.
    outputs : list of ndarray or None
        Of the first plan that runs, with which the others' are compared.
    """

    plan: Plan
    context: Callable[[], AbstractContextManager] = nullcontext
    label: str = ""
    placed: tvm.IRModule | None = None
    compiled: Compiled | None = None
    times: list[float] = field(default_factory=list)
    error: str = ""
    costs: Costs | None = None
    outputs: list[np.ndarray] | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """Median of the timings, since a plan waits at its sync points for whichever device was slow; 0 without any."""
        return statistics.median(self.times) if self.times else 0.0

    @property
    def name(self) -> str:
        """The plan in words, for messages."""
        chains = len(self.plan.chains)
        what = f"{chains} chains" if self.plan.device == "both" else f"all on the {self.plan.device}"
        return f"{self.plan.digest()} (strategy {self.plan.strategy}, {what}{self.label and ', '}{self.label})"


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
    entries = [Entry(p) for p in proposed[:FEWEST_PLANS]]
    with tempfile.TemporaryDirectory(prefix="coexec-verify-", ignore_cleanup_errors=True) as folder:
        bench = Bench(*targets, verify, folder, options.runtime or "own", options.memory == "copied")
        try:
            header = header_of(bench.devices())
            build_entries(entries, divide, bench)
            if (corrections := Corrections.of(graph, costs, options)) is not None:
                add_corrected(entries, entries[-1], corrections, divide, bench, verify.plans - len(entries))
            known = {e.plan.digest() for e in entries}
            others = [Entry(p) for p in proposed[FEWEST_PLANS:] if p.digest() not in known]
            _build_more(entries, others[: verify.plans - len(entries)], divide, bench)
            quiet = time_in_turns(entries, bench, verify.repeats)
        finally:
            bench.close()
    if costs is not None and quiet:
        _keep_records(graph, costs, entries, header)
    return _choose_fastest(costs, entries)


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
        if last.compiled is None or last.plan.device != "both" or bench.copies:
            return
        try:
            corrections.learn(last.plan, bench.record(last.compiled))
        except ChildError as err:
            logger.info("costs are not corrected by recorded runs: %s", err)
            return
        plan = corrections.propose()
        if plan.digest() in {e.plan.digest() for e in entries if e.context is last.context}:
            return
        last = Entry(plan, last.context, "by recorded runs", costs=corrections.costs)
        _build_more(entries, [last], divide, bench)


def build_entries(entries: list[Entry], divide: Callable[[Plan], tvm.IRModule], bench: Bench) -> None:
    """Build each plan, run it once, and compare its outputs with those of the first, the CPU alone.

    A plan with other outputs is left out: if the GPU computes some kernels wrong, other plans may be correct.
    """
    given, entries[:] = list(entries), []
    _build_more(entries, given, divide, bench)


def _build_more(
    entries: list[Entry], more: Sequence[Entry], divide: Callable[[Plan], tvm.IRModule], bench: Bench
) -> None:
    """As `build_entries`, with entries that were built before."""
    reference = next((e for e in entries if e.outputs is not None), None)
    for entry in progress(more, "building plans", "plan"):
        number = len(entries)
        entries.append(entry)
        try:
            with entry.context():
                entry.placed = divide(entry.plan)
                if number == 0:
                    bench.set_inputs(entry.placed["main"].params)
                entry.compiled = bench.build(number, entry.placed, entry.plan)
            got = bench.run(entry.compiled)
        except Exception as err:  # a plan that fails must not end the run
            _mark_failed(entry, one_line(err))
            continue
        if reference is None:
            reference, entry.outputs = entry, got
        elif (error := max_error(got, reference.outputs or [])) > TOLERANCE:
            why = f"its outputs differ by {error:.1e} of the largest value from those of plan {reference.name}"
            if reference.plan.device != "cpu":  # either may be wrong
                raise CoExecError(
                    f"verify: plan {entry.name} computes something else: {why}, and the CPU alone can't be run "
                    f"({entries[0].error}); report it with the model, and leave verify out"
                )
            _mark_failed(entry, why, "gives wrong numbers")


def _mark_failed(entry: Entry, why: str, what: str = "can't be measured") -> None:
    entry.error, entry.compiled = why, None
    logger.warning("plan %s %s and is left out: %s", entry.name, what, why)


def max_error(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """Return the largest error of any output, relative to its largest value; infinite if they can't be compared."""
    worst = 0.0
    for g, w in zip(got, want, strict=True):
        g, w = g.astype("float64"), w.astype("float64")
        if g.shape != w.shape or not np.array_equal(np.isfinite(g), np.isfinite(w)):
            return float("inf")
        fine = np.isfinite(w)
        if fine.any():
            worst = max(worst, float(np.abs(g[fine] - w[fine]).max() / max(np.abs(w[fine]).max(), 1e-30)))
    return worst


def time_in_turns(entries: list[Entry], bench: Bench, repeats: int) -> bool:
    """Time all plans in turns, so that disturbances affect all of them; return whether the machine was quiet."""
    start = time.monotonic()
    total = repeats * sum(e.compiled is not None for e in entries)
    with progress(what="measuring plans", unit="run", total=total) as bar:
        for done in range(repeats):
            if done >= FEWEST_ROUNDS and time.monotonic() - start > ENOUGH_S:
                break
            for entry in entries:
                if entry.compiled is None:
                    continue
                try:
                    seconds = bench.time(entry.compiled).best_s
                except ChildError as err:
                    _mark_failed(entry, str(err))
                    continue
                entry.times.append(seconds)
                bar.update()
    if bench.worker.load <= BUSY_CORES:
        return True
    logger.warning(
        "other processes used %.1f cores while plans were measured: another plan may be the fastest on a quiet "
        "machine, and nothing is recorded for profiles",
        bench.worker.load,
    )
    return False


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


def _choose_fastest(costs: Costs | None, entries: list[Entry]) -> tuple[Plan, tvm.IRModule, Costs | None]:
    working = [e for e in entries if e.compiled is not None]
    if not working:
        raise CoExecError(
            f"verify: none of {len(entries)} plans can be built and run here ({entries[0].error}); leave verify out"
        )
    found = tuple(
        Verified(
            strategy=e.plan.strategy,
            segments=e.plan.digest(),
            device=e.plan.device,
            chains=len(e.plan.chains),
            expected_s=0.0 if costs is None else e.plan.expected_s,
            measured_s=e.seconds if e.compiled is not None else 0.0,
            error=e.error,
        )
        for e in entries
    )
    best = min(working, key=lambda e: e.seconds)
    assert best.placed is not None
    return replace(best.plan, verified=found), best.placed, best.costs or costs
