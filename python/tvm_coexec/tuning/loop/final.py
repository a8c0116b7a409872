"""Modules measured in turns at the end: the untuned one, and the candidate plans with the new records."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import tvm
from tvm.target import Target

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Verified
from tvm_coexec.cost_models import Costs
from tvm_coexec.measuring.verify import Verify
from tvm_coexec.measuring.verify.bench import Bench
from tvm_coexec.measuring.verify.candidates import propose_candidates
from tvm_coexec.measuring.verify.correct import Corrections
from tvm_coexec.measuring.verify.entries import Entry, build_entries, time_in_turns
from tvm_coexec.measuring.verify.options import FEWEST_PLANS
from tvm_coexec.measuring.verify.run import CORRECTIONS, add_corrected
from tvm_coexec.planner import CachedCosts, makespan_s, with_times
from tvm_coexec.planner.strategies.single import on_one
from tvm_coexec.remote import Server, parse_reachable
from tvm_coexec.tuning.records import Records
from tvm_coexec.tuning.serving import apply_records

from .boards import tracker_of
from .options import TuneOptions
from .session import Round

logger = logging.getLogger("tvm_coexec")

UNTUNED, TUNED = "untuned", "tuned"
REPEATS = 7
_BETWEEN = 2  # rounds between the first and the last whose modules are measured, too


@dataclass(frozen=True)
class Result:
    """A module that is, or was, measured.

    Attributes
    ----------
    name : str
        What it is, for the summary.
    plan : Plan
    expected_s : float
        By the profile before, or after tuning.
    tuned : bool
        Whether it is built with new records.
    records : Records
        These records.
    trials : int
        After how many trials they, and the plan, were there.
    measured_s : float
        The median run; 0 before it was measured, and if there is an error.
    error : str
    """

    name: str
    plan: Plan
    expected_s: float
    tuned: bool = False
    records: Records = field(default_factory=lambda: Records(()), repr=False)
    trials: int = 0
    measured_s: float = 0.0
    error: str = ""


def choose_modules(
    graph: KernelGraph, rounds: Sequence[Round], before: Costs, after: Costs, options: TuneOptions
) -> list[Result]:
    """Return what to measure; the first runs on the untuned CPU, and its results are the reference.

    Parameters
    ----------
    graph : KernelGraph
    rounds : sequence of Round
        The first is the start.
    before, after : Costs
        Without and with what was measured.
    options : TuneOptions
    """
    untuned, tuned = CachedCosts(graph, before), CachedCosts(graph, after)
    start, last = rounds[0], rounds[-1]
    alone = with_times(graph, untuned, Plan(graph.fingerprint(), on_one(graph, "cpu"), "single"))
    plans = {start.plan.digest(): (UNTUNED, start.plan)}
    if alone.digest() not in plans:
        plans = {alone.digest(): (f"{UNTUNED}, CPU alone", alone), **plans}
    found = [Result(name, p, makespan_s(graph, untuned, p.segments)) for name, p in plans.values()]
    count = max(FEWEST_PLANS, options.plans - CORRECTIONS)  # `measure_modules` adds corrected ones
    proposed = propose_candidates(graph, after, options, last.plan, count)
    for plan in {p.digest(): p for p in (*proposed, start.plan)}.values():
        expected_s = makespan_s(graph, tuned, plan.segments)
        found.append(Result(_name(plan, start, last), plan, expected_s, True, last.records, last.trials))
    for r in _some_between(rounds):
        expected_s = makespan_s(graph, tuned, r.plan.segments)
        found.append(Result(f"{TUNED}, after {r.trials} trials", r.plan, expected_s, True, r.records, r.trials))
    return found


def _name(plan: Plan, start: Round, last: Round) -> str:
    if plan.digest() == last.plan.digest():
        return TUNED
    if plan.device != "both":
        return f"{TUNED}, {plan.device.upper()} alone"
    return f"{TUNED}, {'the first' if plan.digest() == start.plan.digest() else 'another'} plan"


def _some_between(rounds: Sequence[Round]) -> list[Round]:
    """Return a few rounds between the first and the last, apart from each other, that differ from the last."""
    last = rounds[-1]
    differing = [
        r for r in rounds[1:-1] if r.plan.digest() != last.plan.digest() or r.records.pairs != last.records.pairs
    ]
    return [differing[(2 * n + 1) * len(differing) // (2 * _BETWEEN)] for n in range(min(_BETWEEN, len(differing)))]


def measure_modules(
    modules: Sequence[Result],
    divide: Callable[[Plan], tvm.IRModule],
    targets: Sequence[Target],
    options: TuneOptions,
    server: Server | None = None,
    corrections: Corrections | None = None,
) -> list[Result]:
    """Build, compare and measure modules in turns.

    Runs of the tuned module are recorded first; modules by the costs that these correct are added (see
    `measuring.verify.correct`).

    Parameters
    ----------
    modules : sequence of Result
    divide : callable
        Makes the co-executed module of a plan.
    targets : (Target, Target)
    options : TuneOptions
    server : Server, optional
        RPC server of the devices.
    corrections : Corrections, optional
        Of the costs with what was measured; without them, no module is added.

    Returns
    -------
    list of Result
        With times, or the reason why a module has none.
    """

    def context(m: Result) -> Callable[[], AbstractContextManager]:
        def enter() -> AbstractContextManager:
            return apply_records(m.records, targets) if m.records.pairs else nullcontext()

        return enter

    contexts = {id(m.records): context(m) for m in modules}  # plans are the same only with the same records
    entries: list[Entry] = []
    verify = Verify(max(FEWEST_PLANS, len(modules)), REPEATS)
    if server is not None:
        verify = Verify(
            max(FEWEST_PLANS, len(modules)), REPEATS, parse_reachable("tracker", tracker_of(server)), server.key
        )
    cpu, gpu = targets
    with tempfile.TemporaryDirectory(prefix="coexec-tune-", ignore_cleanup_errors=True) as folder:
        bench = Bench(cpu, gpu, verify, folder, options)
        try:
            given = [Entry(m.plan, contexts[id(m.records)], m.name) for m in modules]
            build_entries(entries, given, divide, bench)
            tuned = next((e for e in entries if e.label == TUNED), None)
            if tuned is not None and corrections is not None:
                add_corrected(entries, tuned, corrections, divide, bench)
            time_in_turns(entries, bench, REPEATS)
        finally:
            bench.close()
    found, of_tuned = list(modules), next((m for m in modules if m.name == TUNED), None)
    for e in entries[len(modules) :]:
        assert of_tuned is not None
        found.append(replace(of_tuned, name=f"{TUNED}, {e.label}", plan=e.plan, expected_s=e.plan.expected_s))
    measured = [
        replace(m, measured_s=e.seconds if e.compiled is not None else 0.0, error=e.error)
        for m, e in zip(found, entries, strict=True)
    ]
    return number_names(measured)


def number_names(results: Sequence[Result]) -> list[Result]:
    """Return results of which no two have the same name: a summary says by its name which one was chosen."""
    seen: Counter[str] = Counter()
    found = []
    for r in results:
        seen[r.name] += 1
        found.append(replace(r, name=f"{r.name} ({seen[r.name]})") if seen[r.name] > 1 else r)
    return found


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
