"""Features of a configuration, which mean the same for operators of other extents, and the tile model's seconds.

Both are logarithms to base 2. The features of a split are its inner factors and how often they repeat, so that records
of one shape inform about another one. The tile model is that of `rank`; without one for the template it is a count of
vectors and of work-items that wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2, prod

import numpy as np
from tvm import autotvm
from tvm.autotvm.task.space import ConfigEntity, OtherOptionEntity, SplitEntity
from tvm.target import Target

from tvm_coexec.opencl.schedules.device import is_gpu_target

from ..knobs import threads_of
from ..rank import Knobs, local_bytes, modelled_cost, window_for
from ..space import copies_of, statements_of

_LANES = (4, 8, 16)
_LEAST = 1e-12


class Describer:
    """Describes the configurations of a task.

    Parameters
    ----------
    task : autotvm.task.Task
        With its space.
    """

    def __init__(self, task: autotvm.task.Task):
        self.workload, self.target = task.workload, Target(task.target)
        self.flop = max(float(task.flop), 1.0)
        space = task.config_space.space_map
        self._extents = {name: getattr(choices, "product", 0) for name, choices in space.items()}
        self._texts = {name: [repr(e) for e in choices.entities] for name, choices in space.items()}
        self._window = window_for(self.workload) if is_gpu_target(self.target) else None
        self._known: dict[str, tuple[np.ndarray, float]] = {}

    def table(self, configs: Sequence[ConfigEntity]) -> tuple[np.ndarray, np.ndarray]:
        """Return features, shape (n, features), and the tile model's logarithms, shape (n,)."""
        rows = [self._row(c._entity_map) for c in configs]
        return np.stack([f for f, _ in rows]), np.array([c for _, c in rows])

    def _row(self, knobs: Knobs) -> tuple[np.ndarray, float]:
        key = repr(list(knobs.items()))
        if key not in self._known:
            prior = self._prior(knobs)
            self._known[key] = np.array([*self._features(knobs), prior - log2(self.flop)], np.float32), prior
        return self._known[key]

    def _prior(self, knobs: Knobs) -> float:
        cost = modelled_cost(self.workload, self.target, knobs, self.flop, self._waste(knobs), 0.0)
        return log2(max(cost, _LEAST))

    def _waste(self, knobs: Knobs) -> float:
        wasted = 1.0
        for name, e in knobs.items():
            if isinstance(e, SplitEntity) and (extent := self._extents.get(name, 0)):
                inner = prod(e.size[1:])
                wasted *= -(-extent // inner) * inner / extent
        return wasted

    def _features(self, knobs: Knobs) -> list[float]:
        found: list[float] = []
        for name, entity in knobs.items():
            if isinstance(entity, SplitEntity):
                factors, inner = entity.size[1:], prod(entity.size[1:])
                extent = max(self._extents.get(name, 0), 1)
                found += [log2(f) for f in factors]
                found += [log2(inner), log2(-(-extent // inner)), log2(-(-extent // inner) * inner / extent)]
                found += [(factors[-1] % n) / n for n in _LANES]
            elif isinstance(entity, OtherOptionEntity) and isinstance(entity.val, (int, float)):
                found.append(log2(1.0 + abs(float(entity.val))))
            else:
                text = repr(entity)
                found.append(float(self._texts[name].index(text)) if text in self._texts.get(name, ()) else -1.0)
        found += [log2(max(1, threads_of(knobs))), log2(copies_of(knobs)), log2(statements_of(knobs))]
        found.append(log2(1 + local_bytes(self._window, knobs)) if self._window is not None else 0.0)
        return found
