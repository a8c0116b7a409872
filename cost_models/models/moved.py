"""A model of a new device from models of other devices and few measurements of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from ..features.tile_parts import NUMBERS, describe_tiles
from ..features.workload import Workload, Workloads, group_by_class
from ..one_thread import on_one_thread
from .base import LatencyModel, check_samples

# Standard deviations of the parts of the logarithm of two devices' ratio; see `_covariance`.
_OFFSET, _KIND, _CLASS, _SLOPE, _LOCAL, _DONORS, _NOISE = 1.0, 0.3, 0.3, 0.15, 0.25, 0.4, 0.05
_TILES = 0.4
_LENGTH = 1.6  # of the local parts, in units of `_SPREADS`
# Typical spreads of the logarithms of multiply-adds, bytes, outputs, weights, channels in and out, columns and kernel.
_SPREADS = np.array((2.0, 1.4, 1.4, 2.0, 1.5, 1.2, 1.0, 1.1))
_DIGITS = 4
# Standard deviations of its prediction by the others, from which on a measurement has a noise of its own.
_OUTLIER = 2.0
_NOISE_ROUNDS = 8  # after which no noise changes much
_MOST_CANDIDATES = 1500
_MOST_SAMPLES = 500  # of more, so many are kept: then a model of its own is better


@dataclass(frozen=True)
class _Kernels:
    """What the process sees of n kernels.

    Attributes
    ----------
    keys : array of str, shape (n,)
        Classes.
    logs : array, shape (n, 8)
        Logarithms of extents and sizes, in units of `_SPREADS`.
    means, differences : array, shape (n,) and (n, donors)
        Mean logarithm of the donors' seconds, and what each differs from it.
    tiles : array, shape (n, NUMBERS) or (n, 0)
        See `describe_tiles`; only for devices made of CPU cores.
    """

    keys: np.ndarray
    logs: np.ndarray
    means: np.ndarray
    differences: np.ndarray
    tiles: np.ndarray

    @cached_property
    def kinds(self) -> np.ndarray:
        """Kinds of the classes."""
        classes, where = np.unique(self.keys, return_inverse=True)
        return np.array([c.split("/")[0] for c in classes])[where]

    def take(self, rows: Sequence[int] | np.ndarray) -> _Kernels:
        return _Kernels(*(getattr(self, f.name)[rows] for f in fields(self)))

    @staticmethod
    def join(parts: Sequence[_Kernels]) -> _Kernels:
        return _Kernels(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(_Kernels)))

    def rounded(self) -> _Kernels:
        """What a file can hold."""
        logs, differences, tiles = (v.round(_DIGITS) for v in (self.logs, self.differences, self.tiles))
        return replace(self, logs=logs, differences=differences, tiles=tiles)


class MovedModel(LatencyModel):
    """The mean logarithm of other devices' predictions, plus a Gaussian process of what the new device differs by.

    The process describes the logarithm of the ratio of the devices' times as a sum: an offset, an offset of each kind
    and class, slopes in the logarithms of extents and sizes and in what the donors differ by, and a smooth part that
    similar kernels share. Each has a prior around zero, so that few measurements change no more than they tell of.

    Compilers make some kernels several times slower than their neighbours. So that such a measurement does not decide
    for all kernels near it, one that is far from what the others say of it has a noise of its own.

    Parameters
    ----------
    donors : sequence of LatencyModel
        Fitted to the other devices.
    work_groups : bool
        Whether kernels have this package's OpenCL schedules on a device made of CPU cores: then there is another smooth
        part, which kernels with similar tiles share, too.
    """

    name: ClassVar[str] = "moved"

    def __init__(self, donors: Sequence[LatencyModel], work_groups: bool = False):
        self.donors, self.work_groups = tuple(donors), work_groups

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`; 10 to 50 kernels are enough (see `choose_informative`)."""
        groups, y = check_samples(kernels, seconds)
        return self._condition(*self._describe_samples(groups, y))

    def refined(self, kernels: Workloads, seconds: np.ndarray) -> MovedModel:
        """Return a model with more measurements of the device."""
        self.check_fitted()
        found, ratios = self._describe_samples(*check_samples(kernels, seconds))
        every = _Kernels.join([self.measured_, found])
        return MovedModel(self.donors, self.work_groups)._condition(every, np.concatenate([self.ratios_, ratios]))

    def _describe_samples(self, groups: list, y: np.ndarray) -> tuple[_Kernels, np.ndarray]:
        """Return the kernels, and the logarithms of measured seconds over the donors' mean."""
        found = _Kernels.join([_describe(self.donors, w, self.work_groups) for w, _ in groups])
        ratios = np.log(np.concatenate([y[where] for _, where in groups])) - found.means
        return found.rounded(), ratios.round(_DIGITS)

    @on_one_thread
    def _condition(self, measured: _Kernels, ratios: np.ndarray) -> Self:
        if len(ratios) > _MOST_SAMPLES:
            kept = np.linspace(0, len(ratios) - 1, _MOST_SAMPLES).astype(int)
            measured, ratios = measured.take(kept), ratios[kept]
        self.measured_, self.ratios_ = measured, ratios
        self._middle = float(np.median(ratios))
        self._weights = _find_weights(_covariance(measured, measured), ratios - self._middle)
        return self

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        found = _describe(self.donors, w, self.work_groups)
        return np.exp(
            found.means + self._middle + np.einsum("ij,j->i", _covariance(found, self.measured_), self._weights)
        )

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`."""
        return all(donor.knows(w) for donor in self.donors)

    def for_device(self, device: str) -> Self:
        """See `LatencyModel.for_device`."""
        for donor in self.donors:
            donor.for_device(device)
        return self

    def silence_warnings(self) -> Self:
        """See `LatencyModel.silence_warnings`."""
        for donor in self.donors:
            donor.silence_warnings()
        return self

    def samples_of(self, w: Workload) -> int | None:
        """See `LatencyModel.samples_of`; the donors' samples and the device's own."""
        counts = [n for donor in self.donors if (n := donor.samples_of(w)) is not None]
        return max(counts) + int((self.measured_.keys == w.key).sum()) if counts else None

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        m = self.measured_
        rows = [
            [str(key), *numbers]
            for key, numbers in zip(
                m.keys, np.column_stack([m.logs, m.differences, m.tiles, self.ratios_]).tolist(), strict=True
            )
        ]
        state = {"donors": [{"model": d.name, **d.state()} for d in self.donors], "measured": rows}
        return {"work_groups": True, **state} if self.work_groups else state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        from .registry import model_from_state

        work_groups = bool(state.get("work_groups", False))
        model = cls([model_from_state(d) for d in state["donors"]], work_groups)
        rows = state["measured"]
        numbers = np.array([row[1:] for row in rows], float)
        ends = np.cumsum([len(_SPREADS), len(model.donors), NUMBERS if work_groups else 0])
        if not model.donors or numbers.ndim != 2 or numbers.shape[1] != ends[-1] + 1 or not np.isfinite(numbers).all():
            raise ValueError("measured")
        logs, differences, tiles, ratios = np.split(numbers, ends, axis=1)
        keys = np.array([str(row[0]) for row in rows])
        return model._condition(_Kernels(keys, logs, np.zeros(len(rows)), differences, tiles), ratios[:, 0])


def choose_informative(
    kernels: Workloads, count: int, donors: Sequence[LatencyModel], work_groups: bool = False
) -> list[int]:
    """Choose the kernels to measure on a new device: those that leave the least uncertainty about all.

    Greedy: each next one reduces most the variance that the process of `MovedModel` leaves, the mean over all kernels.
    The times are not needed for it (Krause et al., JMLR 2008).

    Parameters
    ----------
    kernels : Workload or sequence of Workload
    count : int
    donors : sequence of LatencyModel
        Models of other devices.
    work_groups : bool
        As of `MovedModel`.

    Returns
    -------
    list of int
        At most `count` positions, the most informative first; deterministic.
    """
    groups, total = group_by_class(kernels)
    if not total:
        return []
    every = _Kernels.join([_describe(donors, w, work_groups) for w, _ in groups])
    position = np.concatenate([where for _, where in groups])
    table = np.column_stack([np.unique(every.keys, return_inverse=True)[1], every.logs.round(_DIGITS)])
    _, first, counts = np.unique(table, axis=0, return_index=True, return_counts=True)
    if len(first) > _MOST_CANDIDATES:
        kept = np.linspace(0, len(first) - 1, _MOST_CANDIDATES).astype(int)
        first, counts = first[kept], counts[kept]
    different = every.take(first)
    left = _covariance(different, different)
    weights = counts / counts.sum()
    chosen: list[int] = []
    for _ in range(min(count, len(first))):
        gain = weights @ left**2 / (left.diagonal() + _NOISE**2)
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + _NOISE**2)
    return [int(position[first[i]]) for i in chosen]


def _find_weights(prior: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the weights of measurements, of which outliers have a noise of their own and others `_NOISE`.

    What a measurement differs by from its prediction by all others has two parts: the uncertainty of that prediction
    and the measurement's noise. In turns the noise of outliers is what the uncertainty does not account for, and
    predictions are made with that noise. Predictions without one measurement: Rasmussen and Williams, Gaussian
    Processes for Machine Learning (2006), section 5.4.2.
    """
    noise = np.full(len(values), _NOISE**2)
    for _ in range(_NOISE_ROUNDS):
        inverse = np.linalg.inv(prior + np.diag(noise))
        uncertainty = 1.0 / inverse.diagonal() - noise
        squares = (inverse @ values / inverse.diagonal()) ** 2
        is_outlier = squares > _OUTLIER**2 * (uncertainty + _NOISE**2)
        noise = np.where(is_outlier, squares - uncertainty, _NOISE**2)
    return np.linalg.solve(prior + np.diag(noise), values)


def _describe(donors: Sequence[LatencyModel], w: Workload, work_groups: bool) -> _Kernels:
    n = w.size
    numbers = (
        *(w.macs + 1.0, w.traffic_bytes, w.batch * w.oc * w.oh * w.ow, w.weight_bytes + 1.0),
        *(w.ic / w.groups, w.oc, w.ow, w.kh * w.kw),
    )
    table = np.stack([np.broadcast_to(np.asarray(v, float), (n,)) for v in numbers], 1)
    logs = np.log(np.maximum(table, 1.0)) / _SPREADS
    found = np.stack([np.log(donor.predict(w)) for donor in donors], 1)
    means = found.mean(axis=1)
    tiles = describe_tiles(w) if work_groups else np.zeros((n, 0))
    return _Kernels(np.full(n, w.key), logs, means, found - means[:, None], tiles)


def _covariance(a: _Kernels, b: _Kernels) -> np.ndarray:
    """Return the prior covariance of the logarithmic ratios of kernels, shape (len(a), len(b))."""
    same = (a.keys[:, None] == b.keys[None]).astype(float)
    same_kind = (a.kinds[:, None] == b.kinds[None]).astype(float)
    middle = b.logs.mean(axis=0)
    slopes = np.einsum("ik,jk->ij", a.logs - middle, b.logs - middle) / len(_SPREADS)
    distance = _squared_distances(a.logs, b.logs)
    found = _OFFSET**2 + _KIND**2 * same_kind + _CLASS**2 * same
    found += _SLOPE**2 * slopes * (0.5 + 0.5 * same) + _LOCAL**2 * np.exp(-distance / 2) * (0.3 + 0.7 * same)
    if a.tiles.size:
        # the first number is whether a kernel has tiles
        apart = distance + _squared_distances(a.tiles, b.tiles)
        found += _TILES**2 * np.exp(-apart / 2) * np.outer(a.tiles[:, 0], b.tiles[:, 0])
    return found + _DONORS**2 * np.einsum("ik,jk->ij", a.differences, b.differences)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances of rows, in units of `_LENGTH`, without an array of all differences."""
    products = np.einsum("ik,jk->ij", a, b)
    found = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2.0 * products
    return np.maximum(found, 0.0) / _LENGTH**2
