"""Which task gets the next trials: the one from which the plan gains most per trial, as far as one can expect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tvm.autotvm.measure import MeasureErrorNo

from tvm_coexec.planner import CachedCosts
from tvm_coexec.tuning.parts import Part
from tvm_coexec.tuning.records import Pair, seconds_of
from tvm_coexec.tuning.tasks import TuningTask

from .candidates import Candidates

# Of a gain per trial, what the last trials say; the rest is what further ones may find. As in TVM's auto-scheduler.
_PAST = 0.2
_HOPE = 0.3  # fraction of a task's time that tuning saves, before anything is known
_OTHER_DEVICE = 0.5  # what a second of the device counts that its segment does not wait for
_UNUSED = 0.2  # and one of a kernel on the device that the plan does not use for it


@dataclass(eq=False)
class TaskState:
    """A task, its candidates and what was measured.

    Attributes
    ----------
    task : TuningTask
        With the parts of the present plan.
    candidates : Candidates
    pairs : list of (MeasureInput, MeasureResult)
    dropped : set of int
        Numbers of pairs whose kernel gave wrong numbers, or could not be run.
    value_s : float
        Seconds of the plan that depend on it.
    checked : (MeasureInput, MeasureResult) or None
        The best one, if a kernel is compiled with it and computes the right numbers.
    """

    task: TuningTask
    candidates: Candidates
    pairs: list[Pair] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)
    value_s: float = 0.0
    checked: Pair | None = None

    @property
    def best(self) -> Pair | None:
        """The fastest result that was not dropped."""
        found = [
            p for i, p in enumerate(self.pairs) if p[1].error_no == MeasureErrorNo.NO_ERROR and i not in self.dropped
        ]
        return min(found, key=seconds_of, default=None)

    @property
    def best_s(self) -> float:
        """Seconds of the best result; infinite without one."""
        return float("inf") if (best := self.best) is None else seconds_of(best)

    @property
    def gflops(self) -> float:
        """GFLOP/s of the best result; 0 without one."""
        return 0.0 if self.best is None else self.task.task.flop / self.best_s / 1e9

    def best_after(self, trials: int) -> float:
        """Return the seconds of the best among the first trials."""
        found = (p for p in self.pairs[:trials] if p[1].error_no == MeasureErrorNo.NO_ERROR)
        return min((seconds_of(p) for p in found), default=float("inf"))

    def drop_best(self) -> None:
        """Do not use the best result any more."""
        best = self.best
        self.dropped.add(next(i for i, p in enumerate(self.pairs) if p is best))

    def drop_all(self) -> None:
        """Use none of the results so far."""
        self.dropped.update(range(len(self.pairs)))


def value_of(task: TuningTask, costs: CachedCosts, spent_s: Mapping[int, float]) -> float:
    """Return the seconds of a plan that depend on a task.

    Parameters
    ----------
    task : TuningTask
        With the parts of the plan.
    costs : CachedCosts
    spent_s : mapping of int to float
        Seconds that the plan spends for each kernel (see `seconds_by_kernel`).
    """
    total = 0.0
    for part in task.parts:
        if part.runs:
            total += part.seconds * (1.0 if part.critical else _OTHER_DEVICE)
            continue
        if part.rows is not None:
            continue
        for k in part.kernels:
            here, there = spent_s.get(k, 0.0), costs.whole[part.device][k]
            total += _UNUSED * here * min(1.0, here / there) if there > 0 else 0.0
    return total


def seconds_by_kernel(parts: Iterable[Part]) -> dict[int, float]:
    """Return the seconds that a plan spends for each kernel: of both devices' shares the slower one counts."""
    found: dict[int, float] = {}
    for part in parts:
        for k in part.kernels if part.runs else ():
            found[k] = max(found.get(k, 0.0), part.seconds / part.runs)
    return found


def expected_gain(state: TaskState, window: int) -> float:
    """Return the fraction of a task's seconds that one more trial saves."""
    done = len(state.pairs)
    if not done:
        return _HOPE
    hope = _HOPE / (done + 1)
    now, before = state.best_s, state.best_after(max(1, done - window))
    if now == float("inf"):
        return hope
    past = 0.0 if before == float("inf") else max(0.0, before - now) / now / max(1, min(window, done - 1))
    return _PAST * past + (1 - _PAST) * hope


def choose_task(states: Sequence[TaskState], window: int) -> TaskState | None:
    """Return the task for the next turn; `None` if none has a candidate left.

    Of tasks for the same kernels, such as a direct and a Winograd convolution, slower ones count less.
    """
    fastest: dict[tuple[str, tuple[int, ...], bool], float] = {}
    for s in states:
        key = _group(s)
        fastest[key] = min(fastest.get(key, float("inf")), s.best_s)

    def score(state: TaskState) -> tuple[float, float]:
        best = fastest[_group(state)]
        lag = 1.0 if state.best_s in (float("inf"), best) else (best / state.best_s) ** 2
        gain = expected_gain(state, window)
        return state.value_s * lag * gain, gain

    left = [s for s in states if not s.candidates.exhausted]
    return max(left, key=score, default=None)


def _group(state: TaskState) -> tuple[str, tuple[int, ...], bool]:
    return state.task.device, state.task.kernels, state.task.whole
