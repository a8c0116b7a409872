"""What a planner asks of a cost model, and what moving data costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tvm_coexec.core.access import Range
from tvm_coexec.core.kernel_graph import Kernel

Device = str  # "cpu" or "gpu"


@dataclass(frozen=True)
class Link:
    """Time to move a tensor: ``constant_s + nbytes * per_byte_s`` (CoDL, MobiSys 2022, section 5: linear in bytes)."""

    constant_s: float
    per_byte_s: float

    def seconds(self, nbytes: float) -> float:
        """Seconds for ``nbytes`` bytes; nothing moves in no time."""
        return self.constant_s + nbytes * self.per_byte_s if nbytes else 0.0


class Costs(Protocol):
    """Predicted seconds of kernels, shares and copies on one pair of devices.

    Attributes
    ----------
    description : str
        Where the numbers come from, for plans and reports.
    upload, download : Link
        CPU to GPU and back, the wait included.
    host_copy : Link
        A slice or a concatenation on the CPU, per byte written.
    enqueue_s : float, optional
        What the CPU spends on handing one kernel to the GPU; 0 where it is missing.
    """

    description: str
    upload: Link
    download: Link
    host_copy: Link

    def whole_s(self, device: Device, kernel: Kernel) -> float:
        """Seconds of the whole kernel on a device."""
        ...

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Sequence[Range]) -> np.ndarray:
        """Seconds of the kernel on each output range along ``dim``, shape (n,); an empty range costs nothing."""
        ...

    def slowdown(self, device: Device) -> float:
        """How many times as long a device takes while the other works, too: they share one memory."""
        ...


@dataclass(frozen=True)
class Roofline:
    """Peak rates of a device: FLOP/s, bytes/s, and seconds per launch."""

    flops_per_s: float
    bytes_per_s: float
    launch_s: float


class AnalyticCosts:
    """A roofline for each device: the larger of compute and memory time, plus the launch.

    The answer where nothing was measured. Good enough to tell a heavy kernel from a light one, not to fine-tune a cut.

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
        upload: Link = Link(5e-5, 2e-10),
        download: Link = Link(5e-5, 2e-10),
        host_copy: Link = Link(5e-6, 2e-10),
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

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Sequence[Range]) -> np.ndarray:
        """See `Costs.shares_s`; time scales with the share of the output."""
        launch, total = self.devices[device].launch_s, self.whole_s(device, kernel)
        extent = kernel.axis(dim).extent
        rows = np.diff(np.asarray(ranges, float).reshape(-1, 2), axis=1)[:, 0]
        return np.where(rows > 0, launch + (total - launch) * rows / extent, 0.0)

    def slowdown(self, device: Device) -> float:
        """See `Costs.slowdown`; nothing is known of it."""
        return 1.0
