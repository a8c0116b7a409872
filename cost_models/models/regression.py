"""Robust regression: non-negative sums of terms by relative error."""

from __future__ import annotations

import numpy as np

_ROUNDS = 10
_FLAT = 0.02  # residuals below 2 %, the precision of measurements, have equal weight


def fit_non_negative(terms: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Fit coefficients >= 0 with the least sum of absolute relative errors of ``terms @ coefficients``.

    Least absolute deviations by iteratively reweighted least squares. Each round is a non-negative least-squares
    problem of the normal equations, whose size is the number of terms, not of samples.

    Parameters
    ----------
    terms : array, shape (n, t)
        Non-negative.
    seconds : array, shape (n,)

    Returns
    -------
    array, shape (t,)
    """
    n = len(seconds)
    relative = terms / seconds[:, None]
    scale = relative.max(axis=0)
    used = scale > 0
    if not used.any():  # scipy's solver ends the process for a matrix without columns
        return np.zeros(terms.shape[1])
    relative = relative[:, used] / scale[used]
    weights = np.ones(n)
    found = np.zeros(used.sum())
    for _ in range(_ROUNDS):
        rows = relative * weights[:, None]
        gram = rows.T @ rows
        gram[np.diag_indices_from(gram)] += 1e-9 * n
        root = np.linalg.cholesky(gram)
        from scipy.optimize import nnls  # large, and most processes fit nothing

        found, _residual = nnls(root.T, np.linalg.solve(root, rows.T @ weights), maxiter=50 * len(gram))
        weights = 1 / np.sqrt(np.maximum(np.abs(relative @ found - 1), _FLAT))
        weights /= np.sqrt(np.mean(weights**2))
    coefficients = np.zeros(terms.shape[1])
    coefficients[used] = found / scale[used]
    return coefficients


def round_digits(values: np.ndarray, digits: int = 4) -> list[float]:
    """Round to significant digits, so that a saved model predicts the same."""
    return [float(f"{v:.{digits - 1}e}") for v in values]
