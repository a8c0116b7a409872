"""One run: turns of trials, checks, a refined profile, and the next plan, until the plan stays or the budget ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models import Costs, TunedCosts
from tvm_coexec.measuring.pieces import KernelBuilder
from tvm_coexec.planner import CachedCosts
from tvm_coexec.tuning.parts import Part, iterate_heavy, merge_parts, plan_parts, whole_parts
from tvm_coexec.tuning.records import Records, seconds_of
from tvm_coexec.tuning.tasks import Memo, TuningTask, tasks_of

from .allocation import TaskState, choose_task, seconds_by_kernel, value_of
from .candidates import Candidates
from .kernels import KernelChecks
from .options import Budget, TuneOptions
from .progress import Progress, Row
from .refine import Expectations, PartTime, refine_profile, time_of
from .trials import Trials

logger = logging.getLogger("tvm_coexec")

TURNS = 8  # of a round, after which the profile is refined
STAYED, SAME_PROMISE = 3, 0.005  # rounds without another plan or promise after which the run ends
_TRIES = 3  # records of a task that are dropped, before all are

Planner = Callable[[Costs, Records], tuple[Plan, CachedCosts]]


@dataclass(frozen=True)
class Round:
    """What was known after a round.

    Attributes
    ----------
    trials : int
        So far.
    plan : Plan
        Made at its end.
    expected_s : float
        By the profile of its end.
    records : Records
        The best checked record of each task.
    """

    trials: int
    plan: Plan
    expected_s: float
    records: Records


@dataclass
class Outcome:
    """What a run found.

    Attributes
    ----------
    rounds : list of Round
        The first is the start, before any trial.
    records : Records
        The best checked record of each task.
    costs : TunedCosts
    graph : KernelGraph
        With what TVM can't compile for the GPU.
    states : list of TaskState
        Tasks of the last plan, the most valuable first, then others with trials.
    stayed : bool
        Whether the plan stayed, so that some of the budget is left.
    """

    rounds: list[Round]
    records: Records
    costs: TunedCosts
    graph: KernelGraph
    states: list[TaskState] = field(default_factory=list)
    stayed: bool = False


class Session:
    """Steps 1 to 5 of the package's description.

    Parameters
    ----------
    builder : KernelBuilder
        Of the model.
    base : Costs
        Costs of untuned kernels.
    make_plan : callable
        Makes a plan with costs and records, and the costs as the planner uses them.
    trials : Trials
    checks : KernelChecks
    options : TuneOptions
    budget : Budget
    earlier : Records
        Of earlier logs.
    progress : Progress
    """

    def __init__(
        self,
        builder: KernelBuilder,
        base: Costs,
        make_plan: Planner,
        trials: Trials,
        checks: KernelChecks,
        options: TuneOptions,
        budget: Budget,
        earlier: Records,
        progress: Progress,
    ):
        self.builder, self.base, self.make_plan = builder, base, make_plan
        self.trials, self.checks, self.options = trials, checks, options
        self.budget, self.earlier, self.progress = budget, earlier, progress
        self.expectations = Expectations(builder)
        self._states: dict[tuple[str, str], TaskState] = {}
        self._memo: Memo = {}
        self._timed: dict[tuple, PartTime] = {}
        self._start = time.monotonic()

    def run(self) -> Outcome:
        """Tune until the plan stays or the budget ends."""
        plan, costs = self.make_plan(self.base, Records(()))
        outcome = Outcome(
            [Round(0, plan, plan.expected_s, Records(()))], Records(()), refine_profile(self.base, ()), costs.graph
        )
        stayed = 0
        while self._within_budget():
            states = outcome.states = self._find_states(plan, costs)
            if not self._spend(states, outcome.rounds[-1].expected_s):
                outcome.stayed = all(s.candidates.exhausted for s in states)
                break
            self._refine(outcome)
            plan, costs = self.make_plan(outcome.costs, outcome.records)
            last = outcome.rounds[-1]
            outcome.rounds.append(Round(self.trials.count, plan, plan.expected_s, outcome.records))
            same = plan.digest() == last.plan.digest()
            same &= abs(plan.expected_s / last.expected_s - 1) <= SAME_PROMISE if last.expected_s else True
            stayed = stayed + 1 if same and all(s.pairs for s in states if s.task.runs) else 0
            logger.info("%d trials: plan %s, expected %.3f ms", self.trials.count, plan.digest(), plan.expected_s * 1e3)
            if stayed >= STAYED:
                outcome.stayed = True
                break
        now = self._find_states(plan, costs)
        outcome.states = [*now, *(s for s in self._states.values() if s.pairs and s not in now)]
        outcome.graph = costs.graph
        return outcome

    def _within_budget(self) -> bool:
        """Whether another trial may be asked for; results of the log count as trials, but take no time."""
        if self.budget.trials is not None and self.trials.count >= self.budget.trials:
            return False
        return self._has_time() or self.trials.pending

    def _has_time(self) -> bool:
        spent_s = self.trials.spent_s + time.monotonic() - self._start
        return self.budget.minutes is None or spent_s < self.budget.minutes * 60

    def _find_states(self, plan: Plan, costs: CachedCosts) -> list[TaskState]:
        """Return the tasks of a plan with what is known of them, the most valuable first."""
        graph = costs.graph  # with what the devices can't run
        run = plan_parts(graph, plan, costs)
        parts = list(iterate_heavy(graph, merge_parts(graph, run, whole_parts(graph, costs))))
        spent_s = seconds_by_kernel(run)
        found = []
        for task in tasks_of(self.builder, parts, memo=self._memo):
            state = self._state_of(task)
            state.value_s = value_of(task, costs, spent_s)
            found.append(state)
        return sorted(found, key=lambda s: (-s.value_s, s.task.device, s.task.key))

    def _state_of(self, task: TuningTask) -> TaskState:
        key = (task.device, task.key)
        if key not in self._states:
            self._states[key] = TaskState(task, Candidates(task, self.options, self.earlier))
        self._states[key].task = task
        return self._states[key]

    def _spend(self, states: Sequence[TaskState], expected_s: float) -> int:
        """Spend the trials of a round; return how many there were."""
        before = self.trials.count
        turns = 0
        while turns < TURNS and self._within_budget():
            state = choose_task(states, 2 * self.options.batch)
            if state is None:
                break
            configs = state.candidates.propose(self.options.batch, Records(tuple(self.trials.pairs)))
            if not configs:
                continue
            if self.budget.trials is not None:  # the same candidates are proposed with a larger budget
                configs = configs[: self.budget.trials - self.trials.count]
            pairs = self.trials.measure(state.task.task, configs, self._has_time)
            state.pairs += pairs
            state.candidates.update(pairs)
            turns += 1
            of = self.budget.trials
            self.progress.update(row_of(state), list(map(row_of, states)), self.trials.count, of, expected_s)
        return self.trials.count - before

    def _refine(self, outcome: Outcome) -> None:
        """Check the best records, and set the outcome's records and costs."""
        states = [s for s in self._states.values() if s.pairs]
        while not all(self._check(s, states) for s in states):
            pass  # a dropped record makes another one the best
        self.checks.release()
        outcome.records = Records(tuple(s.checked for s in states if s.checked is not None))
        graph, timed = self.builder.graph, list(self._timed.values())
        measured = [time_of(t.part, graph.kernels[t.part.kernels[0]].signature(), t.seconds) for t in timed]
        expected = self.expectations.expect(timed, outcome.records)
        outcome.costs = refine_profile(self.base, measured, expected)

    def _check(self, state: TaskState, states: Sequence[TaskState]) -> bool:
        """Check a task's best record in its kernels; drop it if it must not be used, and return whether it is kept.

        Of tasks for one kernel TVM takes the one whose record costs least: only that one is checked and kept.
        """
        best, state.checked = state.best, None
        for part in state.task.parts:
            key = (part.device, self.builder.graph.kernels[part.kernels[0]].signature(), part.dim, part.rows)
            same = [s for s in states if s.best is not None and _has_part(s.task, part)]
            if not same:
                self._timed.pop(key, None)
                continue
            if best is None or min(same, key=lambda s: s.best_s) is not state:
                continue
            checked = self.checks.check(part, Records(tuple(s.best for s in same if s.best is not None)))
            if checked.error:
                logger.warning(
                    "%s: a record of %s is dropped (configuration %s): %s",
                    *(part.name, state.task.task.name, best[0].config.index, checked.error),
                )
                state.drop_best()
                if len(state.dropped) >= _TRIES:
                    state.drop_all()
                return False
            self._timed[key] = PartTime(part, checked.seconds, seconds_of(best))
            state.checked = best
        return True


def _has_part(task: TuningTask, part: Part) -> bool:
    return task.device == part.device and any(
        (p.kernels[0], p.dim, p.rows) == (part.kernels[0], part.dim, part.rows) for p in task.parts
    )


def row_of(state: TaskState) -> Row:
    """Return the table's row of a task."""
    task = state.task
    kernels = task.names[0] if task.names else ""
    what = "whole" if task.whole else f"{task.axis} {task.cut}"
    name = f"{task.task.name} {what}, {task.kernels[0] if task.kernels else 0}: {kernels}"
    first = next((seconds_of(p) for p in state.pairs if p[1].error_no == 0), 0.0)
    best = 0.0 if state.best is None else state.best_s
    return Row(name, task.device, len(state.pairs), state.gflops, first, best)
