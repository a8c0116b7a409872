"""Costs that are made of other costs, from which all comes that is not said otherwise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel, KernelGraph

from .co_run import CoRun
from .costs import Costs, Device, Ranges


class DerivedCosts(Costs):
    """Other costs, with a ratio for shares; subclasses may change more.

    Parameters
    ----------
    base : Costs
    description : str
    """

    def __init__(self, base: Costs, description: str):
        for name in Costs.__annotations__:
            setattr(self, name, getattr(base, name))
        self.base, self.description = base, description

    def whole_s(self, device: Device, kernel: Kernel) -> float:
        """See `Costs.whole_s`."""
        return float(self.whole_of_many(device, [kernel])[0])

    def whole_of_many(self, device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
        """See `Costs.whole_of_many`."""
        return self.base.whole_of_many(device, kernels)

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """See `Costs.shares_s`."""
        seconds = np.asarray(self.base.shares_s(device, kernel, dim, ranges), float)
        return seconds * self._ratios(device, kernel, dim, _rows_of(ranges))

    def shares_of_many(self, device: Device, requests: Sequence[tuple[Kernel, int, np.ndarray]]) -> list[np.ndarray]:
        """See `Costs.shares_of_many`."""
        found = self.base.shares_of_many(device, requests)
        return [
            np.asarray(s, float) * self._ratios(device, kernel, dim, _rows_of(ranges))
            for s, (kernel, dim, ranges) in zip(found, requests, strict=True)
        ]

    @abstractmethod
    def _ratios(self, device: Device, kernel: Kernel, dim: int, rows: np.ndarray) -> np.ndarray:
        """Return the seconds of shares over those by the other costs, by the number of rows that they compute."""

    def epilogue_s(self, kernel: Kernel) -> float:
        """See `Costs.epilogue_s`."""
        return self.base.epilogue_s(kernel)

    def in_network_s(self, device: Device, seconds: np.ndarray) -> np.ndarray:
        """See `Costs.in_network_s`."""
        return self.base.in_network_s(device, seconds)

    def slowdown(self, device: Device) -> float:
        """See `Costs.slowdown`."""
        return self.base.slowdown(device)

    def co_run(self, device: Device) -> CoRun:
        """See `Costs.co_run`."""
        return self.base.co_run(device)

    def has_failed(self, device: Device, kernel: Kernel) -> bool:
        """See `Costs.has_failed`."""
        return self.base.has_failed(device, kernel)

    def samples_of(self, device: Device, kernel: Kernel) -> tuple[str, int] | None:
        """See `Costs.samples_of`."""
        return self.base.samples_of(device, kernel)

    def alone_s(self, device: Device, graph: KernelGraph) -> float | None:
        """See `Costs.alone_s`; scaled by what the kernels' sum is now, relative to that by the other costs."""
        found = self.base.alone_s(device, graph)
        if found is None:
            return None
        before, after = self._sum_kernels(device, graph)
        return found * after / before if before else found

    def network_s(self, device: Device, graph: KernelGraph) -> float:
        """See `Costs.network_s`."""
        found = self.alone_s(device, graph)
        if found is not None:
            return found
        before, after = self._sum_kernels(device, graph)
        return self.base.network_s(device, graph) - before + after

    def _sum_kernels(self, device: Device, graph: KernelGraph) -> tuple[float, float]:
        """Sums of all kernels by the other costs, and by these."""
        before, after = (float(c.whole_of_many(device, graph.kernels).sum()) for c in (self.base, self))
        return before, after


def _rows_of(ranges: Ranges) -> np.ndarray:
    return np.diff(np.asarray(ranges, float).reshape(-1, 2), axis=1)[:, 0]
