"""XGBoost on raw extents, as AutoTVM-like cost models use it (Chen et al., NeurIPS 2018)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.cost_models.features.workload import NUMBERS, Workload, Workloads

from ..base import LatencyModel, check_samples, unknown_class_error
from ..boosted import Trees, require_xgboost, tree_nodes


class RawXGBoost(LatencyModel):
    """Boosted trees that predict the logarithm of a kernel's time from its extents, bytes and FLOPs.

    Parameters
    ----------
    trees, depth : int
    rate : float
    """

    name: ClassVar[str] = "xgboost"

    def __init__(self, trees: int = 300, depth: int = 6, rate: float = 0.1):
        self.trees, self.depth, self.rate = trees, depth, rate

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`; raises `CoExecError` if XGBoost is missing."""
        xgboost = require_xgboost()
        groups, y = check_samples(kernels, seconds)
        self.keys_ = sorted({w.key for w, _ in groups})
        self.mean_ = float(np.mean(np.log(y)))
        features = np.concatenate([self._features(w) for w, _ in groups])
        target = np.concatenate([np.log(y[where]) - self.mean_ for _, where in groups])
        options = {"max_depth": self.depth, "eta": self.rate, "base_score": 0.0, "seed": 0, "nthread": 1}
        booster = xgboost.train(options, xgboost.DMatrix(features, label=target), num_boost_round=self.trees)
        self.trees_ = Trees([tree_nodes(text) for text in booster.get_dump(dump_format="json")])
        return self

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        if w.key not in self.keys_:
            raise unknown_class_error(self, w.key, self.keys_)
        return np.exp(self.mean_ + self.trees_.sum(self._features(w)))

    def _features(self, w: Workload) -> np.ndarray:
        columns = [float(self.keys_.index(w.key)), *(getattr(w, n) for n in NUMBERS)]
        return np.stack([np.broadcast_to(np.asarray(c, np.float32), (w.size,)) for c in columns], 1)

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        options = {n: getattr(self, n) for n in ("trees", "depth", "rate")}
        return {"options": options, "keys": self.keys_, "mean": self.mean_, "nodes": self.trees_.nodes}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        model = cls(**state["options"])
        model.keys_, model.mean_ = [str(k) for k in state["keys"]], float(state["mean"])
        model.trees_ = Trees(state["nodes"])
        return model
