"""Costs corrected by recorded runs of a model: the ratio of what its kernels took to what was predicted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel

from .costs import Costs, Device, Ranges
from .derived import DerivedCosts
from .measured import WHOLE

# A ratio beyond these is taken for a disturbance, or for a kernel that was not recorded as a whole.
LARGEST_RATIO = 4.0
# How much of a kernel's ratios counts where it was not recorded: along other axes, undivided, and for all rows. Part of
# an error is the kernel's, and part is of the very share: of how its rows fill the schedule's tiles.
ELSEWHERE = 0.5


class Ratio(NamedTuple):
    """Recorded over predicted seconds of a kernel, or of a share of it.

    Attributes
    ----------
    device : {"cpu", "gpu"}
    kernel : str
        Its signature (see `Kernel`).
    dim : int
        The dimension that is split; `measured.WHOLE` for a whole kernel.
    rows : int
        Of the share; 0 for a whole kernel.
    value : float
    """

    device: str
    kernel: str
    dim: int
    rows: int
    value: float


class CorrectedCosts(DerivedCosts):
    """Other costs, times a ratio for kernels that were recorded.

    A recorded share, and a kernel that was recorded undivided, have their own ratio. Along the same axis it is
    interpolated between recorded shares, and from the largest of them to all rows; below the smallest it is constant.
    All rows, other axes, and the undivided kernel where it was not recorded have the geometric mean of the kernel's
    ratios on the device, to the power of `ELSEWHERE`.

    Parameters
    ----------
    base : Costs
    ratios : iterable of Ratio
        Limited to `LARGEST_RATIO` and its reciprocal.
    """

    def __init__(self, base: Costs, ratios: Iterable[Ratio]):
        super().__init__(base, f"{base.description}; corrected by recorded runs")
        self.ratios = tuple(ratios)
        self._points: dict[tuple[str, str, int], dict[int, float]] = {}
        logs: dict[tuple[str, str], list[float]] = {}
        for r in self.ratios:
            value = min(LARGEST_RATIO, max(1.0 / LARGEST_RATIO, r.value))
            self._points.setdefault((r.device, r.kernel, r.dim), {})[r.rows] = value
            logs.setdefault((r.device, r.kernel), []).append(math.log(value))
        self._elsewhere = {key: math.exp(ELSEWHERE * sum(its) / len(its)) for key, its in logs.items()}

    def whole_of_many(self, device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
        """See `Costs.whole_of_many`."""
        ratios = [self._ratio_of_whole(device, k) for k in kernels]
        return np.asarray(self.base.whole_of_many(device, kernels), float) * ratios

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """See `Costs.shares_s`."""
        seconds = np.asarray(self.base.shares_s(device, kernel, dim, ranges), float)
        return seconds * self._ratios(device, kernel, dim, ranges)

    def shares_of_many(self, device: Device, requests: Sequence[tuple[Kernel, int, np.ndarray]]) -> list[np.ndarray]:
        """See `Costs.shares_of_many`."""
        found = self.base.shares_of_many(device, requests)
        return [np.asarray(s, float) * self._ratios(device, *r) for s, r in zip(found, requests, strict=True)]

    def _ratio_of_whole(self, device: Device, kernel: Kernel) -> float:
        signature = kernel.signature()
        found = self._points.get((device, signature, WHOLE), {}).get(0)
        return self._elsewhere.get((device, signature), 1.0) if found is None else found

    def _ratios(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        rows = np.diff(np.asarray(ranges, float).reshape(-1, 2), axis=1)[:, 0]
        points = sorted(self._points.get((device, kernel.signature(), dim), {}).items())
        extent = kernel.axis(dim).extent
        if not points or points[-1][0] < extent:
            points.append((extent, self._ratio_of_whole(device, kernel)))
        return np.interp(rows, [at for at, _ in points], [ratio for _, ratio in points])
