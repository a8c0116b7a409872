"""The residual of the tile model, in powers of two: fitted to a task's trials and to records of other shapes.

``log2(seconds) = offset of the task + slope * log2(modelled cost) + residual(features)``. The slope is shrunk towards
that of earlier records, and theirs towards 1, so that without trials the order is the tile model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_FAILED = 2.0  # powers of two that a failed trial counts as slower than the slowest one that works
_SHRINKAGE = 32.0  # trials that the prior's slope counts as: beyond the trials only the tile model knows anything
_LEAST_ROWS = 6
_TREES, _DEPTH, _RATE = 60, 4, 0.2
_RIDGE = 4.0


@dataclass(frozen=True)
class Trialled:
    """Trials of one task.

    Attributes
    ----------
    features : array, shape (n, features)
    modelled : array, shape (n,)
        The tile model's logarithms.
    seconds : array, shape (n,)
        0 where a trial failed.
    """

    features: np.ndarray
    modelled: np.ndarray
    seconds: np.ndarray

    @property
    def works(self) -> np.ndarray:
        """Which trials have a time, shape (n,)."""
        return self.seconds > 0

    def logs(self) -> np.ndarray:
        """Return the logarithms of the seconds; failed trials are slower than all others."""
        logs = np.log2(np.where(self.works, self.seconds, 1.0))
        return np.where(self.works, logs, logs[self.works].max(initial=0.0) + _FAILED)


@dataclass
class Residual:
    """The fitted model of one task.

    Attributes
    ----------
    slope : float
        Of the tile model.
    """

    seed: int = 0
    slope: float = 1.0
    _predict: Any = field(default=None, repr=False)

    def fit(self, own: Trialled | None, others: Sequence[Trialled] = ()) -> Residual:
        """Fit to the task's trials, and to those of other tasks, which count less the more own ones there are.

        Parameters
        ----------
        own : Trialled or None
        others : sequence of Trialled
            Of the same template with other extents. Those without a trial that works are left out.
        """
        others = [t for t in others if t.works.any()]
        mine = [own] if own is not None and own.works.any() else []
        self.slope = _fit_slope(mine, _fit_slope(others, 1.0))
        self._predict = None
        tables = [*mine, *others]
        if sum(len(t.seconds) for t in tables) < _LEAST_ROWS:
            return self
        x = np.concatenate([t.features for t in tables])
        y = np.concatenate([_centred(t, self.slope) for t in tables])
        weight = np.concatenate([_weights(t) * self._share(t, own, others) for t in tables])
        self._predict = _fit(x, y, weight, self.seed)
        return self

    @staticmethod
    def _share(table: Trialled, own: Trialled | None, others: Sequence[Trialled]) -> float:
        """Weight of a trial: those of all other tasks count together as a few dozen, less with each own one."""
        if table is own:
            return 1.0
        count, mine = sum(len(t.seconds) for t in others), 0 if own is None else len(own.seconds)
        return min(1.0, 32.0 / count) / (1.0 + mine / 16.0)

    def predict(self, features: np.ndarray, modelled: np.ndarray) -> np.ndarray:
        """Return logarithms of seconds up to a constant of the task, shape (n,)."""
        found = self.slope * modelled
        return found if self._predict is None else found + self._predict(features)


def _fit_slope(tables: Sequence[Trialled], prior: float) -> float:
    """Slope of the logarithms of seconds over the tile model's, of the trials that work, each task around its mean."""
    xy = xx = count = 0.0
    for t in tables:
        x, y = t.modelled[t.works], t.logs()[t.works]
        x, y = x - x.mean(), y - y.mean()
        xy, xx, count = xy + float(x @ y), xx + float(x @ x), count + len(x)
    if xx < 1e-9:
        return prior
    pull = _SHRINKAGE * xx / count  # as if so many more trials of the same variance lay on the prior's line
    return float(np.clip((xy + pull * prior) / (xx + pull), 0.0, 1.5))


def _centred(table: Trialled, slope: float) -> np.ndarray:
    rest = table.logs() - slope * table.modelled
    return rest - np.median(rest[table.works])


def _weights(table: Trialled) -> np.ndarray:
    """Fast trials count more: what is slow needs no exact time."""
    logs = table.logs()
    return np.maximum(np.exp2(-(logs - logs.min())), 0.1)


def _fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray, seed: int) -> Any:
    try:
        import xgboost
    except ImportError:
        return _fit_ridge(x, y, weight)
    options = {"objective": "reg:squarederror", "max_depth": _DEPTH, "eta": _RATE, "min_child_weight": 0.5}
    options |= {"lambda": 1.0, "base_score": 0.0, "seed": seed, "nthread": 1, "verbosity": 0}
    booster = xgboost.train(options, xgboost.DMatrix(x, label=y, weight=weight), num_boost_round=_TREES)
    return lambda features: booster.predict(xgboost.DMatrix(features)).astype(float)


def _fit_ridge(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Any:
    """Linear residuals, where XGBoost is missing."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = np.hstack([(x - mean) / scale, np.ones((len(x), 1))]).astype(float)
    penalty = np.diag([_RIDGE] * x.shape[1] + [1e-6])
    found = np.linalg.solve((z * weight[:, None]).T @ z + penalty, (z * weight[:, None]).T @ y)
    return lambda features: np.hstack([(features - mean) / scale, np.ones((len(features), 1))]) @ found
