"""Linear regressions: the simplest predictors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tvm_coexec.cost_models.features.workload import Workload

from .by_class import ByClass, least_squares


def _columns(*values: Any, size: int) -> np.ndarray:
    return np.stack([np.broadcast_to(np.asarray(v, float), (size,)) for v in values], 1)


class LinearFlops(ByClass):
    """Seconds = a + b x FLOPs for each class: FLOPs as a proxy of latency."""

    name: ClassVar[str] = "linear_flops"

    def fit_class(self, w: Workload, seconds: np.ndarray) -> list[float]:
        """See `ByClass.fit_class`."""
        return least_squares(self._features(w), seconds)

    def predict_class(self, w: Workload, state: list[float]) -> np.ndarray:
        """See `ByClass.predict_class`."""
        return self._features(w) @ np.array(state, float)

    def _features(self, w: Workload) -> np.ndarray:
        return _columns(1.0, w.flops, size=w.size)


class Neurosurgeon(ByClass):
    """Regression on the configuration of each layer type, linear or logarithmic, whichever fits better.

    Features and forms are those of Neurosurgeon (ASPLOS 2017, section 4.1), which muLayer (EuroSys 2019) uses for each
    processor: input size and (kernel / stride)^2 x filters for convolutions, input and output sizes for fully connected
    and pooling layers, the number of elements for activations.
    """

    name: ClassVar[str] = "neurosurgeon"

    def fit_class(self, w: Workload, seconds: np.ndarray) -> dict[str, Any]:
        """See `ByClass.fit_class`."""
        forms = {log: least_squares(self._features(w, log), seconds) for log in (False, True)}
        errors = {log: np.sum((self._features(w, log) @ np.array(c) - seconds) ** 2) for log, c in forms.items()}
        log = bool(errors[True] < errors[False])
        return {"log": log, "coefficients": forms[log]}

    def predict_class(self, w: Workload, state: dict[str, Any]) -> np.ndarray:
        """See `ByClass.predict_class`."""
        return self._features(w, bool(state["log"])) @ np.array(state["coefficients"], float)

    def _features(self, w: Workload, log: bool) -> np.ndarray:
        if "conv" in w.kind:
            values = (w.ih * w.iw * w.ic, w.kh * w.kw / (w.sh * w.sw) * w.oc)
        else:
            values = (w.in_bytes / 4, w.out_bytes / 4)
        if log:
            values = tuple(np.log1p(v) for v in values)
        return _columns(1.0, *values, size=w.size)
