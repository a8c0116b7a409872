"""`tune`: the joint loop from a model to a folder with records, plan, profile and summary."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import tvm
from tvm import autotvm
from tvm.target import Target

from tvm_coexec import planner
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models import Costs
from tvm_coexec.measuring.choose_costs import choose_costs, load_generic
from tvm_coexec.measuring.local_devices import why_not_here
from tvm_coexec.measuring.pieces import KernelBuilder
from tvm_coexec.measuring.restrict import restrict_to_measured
from tvm_coexec.measuring.verify.correct import Corrections
from tvm_coexec.pass_context import deployment_context
from tvm_coexec.planner import CachedCosts
from tvm_coexec.relay_passes.divide import divide_compilably, make_shares, place
from tvm_coexec.relay_passes.extract import extract_with_calls
from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.remote import Server
from tvm_coexec.targets import targets as make_targets
from tvm_coexec.tuning.records import Records, load_records, merge_records
from tvm_coexec.tuning.scope import autotvm_scope
from tvm_coexec.tuning.serving import apply_records

from . import final
from .boards import Boards
from .folder import Folder, Identity, check_free, open_folder
from .kernels import KernelChecks
from .options import Budget, TuneOptions, check_budget, check_tune_options
from .progress import Progress
from .results import Tuned, describe_results, is_done, load_tuned, write_results
from .session import Outcome, Session
from .trials import Trials

logger = logging.getLogger("tvm_coexec")

# Options that change nothing about the sequence of trials.
_FREE = ("plans", "timeout")


def tune(
    mod: tvm.IRModule,
    params: dict | None = None,
    cpu: str | Target = "llvm",
    gpu: str | Target = "opencl",
    folder: str | os.PathLike = "tuned",
    trials: int | None = None,
    minutes: float | None = None,
    profile: object | None = None,
    tracker: str | None = None,
    key: str = "",
    records: str | os.PathLike | Sequence[str | os.PathLike] = (),
    show: bool = True,
    **options: object,
) -> Tuned:
    """Tune a model for co-execution: its kernels and shares, its plan, and the profile of its kernels.

    Started again with the same arguments and folder it continues where it was interrupted.

    Parameters
    ----------
    mod, params
        The model and its weights, as `build` takes them.
    cpu, gpu : str or Target
        See `tvm_coexec.targets`.
    folder : path
        For the results; a new or an empty folder, or that of an earlier run, which is continued.
    trials : int, optional
        Budget: trials in the folder, with those of earlier runs.
    minutes : float, optional
        Budget: minutes of trials and checks. Measuring modules at the end comes on top.
    profile : str, path or Costs, optional
        Costs to start with, see `CoExecPartition`.
    tracker, key : str, optional
        ``HOST:PORT`` of TVM's RPC tracker, and key of the boards: all free ones measure in parallel. By default this
        machine's devices are used.
    records : path or sequence of path
        Logs of AutoTVM from earlier tuning. Their best configurations are among the first candidates.
    show : bool
        Show progress on standard error.
    **options
        Fields of `TuneOptions`: those of planning (``axis``, ``min_gain``, ``strategy``, ``runtime``, ``memory``...),
        and ``tuner``, ``seed``, ``batch``, ``number``, ``repeat``, ``min_repeat_ms``, ``timeout``, ``plans``.

    Returns
    -------
    Tuned
        What the folder holds: the fastest module that was measured, which may be the untuned one.

    Raises
    ------
    CoExecError
        For a wrong option, target, profile, log or folder, if the devices or boards can't be used, or if no module
        could be measured.
    """
    budget, chosen = check_budget(trials, minutes), check_tune_options(options)
    both = make_targets(cpu, gpu)
    path = os.fspath(folder)
    check_free(path)
    server = Server(tracker=tracker, key=key) if tracker is not None or key else None
    earlier = _read_earlier(records, both)
    boards = Boards(chosen, server, "ndk" if "android" in str(both[0].attrs.get("mtriple", "")) else "default")
    if server is not None:
        boards.start()
    elif why := why_not_here(*both):
        raise CoExecError(f"tuning measures on the devices, and they are not here ({why}): give a tracker and a key")
    progress = Progress(show)
    try:
        with deployment_context(instruments=False), autotvm_scope(silent=True):
            job = _prepare(mod, params, both, chosen, server)
            identity = Identity.of(job.graph, both)
            with open_folder(path, identity, _settings(chosen, profile, earlier)) as opened:
                return _run(job, opened, identity, budget, profile, earlier, boards, progress)
    finally:
        progress.close()
        boards.close()


@dataclass(frozen=True)
class _Job:
    """A model to tune."""

    builder: KernelBuilder
    targets: Sequence[Target]
    options: TuneOptions
    server: Server | None

    @property
    def graph(self) -> str:
        return self.builder.graph.fingerprint()

    def make_plan(self, costs: Costs, records: Records) -> tuple[Plan, CachedCosts]:
        """Make a plan with costs, whose GPU work TVM can compile with these records."""
        prepared, o = self.builder.prepared, self.options
        with _in_force(records, self.targets):
            extracted = restrict_to_measured(prepared, self.builder.extracted, costs, self.targets)
            plan, extracted, _ = divide_compilably(
                prepared, extracted, lambda g: planner.make_plan(g, costs, o), self.targets
            )
        return plan, CachedCosts(extracted.graph, o.costs_in_place(costs), o.bandwidth)

    def divide(self, plan: Plan) -> tvm.IRModule:
        """Return the co-executed module of a plan."""
        shares = make_shares(self.builder.prepared, self.builder.extracted, plan, self.targets)
        return place(shares, plan, self.targets)


def _prepare(
    mod: tvm.IRModule, params: dict | None, both: Sequence[Target], options: TuneOptions, server: Server | None
) -> _Job:
    prepared = Prepare(params)(mod)
    extracted = extract_with_calls(prepared)
    if not extracted.graph.kernels:
        raise CoExecError(f"the model has no kernels to tune: {extracted.graph.reason or 'it has no operators'}")
    return _Job(KernelBuilder(prepared, extracted, *both), both, options, server)


def _run(
    job: _Job,
    folder: Folder,
    identity: Identity,
    budget: Budget,
    profile: object | None,
    earlier: Records,
    boards: Boards,
    progress: Progress,
) -> Tuned:
    base = folder.load_costs()
    if base is None:
        base = _choose_costs(job, profile)
        folder.save_costs(base, job.builder.graph)
    trials = Trials(folder.trials_path, boards)
    runtime = job.options.runtime or "own"
    checks = KernelChecks(job.builder, folder.journal, job.server, runtime)
    try:
        outcome = Session(
            *(job.builder, base, job.make_plan, trials, checks, job.options, budget, earlier, progress)
        ).run()
    finally:
        trials.close()
        checks.close()
        folder.journal.close()
    if not trials.measured and is_done(folder, outcome):
        logger.info("%s has all results already", folder.path)
        return load_tuned(folder.path)
    boards.close()  # nothing else must run while modules are measured
    progress.say("measuring the untuned module and the candidate plans in turns")
    modules = _measure(job, base, outcome)
    write_results(folder, identity, job.options, base, outcome, modules, trials.pairs)
    tuned = load_tuned(folder.path)
    progress.say(describe_results(tuned))
    return tuned


def _measure(job: _Job, base: Costs, outcome: Outcome) -> list[final.Result]:
    before, after = (job.options.costs_in_place(c) for c in (base, outcome.costs))
    modules = final.choose_modules(outcome.graph, outcome.rounds, before, after, job.options)
    corrections = Corrections.of(outcome.graph, after, job.options)
    return final.measure_modules(modules, job.divide, job.targets, job.options, job.server, corrections)


def _choose_costs(job: _Job, profile: object | None) -> Costs:
    cpu, gpu = job.targets
    o = job.options
    if job.server is not None and profile is None:
        logger.warning("no profile of the boards is given: planning starts with the generic one of another board")
        return load_generic()
    return choose_costs(job.builder.prepared, cpu, gpu, profile, o.axis, o.runtime, o.memory).costs


def _read_earlier(paths: str | os.PathLike | Sequence[str | os.PathLike], both: Sequence[Target]) -> Records:
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    return merge_records(load_records(os.fspath(p), both, "records") for p in several)


def _settings(options: TuneOptions, profile: object | None, earlier: Records) -> dict[str, Any]:
    """Return what the sequence of trials depends on, apart from model and targets."""
    name = os.fspath(profile) if isinstance(profile, (str, os.PathLike)) else getattr(profile, "description", "")
    lines = "".join(autotvm.record.encode(*p) for p in earlier.pairs)
    return {f.name: getattr(options, f.name) for f in fields(options) if f.name not in _FREE} | {
        "profile": None if profile is None else name,
        "records": hashlib.sha256(lines.encode()).hexdigest()[:12] if lines else None,
    }


def _in_force(records: Records, both: Sequence[Target]) -> contextlib.AbstractContextManager:
    return apply_records(records, both) if records.pairs else contextlib.nullcontext()
