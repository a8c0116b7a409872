"""Costs corrected by recorded runs of a model: the ratio of what its kernels took to what was predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel

from .costs import Costs, Device, Ranges
from .derived import DerivedCosts

# A ratio beyond these is taken for a disturbance, or for a kernel that was not recorded as a whole.
LARGEST_RATIO = 4.0


class CorrectedCosts(DerivedCosts):
    """Other costs, times a ratio for some kernels.

    Parameters
    ----------
    base : Costs
    ratios : mapping of (str, str) to float
        By device and kernel signature (see `Kernel`): recorded over predicted seconds, limited to `LARGEST_RATIO` and
        its reciprocal. A kernel's shares and the whole kernel have the same.
    """

    def __init__(self, base: Costs, ratios: Mapping[tuple[str, str], float]):
        super().__init__(base, f"{base.description}; corrected by recorded runs")
        self.ratios = {key: min(LARGEST_RATIO, max(1.0 / LARGEST_RATIO, r)) for key, r in ratios.items()}

    def whole_of_many(self, device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
        """See `Costs.whole_of_many`."""
        ratios = [self._ratio(device, k) for k in kernels]
        return np.asarray(self.base.whole_of_many(device, kernels), float) * ratios

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """See `Costs.shares_s`."""
        return np.asarray(self.base.shares_s(device, kernel, dim, ranges), float) * self._ratio(device, kernel)

    def shares_of_many(self, device: Device, requests: Sequence[tuple[Kernel, int, np.ndarray]]) -> list[np.ndarray]:
        """See `Costs.shares_of_many`."""
        found = self.base.shares_of_many(device, requests)
        return [
            np.asarray(s, float) * self._ratio(device, kernel) for s, (kernel, *_) in zip(found, requests, strict=True)
        ]

    def _ratio(self, device: Device, kernel: Kernel) -> float:
        return self.ratios.get((device, kernel.signature()), 1.0)
