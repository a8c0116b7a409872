"""`PriorTuner`: AutoTVM's tuner that starts from the analytic tile model, and from records of other shapes.

A plan is a list of candidates to try next. The first one is chosen by the tile model (and by what records of the same
template say about it), later ones by the model with the residual that the trials so far show. Each plan is a function
of the seed and of the trials before it, in their order, and of nothing else. So a tuner that is given the records of an
interrupted run, by `update`, goes on where that run would have gone on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from tvm import autotvm
from tvm.autotvm.measure import MeasureInput, MeasureResult
from tvm.autotvm.task.space import ConfigEntity
from tvm.autotvm.tuner.tuner import Tuner

from tvm_coexec.core.errors import CoExecError

from ..adapt import adapted_candidates, schedule_knobs
from ..knobs import make_config
from ..records import Pair, Records, is_of, seconds_of
from ..space import Space, key_of
from .features import Describer
from .residual import Residual, Trialled

ADAPTED = 4  # records of other shapes that are adapted and tried first
_BEST = 24  # trials from whose neighbours a search starts
_RANDOM = 8  # one of so many candidates of a plan is drawn at random
_POOL = 256  # of the best candidates, from which a plan is picked
_SPREAD = 3.0  # powers of two that the first plan pays for variety
_OTHER_TASKS, _OTHER_TRIALS = 8, 512


class PriorTuner(Tuner):
    """A drop-in for ``autotvm.tuner.XGBTuner``.

    Parameters
    ----------
    task : autotvm.task.Task
    plan_size : int
        Trials between two fits of the residual.
    records : Records or iterable of (MeasureInput, MeasureResult)
        Earlier records. Those of the same template on this target teach the residual, and those of the same operator
        with other extents are adapted and tried first. Records of the task itself are not taken as tried: give them to
        `update`.
    seed : int

    Raises
    ------
    CoExecError
        If the plan size is not positive, or the template's space is empty.

    Notes
    -----
    Configurations that the device has no room for, or that TVM does not lower, are left out before they are measured.
    Configurations outside of the template's space (a tile with a remainder, from a record or from this package's
    schedule) have the index -1.

    Chen et al., "Learning to Optimize Tensor Programs", NeurIPS 2018: rounds of trials, and transfer between tasks.
    """

    def __init__(
        self,
        task: autotvm.task.Task,
        plan_size: int = 16,
        records: Records | Iterable[Pair] = (),
        seed: int = 0,
    ):
        super().__init__(task)
        if plan_size < 1:
            raise CoExecError(f"plan_size is {plan_size}; give a number of trials, at least 1")
        if not len(task.config_space):
            raise CoExecError(f"the space of {task.name} has no configuration; there is nothing to tune")
        self.plan_size, self.seed = plan_size, seed
        self._space, self._describe = Space(task), Describer(task)
        self._given = records if isinstance(records, Records) else Records(tuple(records))
        self._others: list[Trialled] | None = None
        self.visited: set[int | str] = set()
        self._tried: list[tuple[ConfigEntity, float]] = []
        self._plan: list[ConfigEntity] = []
        self._planned_at = -1

    def has_next(self) -> bool:
        """Return whether there is a configuration left to try."""
        return bool(self._next())

    def next_batch(self, batch_size: int) -> list[ConfigEntity]:
        """Return the next configurations to measure: at most `batch_size`, and none beyond the end of the plan."""
        batch = self._next()[:batch_size]
        self.visited.update(map(key_of, batch))
        return batch

    def update(self, inputs: Sequence[MeasureInput], results: Sequence[MeasureResult]) -> None:
        """Take in trials: those of the last batch, or those of an interrupted run, in their order."""
        for measured, result in zip(inputs, results, strict=True):
            self.visited.add(key_of(measured.config))
            self._tried.append((measured.config, seconds_of((measured, result)) if result.error_no == 0 else 0.0))

    def load_history(self, data_set: Iterable[Pair], min_seed_records: int = 0) -> None:
        """Add earlier records, as the constructor's `records`; there is no least number of them."""
        self._given = Records((*self._given.pairs, *data_set))
        self._others, self._planned_at = None, -1

    def reset(self) -> None:
        """Forget the best configuration and all trials."""
        super().reset()
        self.visited, self._tried, self._planned_at = set(), [], -1

    def _next(self) -> list[ConfigEntity]:
        """What is left of the plan; made again at every `plan_size` trials, and continued where it ends before."""
        at = len(self._tried) // self.plan_size * self.plan_size
        if at != self._planned_at:
            tried = self._tried[:at]
            self._plan, self._planned_at = self._make_plan(tried, {key_of(c) for c, _ in tried}, [self.seed, at]), at
        left = [c for c in self._plan if key_of(c) not in self.visited]
        if not left:
            seed = [self.seed, len(self._tried), len(self.visited)]
            left = self._plan = self._make_plan(self._tried, set(self.visited), seed)
        return left

    def _make_plan(
        self, tried: Sequence[tuple[ConfigEntity, float]], picked: set[int | str], seed: Sequence[int]
    ) -> list[ConfigEntity]:
        """Choose the next candidates by trials, without those that were picked before."""
        rng, count = np.random.default_rng(seed), self._count(len(tried))
        found = [] if tried else [c for c in self._first() if key_of(c) not in picked][:count]
        picked |= {key_of(c) for c in found}
        scored = self._search(rng, self._fit(tried), tried)
        spread = _SPREAD / (1 + len(tried) / self.plan_size)
        for config in self._pick(scored, picked, count - len(found), spread):
            picked.add(key_of(config))
            found.append(config)
        return found + self._random(rng, picked, self.plan_size - count)

    def _count(self, trials: int) -> int:
        """Candidates of a plan that the model chooses; the others are random, but for the first plan."""
        return self.plan_size - (self.plan_size // _RANDOM if trials else 0)

    def _pick(
        self, scored: dict[int, float], picked: set[int | str], count: int, spread: float
    ) -> Iterator[ConfigEntity]:
        """Yield the best configurations, of which each counts as slower the more knobs it shares with those before.

        Parameters
        ----------
        scored : dict of int to float
            Logarithms of seconds by index.
        spread : float
            What sharing all knobs with all others costs, in powers of two.
        """
        indices = sorted((i for i in scored if i not in picked), key=lambda i: (scored[i], i))[:_POOL]
        if not indices:
            return
        scores = np.array([scored[i] for i in indices])
        digits = np.array([self._space.space.point2knob(i) for i in indices])
        weights = np.log2(np.array(self._space.space.dims, float))  # a knob of few values is shared by necessity
        weights /= max(weights.sum(), 1.0)
        shared, made, left = np.zeros(len(indices)), 0, np.ones(len(indices), bool)
        while made < count and left.any():
            at = int(np.argmin(np.where(left, scores + spread * shared / max(made, 1), np.inf)))
            left[at] = False
            config = self._space.get(indices[at])
            if self._space.lowers(config):
                shared += (digits == digits[at]) @ weights
                made += 1
                yield config

    def _random(self, rng: np.random.Generator, picked: set[int | str], count: int) -> list[ConfigEntity]:
        found: list[ConfigEntity] = []
        indices = self._space.sample(rng, 256) if count else []
        for index in rng.permutation(np.array(indices, object)):
            config = self._space.get(index)
            if len(found) == count:
                break
            if key_of(config) not in picked and self._space.fits(config._entity_map) and self._space.lowers(config):
                found.append(config)
        return found

    def _first(self) -> list[ConfigEntity]:
        """Configurations that need no search: adapted records, and this package's schedule."""
        target = self.task.target
        found = [a.config for a in adapted_candidates(self.task.workload, target, self._given, ADAPTED)]
        ours = schedule_knobs(self.task, target)
        if ours is not None:
            found.append(make_config(self.task.config_space, ours, self.task.config_space.code_hash))
        unique = {key_of(c): c for c in found}
        return [c for c in unique.values() if self._space.lowers(c)]

    def _search(
        self, rng: np.random.Generator, model: Residual, tried: Sequence[tuple[ConfigEntity, float]]
    ) -> dict[int, float]:
        """Return the model's logarithms of seconds by index, from the best trials on."""
        works = sorted((t for t in tried if t[1] > 0 and t[0].index >= 0), key=lambda t: t[1])

        def score(configs: Sequence[ConfigEntity]) -> np.ndarray:
            return model.predict(*self._describe.table(configs))

        return self._space.search(score, rng, [int(c.index) for c, _ in works[:_BEST]])

    def _fit(self, tried: Sequence[tuple[ConfigEntity, float]]) -> Residual:
        own = None
        if tried:
            features, modelled = self._describe.table([c for c, _ in tried])
            own = Trialled(features, modelled, np.array([s for _, s in tried]))
        if self._others is None:
            self._others = list(self._describe_others())
        return Residual(self.seed).fit(own, self._others)

    def _describe_others(self) -> Iterable[Trialled]:
        """Earlier records of the same template on this target, of each task the first few hundred."""
        by_workload: dict[Any, list[Pair]] = {}
        for pair in self._given.pairs:
            measured = pair[0]
            if measured.task.name == self.task.name and is_of(measured.target, self.task.target):
                by_workload.setdefault(measured.task.workload, []).append(pair)
        names = list(self.task.config_space.space_map)
        for workload, pairs in list(by_workload.items())[-_OTHER_TASKS:]:
            try:
                task = autotvm.task.create(workload[0], workload[1:], self.task.target)
            except Exception:  # of any class: a template may refuse a workload of another version
                continue
            fitting = [p for p in pairs if list(p[0].config._entity_map) == names][:_OTHER_TRIALS]
            if fitting:
                features, modelled = Describer(task).table([p[0].config for p in fitting])
                seconds = [seconds_of(p) if p[1].error_no == 0 else 0.0 for p in fitting]
                yield Trialled(features, modelled, np.array(seconds))
