"""Configurations of a template's space: which of them a device has room for, samples of them, and their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod

import numpy as np
import tvm
from tvm import autotvm
from tvm.autotvm.measure.measure_methods import gpu_verify_pass
from tvm.autotvm.task.space import ConfigEntity, OtherOptionEntity, SplitEntity

from tvm_coexec.opencl.schedules.device import device_traits, is_gpu_target
from tvm_coexec.pass_context import stop_lowering

from .knobs import threads_of
from .rank import Knobs, local_bytes, window_for

ENUMERATED = 4096  # spaces up to this size are scored as a whole
_SAMPLES, _PARENTS, _CHILDREN, _ROUNDS = 1024, 24, 8, 6
MOST_COPIES = 64  # virtual threads: with hundreds TVM takes seconds to lower
_MOST_STATEMENTS = 256  # of unrolled code on CPU cores: with more a compiler takes seconds


def key_of(config: ConfigEntity) -> int | str:
    """Return what identifies a configuration: its index, or its knobs if the space does not have it."""
    return int(config.index) if config.index >= 0 else repr(list(config._entity_map.items()))


def copies_of(knobs: Knobs) -> int:
    """Return the virtual threads of a work-item, which TVM unrolls."""
    return prod(e.size[1] for e in knobs.values() if isinstance(e, SplitEntity) and len(e.size) == 4)


def statements_of(knobs: Knobs) -> int:
    """Return the copies of the innermost statement that unrolling makes, by the knobs of TVM's GPU templates."""
    sizes = [e.size for e in knobs.values() if isinstance(e, SplitEntity)]
    inner = [s[-1] for s in reversed(sizes) if len(s) in (3, 4)] + [s[-1] for s in reversed(sizes) if len(s) == 2]
    unroll = knobs.get("auto_unroll_max_step")
    limit, unrolled = int(unroll.val) if isinstance(unroll, OtherOptionEntity) else 0, 1
    for extent in inner:
        if unrolled * extent > limit:
            break
        unrolled *= extent
    return copies_of(knobs) * unrolled


class Space:
    """A task's configurations.

    Parameters
    ----------
    task : autotvm.task.Task
    """

    def __init__(self, task: autotvm.task.Task):
        self.task, self.space = task, task.config_space
        self._is_gpu = is_gpu_target(task.target)
        self._traits = device_traits(task.target) if self._is_gpu else None
        self._window = window_for(task.workload) if self._is_gpu else None
        self._lowered: dict[int | str, bool] = {}

    def __len__(self) -> int:
        return len(self.space)

    def get(self, index: int) -> ConfigEntity:
        """Return a configuration."""
        return self.space.get(int(index))

    def fits(self, knobs: Knobs) -> bool:
        """Whether the device has the work-items and local memory, judged by the knobs; `True` where they do not say."""
        if self._traits is None:
            return True
        if threads_of(knobs) > self._traits.max_threads or copies_of(knobs) > MOST_COPIES:
            return False
        if self._traits.is_cpu and statements_of(knobs) > _MOST_STATEMENTS:
            return False
        return self._window is None or local_bytes(self._window, knobs) <= self._traits.local_bytes

    def lowers(self, config: ConfigEntity) -> bool:
        """Whether the template takes a configuration, and TVM lowers it within the limits of the device."""
        key = key_of(config)
        if key not in self._lowered:
            self._lowered[key] = self._try(config)
        return self._lowered[key]

    def _try(self, config: ConfigEntity) -> bool:
        passes = [stop_lowering(0)]
        if self._traits is not None:
            limits = {"max_threads_per_block": self._traits.max_threads}
            limits["max_shared_memory_per_block"] = self._traits.local_bytes
            passes = [(2, gpu_verify_pass(**limits)), stop_lowering(2)]
        try:
            with self.task.target, tvm.transform.PassContext(opt_level=3, config={"tir.add_lower_pass": passes}):
                tvm.lower(*self.task.instantiate(config))
        except Exception:  # of any class: templates raise various errors
            return False
        return bool(config.valid())

    def sample(self, rng: np.random.Generator, count: int) -> list[int]:
        """Draw indices without repetition; of a small space all of them, in order."""
        if len(self.space) <= max(count, ENUMERATED):
            return list(self._all())
        length, found = self.space.range_length, dict[int, None]()
        for _ in range(20 * count):
            index = int(rng.integers(length))
            if self.space.is_index_valid(index):
                found[index] = None
            if len(found) == count:
                break
        return list(found)

    def _all(self) -> Iterator[int]:
        return (i for i in range(self.space.range_length) if self.space.is_index_valid(i))

    def mutate(self, rng: np.random.Generator, index: int, changes: int) -> int | None:
        """Change some knobs of a configuration at random; `None` if that is not in the space."""
        digits = self.space.point2knob(int(index))
        varied = [i for i, d in enumerate(self.space.dims) if d > 1]
        for i in rng.permutation(varied)[:changes] if varied else []:
            digits[i] = int(rng.integers(self.space.dims[i]))
        changed = int(self.space.knob2point(digits))
        return changed if self.space.is_index_valid(changed) else None

    def search(
        self,
        score: Callable[[Sequence[ConfigEntity]], np.ndarray],
        rng: np.random.Generator,
        start: Iterable[int] = (),
    ) -> dict[int, float]:
        """Return scores by index, less is better: of samples, and in rounds of neighbours of the best.

        Parameters
        ----------
        score : callable
            Scores of configurations that fit the device, shape (n,).
        rng : numpy.random.Generator
        start : iterable of int
            Indices of configurations to begin with.
        """
        scored = self._score(score, [*start, *self.sample(rng, _SAMPLES)], {})
        for _ in range(_ROUNDS if len(self.space) > ENUMERATED else 0):
            parents = sorted(scored, key=lambda i: (scored[i], i))[:_PARENTS]
            children = [self.mutate(rng, p, int(rng.integers(1, 4))) for p in parents for _ in range(_CHILDREN)]
            scored = self._score(score, [c for c in children if c is not None], scored)
        return scored

    def _score(
        self,
        score: Callable[[Sequence[ConfigEntity]], np.ndarray],
        indices: Iterable[int],
        known: dict[int, float],
    ) -> dict[int, float]:
        new = dict.fromkeys(i for i in indices if i not in known)
        configs = {i: c for i in new if self.fits((c := self.get(i))._entity_map)}
        if not configs:
            return known
        return known | dict(zip(configs, map(float, score(list(configs.values()))), strict=True))
