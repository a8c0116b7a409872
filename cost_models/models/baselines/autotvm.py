"""AutoTVM's cost model: XGBoost, updated in rounds of measurements (Chen et al., NeurIPS 2018)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.features.workload import NUMBERS, Workload, Workloads, group_by_class

from ..base import LatencyModel, check_samples, unknown_class_error
from ..boosted import Trees, require_xgboost, tree_nodes
from ..regression import round_digits

OBJECTIVES = {"regression": "reg:squarederror", "rank": "rank:pairwise"}
_KNOTS = 48  # of the curve from scores to times
_PAIRS = 8  # that each sample is compared in


class AutoTVM(LatencyModel):
    """Boosted trees on a kernel's extents, bytes and FLOPs.

    AutoTVM measures a batch of candidates, fits the model to all measurements so far, and chooses the next batch by it
    (section 5): `fit` is the first round, `update` each later one, `rank` the score by which candidates are compared. A
    model that was read from a file has no samples; as in the paper's transfer learning, it then becomes the global
    model, and `update` fits a local one to what it misses. The paper's features are of the loops of a schedule; before
    a kernel is scheduled there are extents, bytes and work.

    Parameters
    ----------
    objective : {"regression", "rank"}
        Squared error of the logarithm of seconds, or the loss of pairs in the wrong order (section 4), whose scores a
        monotone curve through the samples translates to seconds.
    trees, depth : int
        Number of trees of a round, and their maximum depth.
    rate : float
        Learning rate.
    """

    name: ClassVar[str] = "autotvm"

    def __init__(self, objective: str = "regression", trees: int = 300, depth: int = 6, rate: float = 0.1):
        if objective not in OBJECTIVES:
            raise CoExecError(f"AutoTVM's model learns by {' or '.join(OBJECTIVES)}, not '{objective}'")
        self.objective, self.trees, self.depth, self.rate = objective, trees, depth, rate

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`; raises `CoExecError` if XGBoost is missing."""
        groups, y = check_samples(kernels, seconds)
        self.keys_ = sorted({w.key for w, _ in groups})
        self.mean_ = float(np.mean(np.log(y)))
        self.trees_ = Trees([])
        self._seen = self._training_data(groups, y)
        self._boost(*self._seen)
        return self

    def update(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """Add a round of measurements to a fitted model; return the model itself.

        Parameters
        ----------
        kernels : Workload or sequence of Workload
            Of classes that the model was fitted to.
        seconds : array, shape (n,)

        Raises
        ------
        CoExecError
            If the model is not fitted, a class is unknown, or the times are wrong.
        """
        self.check_fitted()
        groups, y = check_samples(kernels, seconds)
        for w, _ in groups:
            self._check_class(w)
        features, target = self._training_data(groups, y)
        if (seen := getattr(self, "_seen", None)) is not None:
            features, target = np.concatenate([seen[0], features]), np.concatenate([seen[1], target])
            self.trees_, self._seen = Trees([]), (features, target)
        self._boost(features, target)
        return self

    def _training_data(self, groups: list, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = np.concatenate([self._features(w) for w, _ in groups])
        return features, np.concatenate([np.log(y[where]) - self.mean_ for _, where in groups])

    def _boost(self, features: np.ndarray, target: np.ndarray) -> None:
        """Add trees to those that are there, and fit the curve from scores to logarithms of seconds."""
        xgboost = require_xgboost()
        options: dict[str, Any] = {"objective": OBJECTIVES[self.objective], "max_depth": self.depth, "eta": self.rate}
        options |= {"base_score": 0.0, "seed": 0, "nthread": 1}
        if self.objective == "rank":
            options |= {"lambdarank_pair_method": "mean", "lambdarank_num_pair_per_sample": _PAIRS}
        if len(target) > 1:
            data = xgboost.DMatrix(features, label=target, base_margin=self.trees_.sum(features))
            if self.objective == "rank":
                data.set_group([len(target)])
            booster = xgboost.train(options, data, num_boost_round=self.trees)
            added = [tree_nodes(text) for text in booster.get_dump(dump_format="json")]
            self.trees_ = Trees([*self.trees_.nodes, *added])
        self.curve_: list[list[float]] = []
        if self.objective == "rank":  # medians of equal parts, never falling
            score = self.trees_.sum(features)
            parts = np.array_split(np.argsort(score, kind="stable"), min(_KNOTS, len(score)))
            x, y = (np.array([np.median(v[p]) for p in parts]) for v in (score, target))
            self.curve_ = [round_digits(x, 6), round_digits(np.maximum.accumulate(y), 6)]

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`."""
        return w.key in self.keys_

    def _check_class(self, w: Workload) -> None:
        if w.key not in self.keys_:
            raise unknown_class_error(self, w.key, self.keys_)

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        self._check_class(w)
        score = self.trees_.sum(self._features(w))
        if self.curve_:
            scores, logs = self.curve_
            score = np.interp(score, scores, logs)
        return np.exp(self.mean_ + score)

    def rank(self, kernels: Workloads) -> np.ndarray:
        """Return scores that grow with time, shape (n,): for choosing the fastest, as AutoTVM does."""
        self.check_fitted()
        groups, total = group_by_class(kernels)
        out = np.empty(total)
        for w, where in groups:
            self._check_class(w)
            out[where] = self.trees_.sum(self._features(w))
        return out

    def _features(self, w: Workload) -> np.ndarray:
        columns = [float(self.keys_.index(w.key)), *(getattr(w, n) for n in NUMBERS)]
        return np.stack([np.broadcast_to(np.asarray(c, np.float32), (w.size,)) for c in columns], 1)

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        options = {n: getattr(self, n) for n in ("objective", "trees", "depth", "rate")}
        fitted = {"keys": self.keys_, "mean": self.mean_, "curve": self.curve_, "nodes": self.trees_.nodes}
        return {"options": options, **fitted}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        model = cls(**state["options"])
        model.keys_, model.mean_ = [str(k) for k in state["keys"]], float(state["mean"])
        model.curve_ = [[float(v) for v in part] for part in state["curve"]]
        if model.curve_ and len({len(part) for part in model.curve_}) != 1:
            raise ValueError("its curve has different numbers of scores and times")
        model.trees_ = Trees(state["nodes"])
        return model
