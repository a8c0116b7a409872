"""Polynomial corrections of profiles of earlier releases: of a sum of terms in the logarithms of the extents.

A correction multiplies the sum of terms by ``exp(polynomial)``. It is bounded outside the range that it was fitted to:
extents are clipped to that range, and the exponent to the largest residual of the samples. Models that are fitted now
have `residual_trees` instead. What both see of a kernel, `log_extents` and `tile_remainders`, other models see, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import mul
from typing import Any

import numpy as np

from ..features.workload import Number, Workload
from .regression import round_digits

_MIN_EXTENT = 1e-9
FORMS = ("linear", "quadratic", "bent")
_BENDS = (-0.6, -0.2, 0.2, 0.6)
_EXTENTS = 8


def log_extents(w: Workload) -> np.ndarray:
    """Return the logarithms of the extents, shape (8,) or (n, 8)."""
    return np.log(np.maximum(_stack_columns(_extents(w)), _MIN_EXTENT))


def _extents(w: Workload) -> tuple[Number, ...]:
    return (w.ic / w.groups, w.oc, w.oh, w.ow, w.kh * w.kw, w.sh * w.sw, w.groups, w.fused + 1.0)


_REMAINDERS = (
    *(("oc", t) for t in (4, 8, 16, 32)),
    *(("ow", t) for t in (2, 4, 7, 8)),
    *(("oh", 4), ("places", 8), ("ic", 4), ("ic", 8), ("ic", 16)),
)


def tile_remainders(w: Workload) -> np.ndarray:
    """Return the remainders of extents divided by tiles, as fractions of a tile, shape (13,) or (n, 13)."""
    extents = _tiled_extents(w)
    if all(not isinstance(e, np.ndarray) for e in extents.values()):
        return np.array([extents[name] % t / t for name, t in _REMAINDERS])
    parts = [(extents[name] / t, t) for name, t in _REMAINDERS]
    return _stack_columns([part - np.floor(part) for part, _ in parts])


def _tiled_extents(w: Workload) -> dict[str, Number]:
    return {"oc": w.oc, "ow": w.ow, "oh": w.oh, "ic": w.ic, "places": w.oh * w.ow}


def _stack_columns(values: Sequence[Number]) -> np.ndarray:
    """Stack numbers to a vector; if any is an array, to a table with one column each."""
    sizes = [len(v) for v in values if isinstance(v, np.ndarray)]
    if not sizes:
        return np.array(values, float)
    table = np.empty((max(sizes), len(values)))
    for i, v in enumerate(values):
        table[:, i] = v
    return table


@dataclass(frozen=True)
class Correction:
    """A fitted polynomial.

    Attributes
    ----------
    form : str
        ``linear``, ``quadratic``, or ``bent`` (quadratic with hinges, for classes with hundreds of samples).
    low, high : array
        Range of the logarithms of the samples.
    limit : float
        Bound of the exponent.
    coefficients : array
    """

    form: str
    low: np.ndarray
    high: np.ndarray
    limit: float
    coefficients: np.ndarray

    def factor(self, w: Workload) -> Number:
        """Return the factor of the sum of terms."""
        extents, divided = _extents(w), _tiled_extents(w)
        if any(isinstance(e, np.ndarray) for e in (*extents, *divided.values())):
            return np.exp(np.clip(self._evaluate(w), -self.limit, self.limit))
        return math.exp(min(self.limit, max(-self.limit, self._evaluate_one(extents, divided))))

    def _evaluate(self, w: Workload) -> np.ndarray:
        """Evaluate ``z Q z + l z + hinges + r remainders + constant``."""
        varied, scale, offset, linear, square, bent, rest, constant = self._parts
        z = np.minimum(1.0, np.maximum(-1.0, log_extents(w)[:, varied] * scale - offset))
        total = z @ linear + tile_remainders(w) @ rest + constant
        if square is not None:
            total = total + np.einsum("ij,ij->i", z @ square, z)
        if bent is not None:
            for bend, coefficients in zip(_BENDS, bent, strict=True):
                total = total + np.maximum(0.0, z - bend) @ coefficients
        return total

    def _evaluate_one(self, extents: tuple[float, ...], divided: dict[str, float]) -> float:
        """Evaluate one kernel without numpy, whose calls would take most of the time."""
        varied, scale, offset, linear, square, bent, rest, total = self._plain_parts
        z = [
            min(1.0, max(-1.0, math.log(max(extents[i], _MIN_EXTENT)) * s - o))
            for i, s, o in zip(varied, scale, offset, strict=True)
        ]
        total += sum(map(mul, linear, z))
        for zi, row in zip(z, square, strict=False):
            total += zi * sum(map(mul, row, z))
        for bend, coefficients in zip(_BENDS, bent, strict=False):
            total += sum([c * (zi - bend) for c, zi in zip(coefficients, z, strict=True) if zi > bend])
        for (name, tile), c in rest:
            total += c * (divided[name] % tile / tile)
        return total

    @cached_property
    def _plain_parts(self) -> tuple:
        varied, scale, offset, linear, square, bent, rest, constant = self._parts
        plain = [a.tolist() for a in (varied, scale, offset, linear)]
        plain += [[] if a is None else a.tolist() for a in (square, bent)]
        return (*plain, [r for r in zip(_REMAINDERS, rest.tolist(), strict=True) if r[1]], constant)

    @cached_property
    def _parts(self) -> tuple:
        varied = np.flatnonzero(self.high > self.low)
        low, high, n = self.low[varied], self.high[varied], len(varied)
        scale = 2 / (high - low)
        coefficients = iter(np.split(self.coefficients, np.cumsum(_count_coefficients(self.form, n))[:-1]))
        linear, square, bent = next(coefficients), None, None
        if self.form != "linear":
            square = np.zeros((n, n))
            square[np.triu_indices(n)] = next(coefficients)
        if self.form == "bent":
            bent = next(coefficients).reshape(len(_BENDS), n)
        rest, constant = next(coefficients), float(next(coefficients)[0])
        return varied, scale, low * scale + 1, linear, square, bent, rest, constant

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        ranges = round_digits(np.stack([self.low, self.high]).ravel())
        return {"form": self.form, "range": ranges, "limit": self.limit, "coefficients": list(self.coefficients)}

    @staticmethod
    def from_json(d: dict[str, Any]) -> Correction:
        """Read the values of `to_json`."""
        if d["form"] not in FORMS:
            raise ValueError(f"unknown form {d['form']!r}")
        low, high = np.array(d["range"], float).reshape(2, -1)
        coefficients = np.array(d["coefficients"], float)
        if len(low) != _EXTENTS or len(coefficients) != sum(_count_coefficients(d["form"], int((high > low).sum()))):
            raise ValueError("a correction has the wrong number of coefficients")
        return Correction(d["form"], low, high, float(d["limit"]), coefficients)


def _count_coefficients(form: str, extents: int) -> list[int]:
    """Return the number of coefficients of each part of the polynomial."""
    sizes = [extents]
    if form != "linear":
        sizes.append(extents * (extents + 1) // 2)
    if form == "bent":
        sizes.append(len(_BENDS) * extents)
    return [*sizes, len(_REMAINDERS), 1]
