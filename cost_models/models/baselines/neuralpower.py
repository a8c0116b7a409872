"""NeuralPower's sparse polynomials, for latency and power."""

from __future__ import annotations

import warnings
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.features.workload import Workload

from .by_class import ByClass


class NeuralPower(ByClass):
    """A sparse polynomial of layer parameters and physical products, for each layer type.

    ACML 2017, section 3. Latency: degree 3 in the parameters, and products that count operations and accesses. Power:
    degree 2 in each parameter and its logarithm (section 3.2). Coefficients are fitted by Lasso with a cross-validated
    penalty.

    Parameters
    ----------
    target : {"latency", "power"}
        Predicted quantity, in seconds or watts.
    """

    name: ClassVar[str] = "neuralpower"

    def __init__(self, target: str = "latency"):
        if target not in ("latency", "power"):
            raise CoExecError(f"NeuralPower predicts latency or power, not '{target}'")
        self.target = target

    def fit_class(self, w: Workload, seconds: np.ndarray) -> dict[str, Any]:
        """See `ByClass.fit_class`; raises `CoExecError` if scikit-learn is missing."""
        try:
            from sklearn.linear_model import LassoCV
        except ImportError:
            raise CoExecError(
                "the NeuralPower baseline needs scikit-learn: install the extra, pip install 'tvm-coexec[bench]'"
            ) from None
        x = self._features(w)
        mean, scale = x.mean(axis=0), x.std(axis=0)
        varied = scale > 1e-9 * np.maximum(1.0, np.abs(mean))
        z = (x[:, varied] - mean[varied]) / scale[varied]
        if len(seconds) < 10 or not varied.any():
            return {"intercept": float(np.mean(seconds)), "terms": []}
        unit = float(np.mean(seconds))  # Lasso's tolerance is absolute
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # correlated products converge slowly, and the tolerance need not be met
            lasso = LassoCV(cv=5, alphas=20, eps=1e-4, max_iter=2000).fit(z, seconds / unit)
        kept = np.flatnonzero(lasso.coef_)
        columns = np.flatnonzero(varied)[kept]
        coefficients = lasso.coef_[kept] * unit / scale[columns]
        terms = [[int(c), float(f"{v:.6e}")] for c, v in zip(columns, coefficients, strict=True)]
        return {"intercept": float(lasso.intercept_ * unit - sum(v * mean[c] for c, v in terms)), "terms": terms}

    def predict_class(self, w: Workload, state: dict[str, Any]) -> np.ndarray:
        """See `ByClass.predict_class`."""
        x = self._features(w)
        total = np.full(w.size, float(state["intercept"]))
        for column, coefficient in state["terms"]:
            total = total + float(coefficient) * x[:, int(column)]
        return total

    def _features(self, w: Workload) -> np.ndarray:
        parameters = [w.batch, w.ic, w.oc, w.ih, w.ow, w.kh, w.sh]
        if self.target == "power":
            parameters += [np.log2(np.maximum(p, 1e-9)) for p in parameters]
        columns = [np.broadcast_to(np.asarray(p, float), (w.size,)) for p in parameters]
        degree = 3 if self.target == "latency" else 2
        polynomial = [
            np.prod([columns[i] for i in chosen], axis=0)
            for d in range(1, degree + 1)
            for chosen in combinations_with_replacement(range(len(columns)), d)
        ]
        data = w.in_bytes + w.out_bytes
        physical = [w.flops, w.macs, w.in_bytes, w.out_bytes, w.weight_bytes, data, data + w.weight_bytes, w.oh * w.ow]
        return np.stack(polynomial + [np.broadcast_to(np.asarray(p, float), (w.size,)) for p in physical], 1)
