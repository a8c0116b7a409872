"""Label setting: which labels of a state are kept, and which states of a level.

A label is dropped where another one of its state is not worse in any respect: time of the host, time of the GPU's
queue, joules, and values on each device. Beyond that the number of labels of a state and the number of states with
equally many kernels are bounded, which graphs without wide branches never reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappush, heappushpop
from math import inf

from .state import Label, State, Step

# Of one state; the worst are dropped beyond it. Of graphs with few kernels there is time for more.
MAX_LABELS, MANY_LABELS = 6, 16
# States with equally many kernels; the one in the model's own order is always kept. Long graphs have fewer, so that the
# time to plan one does not grow without limit.
MAX_STATES, LEAST_STATES, ALL_STATES = 24, 12, 6000


_Fields = tuple[float, float, int, int, float, Label | None, Step | None]


class Labels:
    """The labels of one state that are kept.

    Parameters
    ----------
    most : int
        How many at most.
    promise : callable, optional
        Score of a label, the less the better, by the time of the GPU's queue and joules: which of too many labels is
        dropped. Without it that time.

    Attributes
    ----------
    kept : list of Label
    limit_s : float
        A label whose queue is free later would be dropped.
    """

    def __init__(self, most: int, promise: Callable[[float, float], float] | None):
        self.limit_s = inf
        self._most, self._promise = most, promise
        # Fields of the labels that are kept, and their scores: most are dropped soon, and a tuple is made in a fraction
        # of the time.
        self._kept: list[_Fields] = []
        self._scores: list[float] = []

    @property
    def kept(self) -> list[Label]:
        """Labels that are not worse than others, in the order in which they were added."""
        return [Label(*fields) for fields in self._kept]

    def add(
        self, host_s: float, gpu_s: float, on_cpu: int, on_gpu: int, joules: float, before: Label, step: Step
    ) -> None:
        """Add a label with these attributes, unless another is as good; those that are no better are dropped."""
        if gpu_s > self.limit_s:
            return
        kept, scores = self._kept, self._scores
        worse: list[int] | None = None
        for at, (old_host_s, old_gpu_s, has_cpu, has_gpu, old_joules, _, _) in enumerate(kept):
            if old_gpu_s <= gpu_s:
                if (
                    old_host_s <= host_s
                    and old_joules <= joules
                    and has_cpu & on_cpu == on_cpu
                    and has_gpu & on_gpu == on_gpu
                ):
                    return
                if old_gpu_s < gpu_s:
                    continue
            if (
                host_s <= old_host_s
                and joules <= old_joules
                and on_cpu & has_cpu == has_cpu
                and on_gpu & has_gpu == has_gpu
            ):
                worse = [at] if worse is None else [at, *worse]
        if worse is not None:
            for at in worse:  # the last first
                del kept[at], scores[at]
            self.limit_s = inf
        kept.append((host_s, gpu_s, on_cpu, on_gpu, joules, before, step))
        scores.append(gpu_s if self._promise is None else self._promise(gpu_s, joules))
        if len(kept) < self._most:
            return
        if len(kept) > self._most:
            at = scores.index(max(scores))
            del kept[at], scores[at]
        if self._promise is None:
            self.limit_s = max(scores)


class Levels:
    """States by the number of kernels that have run.

    Parameters
    ----------
    kernels : int
        Number of kernels.
    """

    def __init__(self, kernels: int):
        self._levels: list[dict[int, State]] = [{} for _ in range(kernels + 1)]
        self._most = max(LEAST_STATES, min(MAX_STATES, ALL_STATES // max(1, kernels)))

    def state(self, done: int, before: State | None) -> State:
        """The state in which exactly the kernels of `done` have run; `before` is one from which there is a way."""
        level = self._levels[done.bit_count()]
        found = level.get(done)
        if found is None:
            found = level[done] = State(done, before)
        return found

    def after(self, done: int) -> dict[int, State]:
        """States in which one kernel more than those of `done` has run, as far as there are ways to them."""
        return self._levels[done.bit_count() + 1]

    def states(self, count: int, work_out: Callable[[State], None]) -> Iterator[State]:
        """The most promising states in which `count` kernels have run, with labels; the level is forgotten.

        They are those at which the GPU's queue is free first. A state is worked out only if its bound does not rule it
        out, so that most states of a level with many cost little.

        Parameters
        ----------
        count : int
        work_out : callable
            Turns the offers of a state into its labels.
        """
        level, self._levels[count] = self._levels[count], {}
        if len(level) <= self._most:
            for state in level.values():
                work_out(state)
                yield state
            return
        own = level.get((1 << count) - 1)
        room = self._most - (own is not None)
        # Scores of the states that there is room for, negative so that the worst is the first; of equal ones the state
        # that was found first is better.
        best: list[tuple[float, int]] = []
        worked_out: list[tuple[float, int, State]] = []
        if own is not None:
            work_out(own)
            worked_out.append((-inf, -1, own))
        numbered = enumerate(level.values())
        for number, state in sorted(numbered, key=lambda numbered: numbered[1].bound_s):
            if len(best) == room and (-state.bound_s, -number) < best[0]:
                break
            if state is not own:
                work_out(state)
                score = (-min([label.gpu_s for label in state.labels]), -number)
                worked_out.append((-score[0], number, state))
                (heappush if len(best) < room else heappushpop)(best, score)
        worked_out.sort(key=lambda found: found[:2])
        for _, _, state in worked_out[: self._most]:
            yield state
