"""The results of a run: files of its folder, written at its end and read by builds."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tvm import autotvm
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically
from tvm_coexec.core.plan import OtherModelError, Plan
from tvm_coexec.cost_models import Costs, MeasuredCosts, Profile, TunedCosts, load_costs
from tvm_coexec.drawing.latency import Measured, draw_latency
from tvm_coexec.drawing.svg import svg_of
from tvm_coexec.tuning.records import Pair, Records, load_records
from tvm_coexec.tuning.serving import apply_records

from .final import UNTUNED, Result, verified_of
from .folder import PROFILE, Folder, Identity, check_targets, has_run, other_model
from .options import TuneOptions
from .session import Outcome, row_of

RECORDS, PLAN, SUMMARY, PICTURE = "records.log", "plan.json", "summary.json", "progress.svg"


@dataclass(frozen=True)
class Tuned:
    """The results of tuning a model.

    Attributes
    ----------
    folder : str
    identity : Identity
    records : Records
        Checked records of both devices; none if nothing was faster than the untuned module.
    plan : Plan
    profile : Costs
        Tuned kernels cost what was measured.
    summary : dict
        What was done and measured, as in ``summary.json``.
    """

    folder: str
    identity: Identity
    records: Records
    plan: Plan
    profile: Costs = field(repr=False)
    summary: dict[str, Any] = field(repr=False)

    def check(self, targets: Sequence[Target]) -> None:
        """Raise `CoExecError` if the folder is of other targets than a build's CPU and GPU."""
        check_targets(self.identity.targets, Identity.of("", targets).targets, self.folder)

    def choose_options(self, given: Mapping[str, object], label: Callable[[str], str] = str) -> dict[str, object]:
        """Return options of `CoExecPartition`: the folder's plan, or its profile if others ask to plan again.

        Parameters
        ----------
        given : mapping of str to object
            Options of the user.
        label : callable
            Name of an option in messages.

        Raises
        ------
        CoExecError
            If they have a plan or a profile of their own.
        """
        given = {name: value for name, value in given.items() if value is not None}
        if own := [name for name in ("plan", "profile") if name in given]:
            raise CoExecError(
                f"{label(own[0])}: {self.folder} has a plan and a profile of its own: leave it out, or give the files "
                f"of the folder one by one instead of {label('tuned')}"
            )
        planning = [name for name in given if name != "adaptive"]
        own_option = {"profile": self.profile} if planning else {"plan": os.path.join(self.folder, PLAN)}
        return {**given, **own_option}

    @contextmanager
    def in_force(self, targets: Sequence[Target]) -> Iterator[None]:
        """Use the records in a ``with`` block in which the model is built with the plan.

        Raises
        ------
        CoExecError
            If the folder is of other targets, or, in the block, of another model.
        """
        self.check(targets)
        try:
            with apply_records(self.records, targets):
                yield
        except OtherModelError as err:
            raise CoExecError(other_model(self.folder, self.identity.model, err.here)) from None


def load_tuned(folder: str | os.PathLike) -> Tuned:
    """Read the results of `tune` from its folder.

    Raises
    ------
    CoExecError
        If it is not such a folder, if the run has not ended, or if a file is damaged.
    """
    path = Path(folder)
    name = str(path)
    if not (path / SUMMARY).exists():
        if has_run(path):
            raise CoExecError(f"tuning into {name} has not ended: run the same tune command again to continue")
        raise CoExecError(f"{name} is not a folder of tuning: give one that `coexec tune` or `tvmc tune` wrote")
    identity, summary = Identity.load(path / SUMMARY)
    if missing := [n for n in (RECORDS, PLAN, PROFILE) if not (path / n).exists()]:
        raise CoExecError(f"{name} lacks {missing[0]}: run the same tune command again, or use the other files alone")
    empty = not (path / RECORDS).stat().st_size
    records = Records((), name) if empty else load_records(str(path / RECORDS))
    return Tuned(name, identity, records, Plan.load(str(path / PLAN)), load_costs(path / PROFILE), summary)


def write_results(
    folder: Folder,
    identity: Identity,
    options: TuneOptions,
    base: Costs,
    outcome: Outcome,
    modules: Sequence[Result],
    pairs: Sequence[Pair],
) -> None:
    """Write the results of the fastest module; the summary, which marks the end, last.

    Parameters
    ----------
    folder : Folder
    identity : Identity
    options : TuneOptions
    base : Costs
        Without what was measured.
    outcome : Outcome
    modules : sequence of Result
    pairs : sequence of (MeasureInput, MeasureResult)
        All trials.

    Raises
    ------
    CoExecError
        If no module could be measured.
    """
    working = [r for r in modules if not r.error and r.measured_s]
    if not working:
        raise CoExecError(f"no module could be built and measured ({modules[0].error}): the trials are kept")
    best = min(working, key=lambda r: r.measured_s)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder / SUMMARY)
    lines = [autotvm.record.encode(*p) + "\n" for p in best.records.pairs]
    write_atomically(folder / RECORDS, "".join(lines))
    replace(best.plan, verified=verified_of(modules)).save(folder / PLAN)
    costs = outcome.costs if best.tuned else base
    assert isinstance(costs, (Profile, MeasuredCosts, TunedCosts))
    costs.save(folder / PROFILE)
    untuned = next((r for r in working if r.name == UNTUNED), None)
    dots = [Measured(r.trials, r.measured_s, r.name) for r in working if "alone" not in r.name]
    expected = [(r.trials, r.expected_s) for r in outcome.rounds]
    write_atomically(folder / PICTURE, svg_of(draw_latency(expected, dots, "latency over trials")) + "\n")
    rows = [(row_of(s), s) for s in outcome.states]
    summary = identity.to_json() | {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "options": {f.name: getattr(options, f.name) for f in fields(options)},
        "trials": len(pairs),
        "failed": sum(p[1].error_no != 0 for p in pairs),
        "stayed": outcome.stayed,
        "chosen": best.name,
        "expected_s": best.expected_s,
        "measured_s": best.measured_s,
        "untuned_s": None if untuned is None else untuned.measured_s,
        "records": len(lines),
        "rounds": [{"trials": r.trials, "plan": r.plan.digest(), "expected_s": r.expected_s} for r in outcome.rounds],
        "modules": [
            {"name": r.name, "plan": r.plan.digest(), "tuned": r.tuned, "expected_s": r.expected_s}
            | ({"error": r.error} if r.error else {"measured_s": r.measured_s})
            for r in modules
        ],
        "tasks": [
            {"task": row.task, "device": row.device, "trials": row.trials, "gflops": round(row.gflops, 3)}
            | {"first_s": row.first_s, "best_s": row.best_s, "dropped": len(s.dropped)}
            for row, s in rows
            if row.trials
        ],
    }
    write_atomically(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")


def describe_results(tuned: Tuned) -> str:
    """Return the results in one sentence."""
    summary = tuned.summary
    before, now = summary["untuned_s"], summary["measured_s"]
    gain = f", {before / now:.2f}x as fast as the untuned module ({before * 1e3:.3f} ms)" if before else ""
    return f"{tuned.folder}: {summary['chosen']}, {now * 1e3:.3f} ms measured{gain}, after {summary['trials']} trials"


def is_done(folder: Folder, outcome: Outcome) -> bool:
    """Return whether a folder has the results of all these rounds."""
    try:
        summary = load_tuned(folder.path).summary
    except CoExecError:
        return False
    rounds = [(r["trials"], r["plan"]) for r in summary.get("rounds", ())]
    return rounds == [(r.trials, r.plan.digest()) for r in outcome.rounds]
