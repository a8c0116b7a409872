"""Costs corrected by recorded runs of a model: the ratio of what its kernels took to what was predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel

from .costs import Costs, Device
from .derived import DerivedCosts
from .measured import WHOLE, ShareKey

# A ratio beyond these is taken for a disturbance, or for a kernel that was not recorded as a whole.
LARGEST_RATIO = 4.0
# How much of a kernel's ratios counts where it was not recorded: along other axes, undivided, and for all rows. Part of
# an error is the kernel's, and part is of the very share: of how its rows fill the schedule's tiles.
ELSEWHERE = 0.5


class CorrectedCosts(DerivedCosts):
    """Other costs, times a ratio for kernels that were recorded.

    A recorded share, and a kernel that was recorded undivided, have their own ratio. Along the same axis it is
    interpolated between recorded shares, and from the largest of them to all rows; below the smallest it is constant.
    All rows, other axes, and the undivided kernel where it was not recorded have the geometric mean of the kernel's
    ratios on the device, to the power of `ELSEWHERE`.

    Parameters
    ----------
    base : Costs
    ratios : mapping of ShareKey to float
        Recorded over predicted seconds. Limited to `LARGEST_RATIO` and its reciprocal.
    """

    def __init__(self, base: Costs, ratios: Mapping[ShareKey, float]):
        super().__init__(base, f"{base.description}; corrected by recorded runs")
        self._points: dict[tuple[str, str, int], dict[int, float]] = {}
        logs: dict[tuple[str, str], list[float]] = {}
        for share, ratio in ratios.items():
            value = min(LARGEST_RATIO, max(1.0 / LARGEST_RATIO, ratio))
            self._points.setdefault((share.device, share.kernel, share.dim), {})[share.rows] = value
            logs.setdefault((share.device, share.kernel), []).append(math.log(value))
        self._elsewhere = {key: math.exp(ELSEWHERE * sum(its) / len(its)) for key, its in logs.items()}

    def whole_of_many(self, device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
        """See `Costs.whole_of_many`."""
        ratios = [self._ratio_of_whole(device, k) for k in kernels]
        return np.asarray(self.base.whole_of_many(device, kernels), float) * ratios

    def _ratio_of_whole(self, device: Device, kernel: Kernel) -> float:
        signature = kernel.signature()
        found = self._points.get((device, signature, WHOLE), {}).get(0)
        return self._elsewhere.get((device, signature), 1.0) if found is None else found

    def _ratios(self, device: Device, kernel: Kernel, dim: int, rows: np.ndarray) -> np.ndarray:
        points = sorted(self._points.get((device, kernel.signature(), dim), {}).items())
        extent = kernel.axis(dim).extent
        if not points or points[-1][0] < extent:
            points.append((extent, self._ratio_of_whole(device, kernel)))
        return np.interp(rows, [at for at, _ in points], [ratio for _, ratio in points])
