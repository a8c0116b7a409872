"""What a planner asks of a cost model, and what moving data costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tvm_coexec.core.access import Range
from tvm_coexec.core.kernel_graph import Kernel, KernelGraph

if TYPE_CHECKING:
    from .features.workload import Number
    from .power import Power

Device = str  # "cpu" or "gpu"
Ranges: TypeAlias = "Sequence[Range] | np.ndarray"  # ranges of rows; an array has the shape (n, 2)


@dataclass(frozen=True)
class Link:
    """Time to move a tensor: ``constant_s + nbytes * per_byte_s`` (CoDL, MobiSys 2022, section 5: linear in bytes)."""

    constant_s: float
    per_byte_s: float

    def seconds(self, nbytes: Number) -> Number:
        """Seconds to move `nbytes` bytes, a number or an array; 0 where there are none."""
        return nbytes * self.per_byte_s + self.constant_s * (nbytes > 0)


# Where nothing was measured: a driver's call, and 5 GB/s.
DEFAULT_LINK = Link(5e-5, 2e-10)
DEFAULT_HOST_COPY = Link(5e-6, 2e-10)


class Costs(ABC):
    """Predicted seconds of kernels, shares and copies on a pair of devices.

    A cost model is a subclass with `whole_s`, `shares_s` and `slowdown`. Everything else has a default, to be replaced
    where more is known.

    Attributes
    ----------
    description : str
        Where the numbers come from, for plans and reports.
    upload, download : Link
        Copies from the CPU to the GPU and back.
    host_copy : Link
        A slice or a concatenation on the CPU, per byte written.
    sync_s : float
        What the host waits for the GPU at each copy back, beyond the copy and the GPU's work.
    enqueue_s : float
        Launch overhead: what the host spends to enqueue one kernel on the GPU.
    memory : {"copied", "mapped", "shared"}
        How plans are made to hand tensors over: by copies; by mapping memory that both devices have, which takes the
        links' constants; or through memory that both see at once, where only `sync_s` is left.
    plan_factor : float
        Co-run calibration: how many times longer the devices' shares take than predicted, as seen in verified plans.
    power : Power or None
        Watts of the devices; the objectives energy and edp need it.
    error : mapping of str to float
        Relative error of the sum over a network's kernels, by device; empty if unknown. A plan's margin follows it.
    """

    description: str = "a cost model of the user's own"
    upload: Link = DEFAULT_LINK
    download: Link = DEFAULT_LINK
    host_copy: Link = DEFAULT_HOST_COPY
    sync_s: float = 0.0
    enqueue_s: float = 0.0
    memory: str = "copied"
    plan_factor: float = 1.0
    power: Power | None = None
    error: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def whole_s(self, device: Device, kernel: Kernel) -> float:
        """Seconds of the undivided kernel on a device."""

    @abstractmethod
    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """Seconds of the kernel on each output range along `dim`, shape (n,); an empty range takes no time."""

    @abstractmethod
    def slowdown(self, device: Device) -> float:
        """Co-run slowdown: how many times longer a device takes while the other one works, too (shared memory)."""

    def whole_of_many(self, device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
        """`whole_s` of many kernels, shape (n,); replace it where a model is faster on a batch."""
        return np.array([self.whole_s(device, k) for k in kernels], float)

    def shares_of_many(self, device: Device, requests: Sequence[tuple[Kernel, int, np.ndarray]]) -> list[np.ndarray]:
        """`shares_s` of many kernels; replace it where a model is faster on a batch.

        Parameters
        ----------
        device : {"cpu", "gpu"}
        requests : sequence of (Kernel, int, array)
            Kernel, dimension, and ranges of shape (n, 2), none of them empty.

        Returns
        -------
        list of array
            Seconds, of shape (n,) each.
        """
        return [np.asarray(self.shares_s(device, kernel, dim, rows), float) for kernel, dim, rows in requests]

    def has_failed(self, device: Device, kernel: Kernel) -> bool:
        """Whether the kernel was tried on the device and failed there."""
        return False

    def alone_s(self, device: Device, graph: KernelGraph) -> float | None:
        """Measured seconds of the whole graph on one device; `None` where it was not measured."""
        return None


@dataclass(frozen=True)
class Roofline:
    """Peak rates of a device: FLOP/s, bytes/s, and seconds per launch."""

    flops_per_s: float
    bytes_per_s: float
    launch_s: float


class AnalyticCosts(Costs):
    """A roofline for each device: the larger of compute and memory time, plus the launch.

    For devices that were not measured. It separates compute-intensive kernels from light ones; it can't place a cut.

    Parameters
    ----------
    cpu, gpu : Roofline
    upload, download, host_copy : Link
    description : str
    """

    def __init__(
        self,
        cpu: Roofline = Roofline(2e10, 8e9, 2e-6),
        gpu: Roofline = Roofline(2e10, 8e9, 2e-5),
        upload: Link = DEFAULT_LINK,
        download: Link = DEFAULT_LINK,
        host_copy: Link = DEFAULT_HOST_COPY,
        description: str = "generic roofline, not measured on these devices",
    ):
        self.devices = {"cpu": cpu, "gpu": gpu}
        self.upload, self.download, self.host_copy = upload, download, host_copy
        self.description = description

    def whole_s(self, device: Device, kernel: Kernel) -> float:
        """See `Costs.whole_s`."""
        roof = self.devices[device]
        nbytes = kernel.in_bytes + kernel.out_bytes + kernel.weight_bytes
        return roof.launch_s + max(kernel.flops / roof.flops_per_s, nbytes / roof.bytes_per_s)

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """See `Costs.shares_s`; time scales with the share of the output."""
        launch, total = self.devices[device].launch_s, self.whole_s(device, kernel)
        extent = kernel.axis(dim).extent
        rows = np.diff(np.asarray(ranges, float).reshape(-1, 2), axis=1)[:, 0]
        return np.where(rows > 0, launch + (total - launch) * rows / extent, 0.0)

    def slowdown(self, device: Device) -> float:
        """See `Costs.slowdown`; a roofline has none."""
        return 1.0
