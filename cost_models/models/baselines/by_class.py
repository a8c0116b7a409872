"""Base of models with a separate state for each kernel class."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from typing_extensions import Self

from tvm_coexec.cost_models.features.workload import Workload, Workloads, stack
from tvm_coexec.cost_models.one_thread import on_one_thread

from ..base import LatencyModel, check_samples, unknown_class_error

MIN_S = 1e-9


class ByClass(LatencyModel):
    """Fits each class separately; `classes_` maps a class to JSON values."""

    def key(self, w: Workload) -> str:
        """Return the class of a workload."""
        return w.kind

    @abstractmethod
    def fit_class(self, w: Workload, seconds: np.ndarray) -> Any:
        """Fit one class; return its state as JSON values."""

    @abstractmethod
    def predict_class(self, w: Workload, state: Any) -> np.ndarray:
        """Predict seconds of one class from its state, shape (n,)."""

    @on_one_thread
    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`."""
        groups, y = check_samples(kernels, seconds)
        merged: dict[str, list[tuple[Workload, np.ndarray]]] = {}
        for w, where in groups:
            merged.setdefault(self.key(w), []).append((w, where))
        self.classes_ = {
            key: self.fit_class(stack([w for w, _ in parts]), np.concatenate([y[where] for _, where in parts]))
            for key, parts in merged.items()
        }
        return self

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`."""
        return self.key(w) in self.classes_

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        state = self.classes_.get(self.key(w))
        if state is None:
            raise unknown_class_error(self, self.key(w), list(self.classes_))
        return np.maximum(self.predict_class(w, state), MIN_S)

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        return {"options": self.options(), "classes": self.classes_}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        model = cls(**state["options"])
        model.classes_ = dict(state["classes"])
        for key, part in model.classes_.items():
            model.check_class(key, part)
        return model

    def check_class(self, key: str, part: Any) -> None:
        """Raise `ValueError` or `TypeError` for a damaged state, by predicting one kernel with it."""
        kind, _, algorithm = key.partition("/")
        one = stack([Workload(kind, algorithm or "direct", in_bytes=4, out_bytes=4, weight_bytes=4, flops=1.0)])
        if not np.isfinite(self.predict_class(one, part)).all():
            raise ValueError(f"class {key}")


def least_squares(columns: np.ndarray, seconds: np.ndarray) -> list[float]:
    """Fit by ordinary least squares, as the published predictors do; coefficients have 7 digits."""
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-300)
    found = np.linalg.lstsq(columns / scale, seconds, rcond=None)[0] / scale
    return [float(f"{v:.6e}") for v in found]
