"""Co-run slowdown: how much longer a device takes while the other one works, by what both need of memory bandwidth.

Two kernels that compute hardly slow each other; two that wait for memory share its bandwidth. What a kernel needs is
the bytes that it has to read and write over its time alone, its *demand*, so that a few measured pairs of kernels are
enough to predict others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .features.workload import Number, Workload
from .models.regression import fit_non_negative, round_digits

GIGA = 1e9
# With fewer pairs the three coefficients are not determined well.
LEAST_PAIRS = 6


@dataclass(frozen=True)
class CoRun:
    """Co-run slowdown of one device: ``constant + per_other * other + per_pair * own * other``, demands in GB/s.

    Attributes
    ----------
    typical : float
        The slowdown where demands are not known; at least 1.
    constant : float or None
        At least 1. `None`: it is `typical` for all kernels.
    per_other, per_pair : float
        Per GB/s of the other device's demand, and per product of both demands, (GB/s)^2.
    """

    typical: float = 1.0
    constant: float | None = None
    per_other: float = 0.0
    per_pair: float = 0.0

    @property
    def depends_on_demand(self) -> bool:
        """Whether it differs between kernels."""
        return self.constant is not None

    def slowdown(self, own: Number, other: Number) -> Number:
        """Return how many times as long a kernel takes.

        Parameters
        ----------
        own, other : float or array
            Bytes per second that the kernel, and what the other device runs, read and write when alone.
        """
        if self.constant is None:
            return self.typical
        return self.constant + (self.per_other + self.per_pair * (own / GIGA)) * (other / GIGA)

    def to_json(self) -> float | list[float]:
        """Return the typical slowdown if it is that of all kernels, else all four numbers."""
        return self.typical if self.constant is None else [self.typical, self.constant, self.per_other, self.per_pair]

    @staticmethod
    def from_json(value: Any) -> CoRun:
        """Read a value of `to_json`; raise `TypeError` or `ValueError` for others."""
        numbers = [float(v) for v in value] if isinstance(value, list) else [float(value)]
        if len(numbers) not in (1, 4) or not all(0 <= n < float("inf") for n in numbers):
            raise ValueError(f"contention {value}")
        return CoRun(*numbers)


def fit_co_run(pairs: Sequence[Mapping[str, Any]]) -> CoRun:
    """Fit the co-run slowdown of a device to measured pairs of kernels.

    Parameters
    ----------
    pairs : sequence of mapping
        ``workload``, ``alone_s`` and ``together_s`` of the device's kernel, and of the other device's ``other`` and
        ``other_s``, its workload and its seconds alone. With fewer than `LEAST_PAIRS` that have the latter, only the
        typical slowdown is found: the median.

    Returns
    -------
    CoRun
        The one with the least relative error of ``together_s``; its coefficients are not negative.
    """
    ratio = np.array([p["together_s"] / p["alone_s"] for p in pairs], float)
    whole = [i for i, p in enumerate(pairs) if "other" in p]
    typical = max(1.0, round_digits(np.array([np.median(ratio)]))[0])
    if len(whole) < LEAST_PAIRS:
        return CoRun(typical)
    own = np.array([_demand(pairs[i]["workload"], pairs[i]["alone_s"]) for i in whole]) / GIGA
    other = np.array([_demand(pairs[i]["other"], pairs[i]["other_s"]) for i in whole]) / GIGA
    terms = np.stack([np.ones_like(own), other, own * other], 1)
    constant, per_other, per_pair = round_digits(fit_non_negative(terms, ratio[whole]))
    return CoRun(typical, max(1.0, constant), per_other, per_pair)


def _demand(workload: Mapping[str, Any], seconds: float) -> float:
    return float(Workload.from_json(dict(workload)).traffic_bytes) / seconds
