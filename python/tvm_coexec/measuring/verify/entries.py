"""Plans that are measured: build them, run them, compare their outputs, and time them in turns."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import tvm

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.plan import Plan
from tvm_coexec.core.progress import progress
from tvm_coexec.cost_models import Costs

from ..host_info import BUSY_CORES
from ..worker import ChildError
from .bench import Bench
from .child import Compiled

logger = logging.getLogger("tvm_coexec")

# Largest error of a plan's outputs, relative to the largest value, against those of a single device.
TOLERANCE = 1e-3
# After this time no further rounds are started, except the first three.
ENOUGH_S, FEWEST_ROUNDS = 60.0, 3


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


def build_entries(
    entries: list[Entry], more: Sequence[Entry], divide: Callable[[Plan], tvm.IRModule], bench: Bench
) -> None:
    """Add entries to those that are built: build each plan, run it once, and compare its outputs.

    They are compared with those of the first, the CPU alone. A plan with other outputs is left out: if the GPU computes
    some kernels wrong, other plans may be correct.
    """
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
