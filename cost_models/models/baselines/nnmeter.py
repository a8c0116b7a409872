"""nn-Meter's latency predictors: a random forest for each kernel type."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.cost_models.features.workload import Workload

from ..extras import require
from ..forest import Forest, divide_forests, merge_forests
from ..state_files import take_array
from .by_class import ByClass

_COLUMNS = (
    *("batch", "groups", "ih", "iw", "ic", "oc", "oh", "ow", "kh", "kw", "sh", "sw"),
    *("flops", "weight_bytes", "in_bytes", "out_bytes", "fused", "special"),
)
_LIGHT_TREES, _LIGHT_DEPTH = 70, 30
_MS = 1e3


class NNMeter(ByClass):
    """A random forest for each class and algorithm, as in nn-Meter (MobiSys 2021, section 5).

    A kernel type is a fused kernel with the algorithm that the device computes it by. Features are those of nn-Meter's
    tables, input size, channels, kernel, stride, FLOPs and parameters, and what else distinguishes our kernels: bytes
    read and written, groups, batch and fused operators. Its detection of fusion rules (section 4) is not needed here,
    since a kernel graph holds kernels that Relay has fused; its adaptive sampling of shapes (section 5.2) is
    ``coexec profile --adaptive``.

    Parameters
    ----------
    trees, depth : int
        Number of trees of convolutions and their maximum depth; other classes have 70 trees of depth 30.
    """

    name: ClassVar[str] = "nnmeter"

    def __init__(self, trees: int = 320, depth: int = 70):
        self.trees, self.depth = trees, depth

    def key(self, w: Workload) -> str:
        """See `ByClass.key`."""
        return w.key

    def fit_class(self, w: Workload, seconds: np.ndarray) -> Forest:
        """See `ByClass.fit_class`; raises `CoExecError` if scikit-learn is missing."""
        ensemble = require("sklearn.ensemble", "nn-Meter's random forests")
        heavy = "conv" in w.kind
        options = {
            "n_estimators": self.trees if heavy else min(self.trees, _LIGHT_TREES),
            "max_depth": self.depth if heavy else min(self.depth, _LIGHT_DEPTH),
            "max_features": 10,
            "random_state": 0,
            "n_jobs": 1,
        }
        fitted = ensemble.RandomForestRegressor(**options).fit(self._features(w), seconds * _MS)
        return Forest.of_scikit_learn(fitted)

    def predict_class(self, w: Workload, state: Forest) -> np.ndarray:
        """See `ByClass.predict_class`."""
        return state.mean(self._features(w)) / _MS

    def _features(self, w: Workload) -> np.ndarray:
        columns = (np.broadcast_to(np.asarray(getattr(w, n), np.float32), (w.size,)) for n in _COLUMNS)
        return np.stack(list(columns), 1)

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        arrays, counts = merge_forests(list(self.classes_.values()))
        classes = dict(zip(self.classes_, counts, strict=True))
        return {"options": self.options(), "classes": classes, "arrays": arrays}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        arrays = {n: take_array(state, n, (None,)) for n in Forest.FIELDS}
        if arrays["feature"].max(initial=0) >= len(_COLUMNS):
            raise ValueError("a forest has features that are unknown")
        forests = divide_forests(arrays, list(state["classes"].values()))
        return super().from_state({**state, "classes": dict(zip(state["classes"], forests, strict=True))})
