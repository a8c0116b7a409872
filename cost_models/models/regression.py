"""Fitting on relative error: non-negative sums of terms, and ridge regression that outliers do not move."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

_ROUNDS = 10
_FLAT = 0.02  # residuals below 2 % count alike: that is how well a time can be measured


def non_negative_sum(terms: np.ndarray, seconds: np.ndarray, restraint: np.ndarray | None = None) -> np.ndarray:
    """Coefficients >= 0 that make ``terms @ coefficients`` follow ``seconds`` with the least sum of relative errors.

    Least absolute deviations by iteratively reweighted least squares; each round is a non-negative least-squares
    problem of the normal equations, which is as large as the number of terms, not of samples.

    Parameters
    ----------
    terms : array, shape (n, t)
        Not negative.
    seconds : array, shape (n,)
    restraint : array, shape (t,), optional
        How much each coefficient is pulled to nothing, in samples that a term explains wholly.

    Returns
    -------
    array, shape (t,)
    """
    n = len(seconds)
    relative = terms / seconds[:, None]
    scale = relative.max(axis=0) if restraint is None else relative.mean(axis=0)
    used = scale > 0
    relative = relative[:, used] / scale[used]
    pull = np.zeros(used.sum()) if restraint is None else restraint[used]
    weights = np.ones(n)
    found = np.zeros(used.sum())
    for _ in range(_ROUNDS):
        rows = relative * weights[:, None]
        gram = rows.T @ rows
        gram[np.diag_indices_from(gram)] += 1e-9 * n + pull
        root = np.linalg.cholesky(gram)
        found, _residual = nnls(root.T, np.linalg.solve(root, rows.T @ weights), maxiter=50 * len(gram))
        weights = 1 / np.sqrt(np.maximum(np.abs(relative @ found - 1), _FLAT))
        weights /= np.sqrt(np.mean(weights**2))
    coefficients = np.zeros(terms.shape[1])
    coefficients[used] = found / scale[used]
    return coefficients


def robust_ridge(features: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
    """Ridge regression for the least sum of absolute errors; the last feature, the constant, is not penalised."""
    weights = np.ones(len(target))
    found = np.zeros(features.shape[1])
    for _ in range(6):
        rows = features * weights[:, None]
        gram = rows.T @ rows
        gram[np.diag_indices_from(gram)] += penalty
        gram[-1, -1] += 1e-9 - penalty
        found = np.linalg.solve(gram, rows.T @ (weights * target))
        weights = 1 / np.sqrt(np.maximum(np.abs(features @ found - target), _FLAT))
        weights /= np.sqrt(np.mean(weights**2))
    return found


def rounded(values: np.ndarray, digits: int = 4) -> list[float]:
    """Values with that many significant digits: what is saved is what predicts."""
    return [float(f"{v:.{digits - 1}e}") for v in values]
