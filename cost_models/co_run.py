"""Co-run slowdown: how much longer a device takes while the other one works, by what both need of memory bandwidth.

Two kernels that compute hardly slow each other; two that wait for memory share its bandwidth. What a kernel needs is
the bytes that it has to read and write over its time alone, its *demand*, so that a few measured pairs of kernels are
enough to predict others. Weights are read once a run and come from memory; where both devices ask for more of them
than memory gives, they take as much longer as they exceed it. Other data mostly is in a cache, and slows little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .features.workload import Number, Workload
from .models.regression import fit_non_negative, round_digits

GIGA = 1e9
# With fewer pairs the three coefficients are not determined well.
LEAST_PAIRS = 6
# A pair is taken to lack bandwidth if it is so much slower than what holds for most pairs.
SATURATED = 1.1
_ROUNDS = 3


@dataclass(frozen=True)
class CoRun:
    """Co-run slowdown of one device, demands in GB/s.

    The larger of ``constant + per_other * other + per_pair * own * other`` and ``weights / bandwidth``, where `weights`
    is the part of both demands that is weights.

    Attributes
    ----------
    typical : float
        The slowdown where demands are not known; at least 1.
    constant : float or None
        At least 1. `None`: it is `typical` for all kernels.
    per_other, per_pair : float
        Per GB/s of the other device's demand, and per product of both demands, (GB/s)^2.
    bandwidth : float
        GB/s of weights that memory gives to both devices together; infinite where no pair of kernels asked for more.
    """

    typical: float = 1.0
    constant: float | None = None
    per_other: float = 0.0
    per_pair: float = 0.0
    bandwidth: float = math.inf

    @property
    def depends_on_demand(self) -> bool:
        """Whether it differs between kernels."""
        return self.constant is not None

    def slowdown(self, own: Number, other: Number, weights: Number = 0.0) -> Number:
        """Return how many times as long a kernel takes.

        Parameters
        ----------
        own, other : float or array
            Bytes per second that the kernel, and what the other device runs, read and write when alone.
        weights : float or array
            The part of both that is weights.
        """
        if self.constant is None:
            return self.typical
        below = self.constant + (self.per_other + self.per_pair * (own / GIGA)) * (other / GIGA)
        return np.maximum(below, weights / (GIGA * self.bandwidth))

    def to_json(self) -> float | list[float]:
        """Return the typical slowdown if it is that of all kernels, else all numbers, the bandwidth if it is known."""
        if self.constant is None:
            return self.typical
        numbers = [self.typical, self.constant, self.per_other, self.per_pair]
        return numbers if math.isinf(self.bandwidth) else [*numbers, self.bandwidth]

    @staticmethod
    def from_json(value: Any) -> CoRun:
        """Read a value of `to_json`; raise `TypeError` or `ValueError` for others."""
        numbers = [float(v) for v in value] if isinstance(value, list) else [float(value)]
        if len(numbers) not in (1, 4, 5) or not all(0 <= n < math.inf for n in numbers) or 0.0 in numbers[4:]:
            raise ValueError(f"contention {value}")
        return CoRun(*numbers)


def fit_co_run(pairs: Sequence[Mapping[str, Any]], before: CoRun | None = None) -> CoRun:
    """Fit the co-run slowdown of a device to measured pairs of kernels.

    Parameters
    ----------
    pairs : sequence of mapping
        ``workload``, ``alone_s`` and ``together_s`` of the device's kernel, and of the other device's ``other`` and
        ``other_s``, its workload and its seconds alone. With fewer than `LEAST_PAIRS` that have the latter, only
        the typical slowdown and the constant are fitted, as medians; the other terms are those of `before`.
    before : CoRun, optional
        The slowdown of the same device, to be refined, or of another one.

    Returns
    -------
    CoRun
        The one with the least relative error of ``together_s``; its coefficients are not negative.
    """
    ratio = np.array([p["together_s"] / p["alone_s"] for p in pairs], float)
    whole = [i for i, p in enumerate(pairs) if "other" in p]
    typical = max(1.0, round_digits(np.array([np.median(ratio)]))[0])
    own, own_weights = _demands([(pairs[i]["workload"], pairs[i]["alone_s"]) for i in whole])
    other, other_weights = _demands([(pairs[i]["other"], pairs[i]["other_s"]) for i in whole])
    ratio, weights = ratio[whole], own_weights + other_weights
    if len(whole) >= LEAST_PAIRS:
        return _fit_terms(typical, own, other, weights, ratio)
    if before is None or not before.depends_on_demand:
        return CoRun(typical)
    if not whole:
        return replace(before, typical=typical)
    constant = np.median(ratio - (before.per_other + before.per_pair * own) * other)
    return replace(before, typical=typical, constant=max(1.0, round_digits(np.array([constant]))[0]))


def _fit_terms(typical: float, own: np.ndarray, other: np.ndarray, weights: np.ndarray, ratio: np.ndarray) -> CoRun:
    """Fit the terms of demands and the bandwidth in turn: each to the pairs that the other does not limit."""
    terms = np.stack([np.ones_like(own), other, own * other], 1)
    free = np.ones(len(ratio), bool)
    for _ in range(_ROUNDS):
        constant, per_other, per_pair = round_digits(fit_non_negative(terms[free], ratio[free]))
        below = terms @ [max(1.0, constant), per_other, per_pair]
        bandwidth = _fit_bandwidth(below, weights, ratio)
        free = weights <= bandwidth * below
        if np.count_nonzero(free) < LEAST_PAIRS:
            break
    return CoRun(typical, max(1.0, constant), per_other, per_pair, bandwidth)


def _fit_bandwidth(below: np.ndarray, weights: np.ndarray, ratio: np.ndarray) -> float:
    """Return the bandwidth with the least sum of absolute relative errors; infinite without clearly slower pairs."""
    beyond = (ratio > SATURATED * below) & (weights > 0)
    tried = [*round_digits(weights[beyond] / ratio[beyond]), math.inf]
    errors = [np.abs(np.maximum(below, weights / b) / ratio - 1).sum() for b in tried]
    return tried[int(np.argmin(errors))]


def _demands(timed: Sequence[tuple[Mapping[str, Any], float]]) -> np.ndarray:
    """Return GB/s of workloads that take so many seconds, of all data and of weights, shape (2, n)."""
    works = [Workload.from_json(dict(w)) for w, _ in timed]
    nbytes = np.array([[float(w.traffic_bytes), float(w.weight_bytes)] for w in works]).reshape(-1, 2).T
    return nbytes / np.array([s for _, s in timed], float) / GIGA
