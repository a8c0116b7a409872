"""Boosted residuals of the analytic model, which take tens of kilobytes.

XGBoost fits the residual of the analytic model. Its trees are stored as numbers and evaluated here, so that using such
a profile does not need XGBoost.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError

from ..features.terms import largest_divisor
from ..features.workload import Workload, Workloads
from .analytic import AnalyticModel
from .base import LatencyModel, check_samples
from .correction import log_extents, tile_remainders


class Trees:
    """Regression trees as arrays.

    Parameters
    ----------
    trees : list of list
        Nodes of each tree: ``[feature, threshold, left, right]``, or ``[value]`` for a leaf. A row goes left if its
        feature is less than the threshold.
    """

    def __init__(self, trees: list[list[list[float]]]):
        self.nodes = trees
        self._arrays = []
        for nodes in trees:
            feature = np.array([int(n[0]) if len(n) == 4 else -1 for n in nodes])
            # XGBoost computes thresholds in single precision.
            threshold = np.array([n[1] if len(n) == 4 else n[0] for n in nodes], np.float32)
            children = np.array([[int(n[2]), int(n[3])] if len(n) == 4 else [i, i] for i, n in enumerate(nodes)])
            self._arrays.append((feature, threshold, children))

    def sum(self, features: np.ndarray) -> np.ndarray:
        """Return the sum over trees of the leaf of each row of features, shape (n,)."""
        features = np.asarray(features, np.float32)
        total = np.zeros(len(features))
        rows = np.arange(len(features))
        for feature, threshold, children in self._arrays:
            at = np.zeros(len(features), int)
            while (feature[at] >= 0).any():
                inner = feature[at] >= 0
                right = features[rows, np.maximum(feature[at], 0)] >= threshold[at]
                at = np.where(inner, children[at, right.astype(int)], at)
            total += threshold[at]
        return total


class BoostedModel(LatencyModel):
    """The analytic model times the exponential of boosted trees (on extents, tile remainders and its prediction).

    Parameters
    ----------
    max_bytes : int
        Maximum size of the file; the last trees are dropped to fit.
    trees, depth : int
        Number of trees, and their maximum depth.
    rate : float
        Learning rate.
    fallback, work_groups : bool
        See `AnalyticModel`.
    """

    name: ClassVar[str] = "boosted"

    def __init__(
        self,
        max_bytes: int = 65536,
        trees: int = 200,
        depth: int = 4,
        rate: float = 0.08,
        fallback: bool = False,
        work_groups: bool = False,
    ):
        self.max_bytes, self.trees, self.depth, self.rate, self.fallback = max_bytes, trees, depth, rate, fallback
        self.work_groups = work_groups

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`; raises `CoExecError` if XGBoost is missing."""
        xgboost = require_xgboost()
        groups, y = check_samples(kernels, seconds)
        self.base_ = AnalyticModel(fallback=self.fallback, work_groups=self.work_groups).fit(kernels, seconds)
        self.keys_ = sorted({w.key for w, _ in groups})
        features = np.concatenate([self._features(w, self.base_.predict(w)) for w, _ in groups])
        target = np.concatenate([np.log(y[where] / self.base_.predict(w)) for w, where in groups])
        booster = xgboost.train(
            {
                "objective": "reg:absoluteerror",
                "max_depth": self.depth,
                "eta": self.rate,
                "subsample": 0.8,
                "colsample_bytree": 0.5,
                "min_child_weight": 3,
                "base_score": 0.0,
                "seed": 0,
                "nthread": 1,
            },
            xgboost.DMatrix(features, label=target),
            num_boost_round=self.trees,
        )
        self.trees_ = Trees([tree_nodes(text) for text in booster.get_dump(dump_format="json")])
        while self.nbytes > self.max_bytes and self.trees_.nodes:
            keep = int(len(self.trees_.nodes) * min(0.97, self.max_bytes / self.nbytes))
            self.trees_ = Trees(self.trees_.nodes[:keep])
        return self

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        base = self.base_.predict(w)
        return base * np.exp(np.clip(self.trees_.sum(self._features(w, base)), -1.0, 1.0))

    def _features(self, w: Workload, base: np.ndarray) -> np.ndarray:
        n = w.size
        numbers = [w.oc, w.ic, w.ow, w.in_bytes, w.out_bytes, w.weight_bytes, w.macs, w.flops]
        plain = np.stack([np.broadcast_to(np.asarray(v, float), (n,)) for v in numbers], 1)
        blocks = np.stack([np.broadcast_to(largest_divisor(v, 16), (n,)) for v in (w.oc, w.ow, w.oh * w.ow, w.ic)], 1)
        key = self.keys_.index(w.key) if w.key in self.keys_ else -1
        rest = np.stack([np.full(n, float(key)), np.log(base), np.log((w.macs + 1) / base)], 1)
        return np.hstack([log_extents(w), tile_remainders(w), plain, blocks, rest]).astype(np.float32)

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`."""
        return self.base_.knows(w)

    def samples_of(self, w: Workload) -> int | None:
        """See `LatencyModel.samples_of`."""
        return self.base_.samples_of(w)

    def for_device(self, device: str) -> Self:
        """See `LatencyModel.for_device`."""
        self.base_.for_device(device)
        return self

    def silence_warnings(self) -> Self:
        """See `LatencyModel.silence_warnings`."""
        self.base_.silence_warnings()
        return self

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        names = ("max_bytes", "trees", "depth", "rate", "fallback", "work_groups")
        options = {n: getattr(self, n) for n in names}
        return {"options": options, "base": self.base_.state(), "keys": self.keys_, "nodes": self.trees_.nodes}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        model = cls(**state["options"])
        model.base_ = AnalyticModel.from_state(state["base"])
        model.keys_ = [str(k) for k in state["keys"]]
        model.trees_ = Trees(state["nodes"])
        return model


def require_xgboost():
    """Import XGBoost; `CoExecError` states how to install it if it is missing."""
    try:
        import xgboost
    except ImportError:
        raise CoExecError("boosted trees need XGBoost: install the extra, pip install 'tvm-coexec[tuning]'") from None
    return xgboost


def tree_nodes(text: str) -> list[list[float]]:
    """Return the nodes of one tree of XGBoost's JSON dump, in breadth-first order."""
    queue, nodes = [json.loads(text)], []
    while queue:
        node = queue.pop(0)
        if "leaf" in node:
            nodes.append([float(f"{node['leaf']:.3g}")])
            continue
        left = len(nodes) + len(queue) + 1
        children = {c["nodeid"]: c for c in node["children"]}
        queue += [children[node["yes"]], children[node["no"]]]
        nodes.append([int(node["split"][1:]), _short(node["split_condition"]), left, left + 1])
    return nodes


def _short(value: float) -> float:
    """Return the shortest number with the same value in single precision."""
    short = float(str(np.float32(value)))
    return int(short) if short.is_integer() else short
