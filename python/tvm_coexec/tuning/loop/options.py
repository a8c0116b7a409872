"""Options of the joint loop: those of planning, and how to search and measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.options import checked, number, one_of, option
from tvm_coexec.planner import Options

TUNERS = ("xgb", "random", "gridsearch")  # AutoTVM's genetic one learns from its own candidates only


def _count(least: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        found = number(lambda v: v >= least and v == int(v), f"must be an integer of at least {least}")(value)
        return int(found)

    return check


@dataclass(frozen=True)
class TuneOptions(Options):
    """Checked options of `tune`.

    Attributes
    ----------
    tuner : {"xgb", "random", "gridsearch"}
        What proposes candidates: `PriorTuner`, which learns what the tile model gets wrong, or a tuner of AutoTVM's.
    seed : int
    batch : int
        Trials that a task gets at a time.
    number, repeat, min_repeat_ms : int
        Runs of a candidate: `repeat` times `number` runs, or more until `min_repeat_ms` have passed.
    timeout : int
        Seconds that compiling a candidate, and running it, may take.
    plans : int
        Largest number of plans that are measured at the end.
    """

    tuner: str = option(
        *("xgb", "NAME", f"what proposes candidates: {', '.join(TUNERS)} (xgb starts from the tile model)"),
        one_of(TUNERS),
    )
    seed: int = option(0, "N", "seed of the tuner (default: 0)", _count(0))
    batch: int = option(8, "N", "trials that a task gets at a time (default: 8)", _count(1))
    number: int = option(4, "N", "runs of a candidate that are timed together (default: 4)", _count(1))
    repeat: int = option(3, "N", "how often a candidate is timed (default: 3)", _count(1))
    min_repeat_ms: int = option(10, "MS", "milliseconds that each timing takes at least (default: 10)", _count(0))
    timeout: int = option(20, "SECONDS", "longest time to compile a candidate, and to run it (default: 20)", _count(1))
    plans: int = option(5, "N", "largest number of plans that are measured at the end (default: 5)", _count(3))


@dataclass(frozen=True)
class Budget:
    """What may be spent; at least one of both is given.

    Attributes
    ----------
    trials : int or None
        Of the whole folder, with those of earlier runs.
    minutes : float or None
        For trials and checks of kernels; measuring modules at the end comes on top.
    """

    trials: int | None = None
    minutes: float | None = None


def check_tune_options(given: Mapping[str, object], label: Callable[[str], str] = str) -> TuneOptions:
    """Check the options that the user gave; `CoExecError` names a wrong one."""
    options = checked(TuneOptions, given, label)
    if options.ratio is not None:
        raise CoExecError(f"{label('ratio')} fixes every cut, so tuning could not plan again: leave it out")
    if options.objective != "latency":
        raise CoExecError(f"{label('objective')}: tuning measures seconds, and can't compare plans by energy")
    return options


def check_budget(trials: Any, minutes: Any, label: Callable[[str], str] = str) -> Budget:
    """Check the budget, numbers or their texts; `CoExecError` says what is wrong with it."""
    if trials is None and minutes is None:
        raise CoExecError(f"tuning needs a budget: give {label('trials')}, {label('minutes')} or both")
    count, duration = _amount(trials, label("trials")), _amount(minutes, label("minutes"))
    if count is not None and count % 1:
        raise CoExecError(f"{label('trials')} is {trials}: give an integer")
    return Budget(None if count is None else int(count), duration)


def _amount(value: Any, name: str) -> float | None:
    """Return a number of more than 0; `None` if none is given."""
    if value is None:
        return None
    try:
        found = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = 0.0
    if not 0 < found < float("inf"):
        raise CoExecError(f"{name} is {value}: a budget must be a number of more than 0")
    return found
