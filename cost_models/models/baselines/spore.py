"""Sparse polynomial regression over features of a program: SPORE-LASSO and SPORE-FoBa (Huang et al., NIPS 2010)."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.features.workload import Workload

from ..extras import require
from .by_class import ByClass

Monomial = tuple[int, ...]  # numbers of features, with repetitions; () is the constant

_LEAST_SAMPLES = 8
_CONDITION = 1e-7


class Spore(ByClass):
    """A sparse polynomial of a few features for each class and algorithm.

    The paper's programs are any programs, and its features counts of loops, branches and values, found by instrumenting
    the source. A kernel's loops are known: features are its extents, its trip counts, bytes and FLOPs, scaled to 1.
    Least squares are of relative errors, by which the paper judges; with ``relative=False`` of seconds.

    Parameters
    ----------
    degree : int
        Of the polynomial.
    most : int
        Most features that are selected.
    relative : bool
    """

    def __init__(self, degree: int = 3, most: int = 5, relative: bool = True):
        if degree < 1 or most < 1:
            raise CoExecError(f"a sparse polynomial needs a degree and features of at least 1, not {degree} and {most}")
        self.degree, self.most, self.relative = degree, most, relative

    def key(self, w: Workload) -> str:
        """See `ByClass.key`."""
        return w.key

    @abstractmethod
    def select(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[list[Monomial], np.ndarray]:
        """Select monomials and their coefficients.

        Parameters
        ----------
        x : array, shape (n, features)
            Features that vary, of at most 1.
        y : array, shape (n,)
        weights : array, shape (n,)
            Factors of the residuals.
        """

    def fit_class(self, w: Workload, seconds: np.ndarray) -> dict[str, Any]:
        """See `ByClass.fit_class`."""
        features = _features(w)
        scale = np.maximum(np.abs(features).max(axis=0), 1e-300)
        weights = 1 / seconds if self.relative else np.full(len(seconds), 1 / seconds.mean())
        varied = [int(i) for i in np.flatnonzero(np.ptp(features, axis=0) > 1e-9 * scale)]
        varied = _drop_equal(features / scale, varied)
        if len(seconds) < _LEAST_SAMPLES or not varied:
            mean = float(np.sum(seconds * weights**2) / np.sum(weights**2))
            return {"scale": [], "terms": [[[], float(f"{mean:.6e}")]]}
        found, coefficients = self.select((features / scale)[:, varied], seconds, weights)
        used = sorted({varied[i] for monomial in found for i in monomial})
        terms = [
            [[used.index(varied[i]) for i in monomial], float(f"{c:.6e}")]
            for monomial, c in zip(found, coefficients, strict=True)
            if c
        ]
        return {"scale": [[i, float(f"{scale[i]:.9e}")] for i in used], "terms": terms}

    def predict_class(self, w: Workload, state: dict[str, Any]) -> np.ndarray:
        """See `ByClass.predict_class`."""
        features = _features(w)
        x = [features[:, int(i)] / float(scale) for i, scale in state["scale"]]
        total = np.zeros(w.size)
        for monomial, coefficient in state["terms"]:
            product = np.full(w.size, float(coefficient))
            for i in monomial:
                product = product * x[int(i)]
            total = total + product
        return total

    def expand(self, features: Iterable[int]) -> list[Monomial]:
        """Return all monomials of some features up to the degree, the constant first."""
        chosen = sorted(features)
        degrees = range(self.degree + 1)
        return [m for d in degrees for m in combinations_with_replacement(chosen, d)]


class SporeLasso(Spore):
    """SPORE-LASSO (section 3.2): the LASSO selects features, an adaptive LASSO the terms of their polynomial."""

    name = "spore_lasso"

    def select(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[list[Monomial], np.ndarray]:
        """See `Spore.select`; raises `CoExecError` if scikit-learn is missing."""
        linear = np.column_stack([np.ones(len(x)), x]) * weights[:, None]
        path = _lasso_path(linear, y * weights)
        sparse = next((c for c in path if np.count_nonzero(c[1:]) >= self.most), path[-1])
        strongest = np.argsort(-np.abs(sparse[1:]), kind="stable")[: self.most]
        chosen = [int(i) for i in strongest if sparse[1 + i]] or [int(strongest[0])]
        monomials = self.expand(chosen)
        table = _products(x, monomials) * weights[:, None]
        first = np.abs(_least_squares(table, y * weights, ridge=1e-6))  # weights of the adaptive LASSO (Zou, 2006)
        path = _lasso_path(table * first, y * weights)
        best = min((_refit(table, y * weights, c != 0) for c in path), key=lambda c: _bic(table, y * weights, c))
        return monomials, best


class SporeFoba(Spore):
    """SPORE-FoBa (section 3.3): features are added and removed greedily by what their polynomials explain.

    A forward step adds the feature whose polynomial with those chosen leaves the least error, as long as it removes the
    fraction `gain` of it; after each, a backward step removes features whose removal costs less than half of that
    (Zhang, NIPS 2008).

    Parameters
    ----------
    degree, most, relative
        See `Spore`.
    gain : float
    """

    name = "spore_foba"

    def __init__(self, degree: int = 3, most: int = 5, relative: bool = True, gain: float = 0.03):
        super().__init__(degree, most, relative)
        self.gain = gain

    def select(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[list[Monomial], np.ndarray]:
        """See `Spore.select`."""
        target = y * weights

        def solve(features: list[int]) -> tuple[float, np.ndarray]:
            table = _products(x, self.expand(features)) * weights[:, None]
            found = _least_squares(table, target)
            return float(np.sum((table @ found - target) ** 2)), found

        chosen: list[int] = []
        error, _ = solve([])
        while len(chosen) < self.most:
            # a polynomial with as many terms as samples would explain anything
            if len(self.expand([*chosen, -1])) > len(y) // 2:
                break
            tried = {i: solve([*chosen, i])[0] for i in range(x.shape[1]) if i not in chosen}
            best = min(tried, key=lambda i: tried[i]) if tried else -1
            gained = error - tried.get(best, error)
            if gained <= self.gain * error:
                break
            chosen, error = [*chosen, best], tried[best]
            while len(chosen) > 2:
                without = {i: solve([c for c in chosen if c != i])[0] for i in chosen[:-1]}
                least = min(without, key=lambda i: without[i])
                if without[least] - error > gained / 2:
                    break
                chosen, error = [c for c in chosen if c != least], without[least]
        return self.expand(chosen), solve(chosen)[1]


def _features(w: Workload) -> np.ndarray:
    depth = w.ic / w.groups * w.kh * w.kw
    places = w.batch * w.oh * w.ow
    columns = (
        *(w.batch, w.groups, w.ic, w.oc, w.ih, w.iw, w.oh, w.ow, w.kh, w.kw, w.sh),
        *(depth, places, places * w.oc, w.batch * w.oh * w.oc, places * depth, w.oc * depth, w.macs),
        *(w.flops, w.special, w.in_bytes, w.out_bytes, w.weight_bytes, w.traffic_bytes, w.fused),
    )
    return np.stack([np.broadcast_to(np.asarray(c, float), (w.size,)) for c in columns], 1)


def _drop_equal(x: np.ndarray, columns: list[int]) -> list[int]:
    """Keep the first of columns that are equal."""
    kept: list[int] = []
    for i in columns:
        if not any(np.allclose(x[:, i], x[:, k], rtol=1e-9, atol=0) for k in kept):
            kept.append(i)
    return kept


def _products(x: np.ndarray, monomials: list[Monomial]) -> np.ndarray:
    return np.stack([np.prod(x[:, list(m)], axis=1) if m else np.ones(len(x)) for m in monomials], 1)


def _least_squares(table: np.ndarray, target: np.ndarray, ridge: float = 0.0) -> np.ndarray:
    scale = np.maximum(np.sqrt(np.mean(table**2, axis=0)), 1e-300)
    if ridge:
        gram = (table / scale).T @ (table / scale)
        gram[np.diag_indices_from(gram)] += ridge * len(table)
        return np.linalg.solve(gram, (table / scale).T @ target) / scale
    return np.linalg.lstsq(table / scale, target, rcond=_CONDITION)[0] / scale


def _lasso_path(table: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
    """Return coefficients along the path of the LASSO, the sparsest first."""
    linear_model = require("sklearn.linear_model", "SPORE-LASSO's regressions")
    scale = np.maximum(np.sqrt(np.mean(table**2, axis=0)), 1e-300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # correlated columns converge slowly, and the tolerance need not be met
        _, coefficients, _ = linear_model.lasso_path(table / scale, target, alphas=40, eps=1e-4, max_iter=1000)
    return [c / scale for c in coefficients.T]


def _refit(table: np.ndarray, target: np.ndarray, kept: np.ndarray) -> np.ndarray:
    found = np.zeros(table.shape[1])
    if kept.any():
        found[kept] = _least_squares(table[:, kept], target)
    return found


def _bic(table: np.ndarray, target: np.ndarray, coefficients: np.ndarray) -> float:
    """Return the Bayesian information criterion of a fit."""
    n = len(target)
    mean_square = max(float(np.mean((table @ coefficients - target) ** 2)), 1e-300)
    return float(n * np.log(mean_square) + np.count_nonzero(coefficients) * np.log(n))
