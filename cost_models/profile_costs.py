"""The `Costs` of a profile: predictions of its latency models, corrected for whole networks, and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel, KernelGraph

from .co_run import CoRun
from .costs import Costs, Device, Ranges
from .features.describe import describe, describe_epilogue
from .features.shares import KernelShares, stack_shares
from .features.workload import Workload
from .models.base import LatencyModel, make_monotonic


@dataclass(frozen=True)
class NetworkCorrection:
    """Seconds of a whole network: ``a_s + b_s * kernels + c * sum_s``.

    Kernels are measured one by one with warm caches. In a network the executor adds time per kernel, and caches are
    colder.
    """

    a_s: float = 0.0
    b_s: float = 0.0
    c: float = 1.0

    def seconds(self, kernels: float, sum_s: float) -> float:
        """Return the seconds of a network with that number of kernels and that sum of their times."""
        return self.a_s + self.b_s * kernels + self.c * sum_s


class ProfileCosts(Costs):
    """Costs from one latency model per device.

    Attributes
    ----------
    devices : mapping of str to LatencyModel
        ``cpu`` and ``gpu``.
    contention : mapping of str to CoRun
        Co-run slowdown by device.
    networks : mapping of str to NetworkCorrection
        By device; without one there is no correction.
    """

    devices: Mapping[str, LatencyModel]
    contention: Mapping[str, CoRun]
    networks: Mapping[str, NetworkCorrection]

    def whole_s(self, device: Device, kernel: Kernel) -> float:
        """See `Costs.whole_s`; within a network, including the executor's time per kernel."""
        if kernel.is_free:
            return 0.0
        return float(self.in_network_s(device, self.devices[device].predict(describe(kernel, device)))[0])

    def whole_of_many(self, device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
        """See `Costs.whole_of_many`."""
        seconds, at = np.zeros(len(kernels)), [i for i, k in enumerate(kernels) if not k.is_free]
        if at:
            predicted = self.devices[device].predict([describe(kernels[i], device) for i in at])
            seconds[at] = self.in_network_s(device, predicted)
        return seconds

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """See `Costs.shares_s`; a larger share never takes less time, unless it divides into other blocks."""
        rows = np.asarray(ranges, float).reshape(-1, 2)
        seconds, some = np.zeros(len(rows)), rows[:, 1] > rows[:, 0]
        if some.any():
            seconds[some] = self.shares_of_many(device, [(kernel, dim, rows[some])])[0]
        return seconds

    def shares_of_many(self, device: Device, requests: Sequence[tuple[Kernel, int, np.ndarray]]) -> list[np.ndarray]:
        """See `Costs.shares_of_many`; one prediction per kernel class."""
        found: list[np.ndarray] = [np.zeros(len(rows)) for _, _, rows in requests]
        whole: dict[int, Workload] = {}
        by_class: dict[str, list[tuple[int, KernelShares]]] = {}
        for number, (kernel, dim, rows) in enumerate(requests):
            if kernel.is_free:
                continue
            if id(kernel) not in whole:
                whole[id(kernel)] = describe(kernel, device)
            shares = KernelShares(kernel, whole[id(kernel)], kernel.axis(dim), rows)
            by_class.setdefault(shares.whole.key, []).append((number, shares))
        for members in by_class.values():
            together = stack_shares([shares for _, shares in members])
            sizes = [len(shares.ranges) for _, shares in members]
            seconds = np.array(self.devices[device].predict(together), float)
            make_monotonic(together, seconds, np.repeat(np.arange(len(sizes)), sizes))
            parts = np.split(self.in_network_s(device, seconds), np.cumsum(sizes)[:-1])
            for (number, _), part in zip(members, parts, strict=True):
                found[number] = part
        return found

    def epilogue_s(self, kernel: Kernel) -> float:
        """See `Costs.epilogue_s`; predicted as an elementwise kernel."""
        predicted = self.devices["cpu"].predict(describe_epilogue(kernel))
        return max(super().epilogue_s(kernel), float(self.in_network_s("cpu", predicted)[0]))

    def in_network_s(self, device: Device, seconds: np.ndarray) -> np.ndarray:
        """See `Costs.in_network_s`; the constant of the whole network is not in it."""
        correction = self.networks.get(device)
        return seconds if correction is None else correction.b_s + correction.c * seconds

    def samples_of(self, device: Device, kernel: Kernel) -> tuple[str, int] | None:
        """See `Costs.samples_of`."""
        if kernel.is_free:
            return None
        workload = describe(kernel, device)
        samples = self.devices[device].samples_of(workload)
        return None if samples is None else (workload.key, samples)

    def slowdown(self, device: Device) -> float:
        """See `Costs.slowdown`."""
        return self.co_run(device).typical

    def co_run(self, device: Device) -> CoRun:
        """See `Costs.co_run`."""
        return self.contention.get(device, CoRun())

    def network_s(self, device: Device, graph: KernelGraph) -> float:
        """Return the seconds of a whole network on one device."""
        constant = self.networks[device].a_s if device in self.networks else 0.0
        return constant + sum(self.whole_s(device, k) for k in graph.kernels)
