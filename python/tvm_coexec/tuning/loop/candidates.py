"""Which configurations of a task are measured, and in which order: a function of the seed and of the results so far."""

from __future__ import annotations

import logging
import random
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
from tvm import autotvm
from tvm.autotvm.measure import MeasureInput
from tvm.autotvm.task.space import ConfigEntity, FallbackConfigEntity

from tvm_coexec.core.errors import one_line
from tvm_coexec.opencl.schedules import configuration
from tvm_coexec.tuning.adapt import adapted_candidates
from tvm_coexec.tuning.knobs import make_config
from tvm_coexec.tuning.prior import PriorTuner
from tvm_coexec.tuning.records import Pair, Records, is_of, seconds_of
from tvm_coexec.tuning.tasks import TuningTask

from .options import TuneOptions
from .trials import key_of

logger = logging.getLogger("tvm_coexec")

EARLIER, ADAPTED = 2, 3  # first candidates from earlier logs of the task itself, and from records of other shares
_PLANS = 2  # batches after which a model-based tuner fits its model again


def make_tuner(task: TuningTask, options: TuneOptions, records: Records) -> Any:
    """Make the tuner that proposes a task's candidates.

    Parameters
    ----------
    task : TuningTask
    options : TuneOptions
    records : Records
        What is known of other tasks.

    Returns
    -------
    autotvm.tuner.Tuner
        Its methods ``has_next``, ``next_batch`` and ``update`` are used, in a fixed random state.
    """
    plan_size = _PLANS * options.batch
    if options.tuner == "random":
        return autotvm.tuner.RandomTuner(task.task)
    if options.tuner == "gridsearch" or len(task.task.config_space) <= plan_size:  # nothing to learn
        return autotvm.tuner.GridSearchTuner(task.task)
    return PriorTuner(task.task, plan_size, records, options.seed)


class Candidates:
    """The candidates of one task, each of them once.

    Parameters
    ----------
    task : TuningTask
    options : TuneOptions
    earlier : Records
        Of earlier logs.
    """

    def __init__(self, task: TuningTask, options: TuneOptions, earlier: Records):
        self.task, self.options, self.earlier = task, options, earlier
        self._tuner: Any = None
        self._others = earlier
        self._first: list[ConfigEntity] | None = None
        self._seen: set[str] = set()
        self._calls = 0
        self._exhausted = False

    @property
    def exhausted(self) -> bool:
        """Whether the task has no further candidate."""
        return self._exhausted

    def propose(self, count: int, records: Records) -> list[ConfigEntity]:
        """Return the next configurations.

        Parameters
        ----------
        count : int
        records : Records
            Everything that was measured so far, which may serve this task adapted.
        """
        if self._first is None:
            self._first = self._make_first(records)
            self._others = Records((*self.earlier.pairs, *records.pairs))
        found: list[ConfigEntity] = []
        while len(found) < count and self._first:
            self._add(found, self._first.pop(0))
        empty = 0
        while len(found) < count and not self._exhausted and empty < 3:
            before = len(found)
            for config in self._ask(count - len(found)):
                self._add(found, config)
            empty = empty + 1 if len(found) == before else 0
        self._exhausted = self._exhausted or not found
        return found

    def update(self, pairs: Sequence[Pair]) -> None:
        """Let the tuner learn results of this task."""
        with self._seeded():
            tuner = self._made_tuner()
            known = [p for p in pairs if isinstance(tuner, PriorTuner) or self._in_space(p[0].config)]
            if known:
                tuner.update([p[0] for p in known], [p[1] for p in known])

    def _add(self, found: list[ConfigEntity], config: ConfigEntity) -> None:
        key = key_of(MeasureInput(self.task.task.target, self.task.task, config))
        if key not in self._seen:
            self._seen.add(key)
            found.append(config)

    def _ask(self, count: int) -> list[ConfigEntity]:
        with self._seeded():
            tuner = self._made_tuner()
            found = tuner.next_batch(count) if tuner.has_next() else []
        self._exhausted = not found
        return found

    def _made_tuner(self) -> Any:
        if self._tuner is None:
            self._tuner = make_tuner(self.task, self.options, self._others)
        return self._tuner

    def _in_space(self, config: ConfigEntity) -> bool:
        space, index = self.task.task.config_space, config.index
        return index is not None and 0 <= index < space.range_length and space.is_index_valid(index)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Set the state of the random generators that tuners share, by seed, task and number of calls."""
        text = f"{self.options.seed} {self.task.device} {self.task.key} {self._calls}"
        self._calls += 1
        numpys, pythons = np.random.get_state(), random.getstate()
        seed = zlib.crc32(text.encode())
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(pythons)

    def _make_first(self, records: Records) -> list[ConfigEntity]:
        """What a build uses now, the best of earlier logs, and records of other shares, adapted."""
        task, target = self.task.task, self.task.target
        found = [c] if (c := default_config(self.task)) is not None else []
        own = [
            p
            for p in self.earlier.pairs
            if p[1].error_no == 0 and p[0].task.workload == task.workload and is_of(p[0].target, target)
        ]
        found += [deepcopy(p[0].config) for p in sorted(own, key=seconds_of)[:EARLIER]]
        others = Records((*self.earlier.pairs, *records.pairs))
        found += [a.config for a in adapted_candidates(task.workload, target, others, ADAPTED)]
        return found


def default_config(task: TuningTask) -> ConfigEntity | None:
    """Return the configuration with which an untuned build compiles a task; `None` if the template names none."""
    space = task.task.config_space
    config = configuration(task.target, task.task.workload)
    if config is None:
        config = FallbackConfigEntity()
        try:
            with task.target:
                task.task.instantiate(config)
        except Exception as err:  # of any class: templates raise various errors
            logger.debug("%s has no configuration of its own: %s", task.task.name, one_line(err))
            return None
    knobs = config._entity_map
    if not set(space.space_map) <= set(knobs):
        return None
    return make_config(space, OrderedDict((n, deepcopy(knobs[n])) for n in space.space_map), None)
