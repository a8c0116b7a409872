"""The interface of cost models, and links."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tvm_coexec.core.access import Range
from tvm_coexec.core.devices import MEMORY, RUNTIMES, check_memory, parse_memory
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import Kernel, KernelGraph

from .co_run import CoRun
from .features.describe import describe, describe_epilogue
from .features.special_functions import special_flops

if TYPE_CHECKING:
    from .features.workload import Number
    from .power import Busy, Power
    from .provenance import Provenance

NO_POWER = "measure it with `coexec profile --energy`, or give readings of a meter with `coexec fit --meter`"

Device = str  # "cpu" or "gpu"
Ranges: TypeAlias = "Sequence[Range] | np.ndarray"  # ranges of rows; an array has the shape (n, 2)


@dataclass(frozen=True)
class Link:
    """Time to move a tensor: ``constant_s + nbytes * per_byte_s`` (CoDL, MobiSys 2022, section 5: linear in bytes)."""

    constant_s: float
    per_byte_s: float

    def seconds(self, nbytes: Number) -> Number:
        """Return the seconds to move `nbytes` bytes, a number or an array; 0 for 0 bytes."""
        return nbytes * self.per_byte_s + self.constant_s * (nbytes > 0)

    @staticmethod
    def from_json(value: Sequence[Any]) -> Link:
        """Read a list of both numbers; raise `TypeError` or `ValueError` for others."""
        constant_s, per_byte_s = value
        return Link(parse_seconds("links", constant_s), parse_seconds("links", per_byte_s))


def parse_seconds(name: str, value: Any) -> float:
    """Read seconds of a field of a file; raise `TypeError` or `ValueError` for what can't be any."""
    seconds = float(value)
    if not 0.0 <= seconds < float("inf"):
        raise ValueError(f"{name} {value}")
    return seconds


# For links that were not measured: a call of the driver, and 5 GB/s.
DEFAULT_LINK = Link(5e-5, 2e-10)
DEFAULT_HOST_COPY = Link(5e-6, 2e-10)
# An addition reads twice what a concatenation reads, and writes as much.
ADD_PER_COPY = 1.5


@dataclass(frozen=True)
class UnifiedMemory:
    """Sync points where both devices address the same memory, as `tvm_coexec.create` runs modules.

    Attributes
    ----------
    memory : {"mapped", "shared"}
        See `Costs`.
    sync_s : float
        Seconds that the host waits at each join, in addition to the GPU's work.
    start_s : float
        See `Costs`.
    """

    memory: str
    sync_s: float
    start_s: float = 0.0

    def to_json(self) -> list[str | float]:
        """Return the fields as a list."""
        return [self.memory, self.sync_s, self.start_s]

    @staticmethod
    def from_json(value: Sequence[Any]) -> UnifiedMemory:
        """Read a value of `to_json`; raise `TypeError` or `ValueError` for others."""
        memory, sync_s, start_s = value
        return UnifiedMemory(parse_memory(memory), parse_seconds("unified", sync_s), parse_seconds("unified", start_s))


class Costs(ABC):
    """Predicted seconds of kernels, shares and copies on a pair of devices.

    A cost model is a subclass with `whole_s`, `shares_s` and `slowdown`. Everything else has a default, which a
    subclass replaces if it knows more.

    Attributes
    ----------
    description : str
        Origin of the numbers, for plans and reports.
    upload, download : Link
        Copies from the CPU to the GPU and back.
    host_copy : Link
        A slice or concatenation on the CPU, by bytes written.
    sync_s : float
        Seconds that the host waits for the GPU at each download, in addition to the copy and the GPU's work.
    enqueue_s : float
        Launch overhead: seconds that the host spends to enqueue one kernel on the GPU.
    start_s : float
        Seconds from the launch on an idle GPU until it starts: its driver's thread, or its front end, wakes up.
    memory : {"copied", "mapped", "shared"}
        How tensors cross between the devices: by copies; by mapping memory that both devices address, which costs the
        constants of the links; or in memory that both access without calls, which costs `sync_s` only.
    unified : UnifiedMemory or None
        Sync points in memory that both devices address, if they have it; see `on_memory`.
    plan_factor : float
        Co-run calibration: measured over predicted time of shares, as learnt from verified plans.
    power : Power or None
        Power of the devices, which the objectives energy and edp need.
    error : mapping of str to float
        Relative error of the sum over a network's kernels, by device; empty if unknown. The margin is derived from it.
        ``plans``: the part of a single device's time by which the promised gain of a plan may be wrong.
    runtime : {"own", "tvm"}
        The OpenCL runtime that `upload`, `download` and `sync_s` are of: this package's, or TVM's own, whose copies
        wait for all of the GPU's work and block the host meanwhile. See `on_runtime`.
    tvm_links : mapping of str to Link
        ``upload`` and ``download`` as measured with TVM's own OpenCL runtime; empty if they were not.
    provenance : Provenance or None
        When and with which schedules the kernels were measured.
    """

    description: str = "a cost model of the user's own"
    upload: Link = DEFAULT_LINK
    download: Link = DEFAULT_LINK
    host_copy: Link = DEFAULT_HOST_COPY
    sync_s: float = 0.0
    enqueue_s: float = 0.0
    start_s: float = 0.0
    memory: str = "copied"
    unified: UnifiedMemory | None = None
    plan_factor: float = 1.0
    power: Power | None = None
    error: Mapping[str, float] = MappingProxyType({})
    runtime: str = "own"
    tvm_links: Mapping[str, Link] = MappingProxyType({})
    provenance: Provenance | None = None

    def on_runtime(self, runtime: str) -> Costs:
        """Return the costs for a module that runs on one of the OpenCL runtimes.

        Links of TVM's own runtime that were not measured are estimated: each copy is a command of an idle queue, which
        takes as long to begin as the host takes to notice that it has ended; the latter is the constant of a download.

        Parameters
        ----------
        runtime : {"own", "tvm"}

        Returns
        -------
        Costs
            These, or a copy. The links of TVM's own runtime are not converted: they are an upper bound.
        """
        if runtime not in RUNTIMES:
            raise CoExecError(f"runtime '{runtime}' is unknown; use one of {', '.join(RUNTIMES)}")
        if runtime == self.runtime:
            return self
        if runtime == "own":
            return self._with(runtime="own")
        wait_s = self.enqueue_s + 2 * (self.download.constant_s + self.sync_s)
        estimated = {
            n: Link(max(link.constant_s, wait_s), max(self.upload.per_byte_s, self.download.per_byte_s))
            for n, link in (("upload", self.upload), ("download", self.download))
        }
        origin = "measured" if self.tvm_links else "estimated"
        return self._with(
            runtime="tvm",
            memory="copied",
            unified=None,
            sync_s=0.0,
            start_s=0.0,
            description=f"{self.description}; copies of TVM's own OpenCL runtime, {origin}",
            **(estimated | dict(self.tvm_links)),
        )

    def on_memory(self, memory: str) -> Costs:
        """Return the costs for a module whose tensors cross between the devices in one of the ways of `memory`.

        Sync points in unified memory that were not measured are estimated: they take what is constant in a download.

        Parameters
        ----------
        memory : {"copied", "mapped", "shared"}

        Returns
        -------
        Costs
            These, or a copy.

        Raises
        ------
        CoExecError
            If `memory` is unknown, or if TVM's own OpenCL runtime, which always copies, is to share memory.
        """
        if memory not in MEMORY:
            raise CoExecError(f"memory '{memory}' is unknown; use one of {', '.join(MEMORY)}")
        if memory == "copied" and self.memory == "copied":
            return self if self.unified is None else self._with(unified=None)  # what is chosen stays
        if memory == self.memory:
            return self
        if memory == "copied":
            raise CoExecError(f"memory 'copied': the costs are of {self.memory} memory, and say nothing of copies")
        check_memory(memory, self.runtime)
        found = self.unified
        if found is None or found.memory != memory:
            found = UnifiedMemory(memory, self.download.constant_s + self.sync_s)
        none = Link(0.0, 0.0)
        return self._with(
            memory=memory, upload=none, download=none, sync_s=found.sync_s, start_s=found.start_s, unified=found
        )

    def _with(self, **changed: object) -> Costs:
        """Return a copy with other attributes."""
        made = copy(self)
        for name, value in changed.items():
            object.__setattr__(made, name, value)  # subclasses may be frozen
        return made

    @abstractmethod
    def whole_s(self, device: Device, kernel: Kernel) -> float:
        """Return the seconds of the whole kernel on a device."""

    @abstractmethod
    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """Return the seconds of the share of each output range along `dim`, shape (n,); 0 for empty ranges."""

    @abstractmethod
    def slowdown(self, device: Device) -> float:
        """Return the co-run slowdown: how many times as long a device takes while the other one works, too."""

    def co_run(self, device: Device) -> CoRun:
        """Return the co-run slowdown by what both devices need of memory bandwidth; by default the same for all."""
        return CoRun(self.slowdown(device))

    def epilogue_s(self, kernel: Kernel) -> float:
        """Return the CPU's seconds for adding both parts of a sum and for the operators that are fused to the anchor.

        A kernel that is divided along its reduction has two parts, each as large as its output. By default the
        operators are free, and an addition takes as long as `host_copy` of one and a half outputs: it reads twice what
        a copy reads, and writes as much.
        """
        return self.host_copy.seconds(ADD_PER_COPY * kernel.out_bytes)

    def in_network_s(self, device: Device, seconds: np.ndarray) -> np.ndarray:
        """Return what kernels take within a network that take `seconds` alone; by default the same."""
        return seconds

    def whole_of_many(self, device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
        """Return `whole_s` of many kernels, shape (n,); to be replaced by models that are faster on a batch."""
        return np.array([self.whole_s(device, k) for k in kernels], float)

    def shares_of_many(self, device: Device, requests: Sequence[tuple[Kernel, int, np.ndarray]]) -> list[np.ndarray]:
        """Return `shares_s` of many kernels; to be replaced by models that are faster on a batch.

        Parameters
        ----------
        device : {"cpu", "gpu"}
        requests : sequence of (Kernel, int, array)
            Kernel, dimension, and non-empty ranges of shape (n, 2).

        Returns
        -------
        list of array, shape (n,)
            Seconds.
        """
        return [np.asarray(self.shares_s(device, kernel, dim, rows), float) for kernel, dim, rows in requests]

    def has_failed(self, device: Device, kernel: Kernel) -> bool:
        """Whether measuring the kernel on the device has failed."""
        return False

    def samples_of(self, device: Device, kernel: Kernel) -> tuple[str, int] | None:
        """Return the kernel's class and the number of samples that its prediction rests on; `None` if not counted."""
        return None

    def alone_s(self, device: Device, graph: KernelGraph) -> float | None:
        """Return the measured seconds of the whole graph on one device; `None` if it was not measured."""
        return None

    def network_s(self, device: Device, graph: KernelGraph) -> float:
        """Return the seconds of a whole network on one device: as measured, else the sum of its kernels."""
        measured = self.alone_s(device, graph)
        return float(self.whole_of_many(device, graph.kernels).sum()) if measured is None else measured

    def busy_s(self, device: Device, graph: KernelGraph) -> dict[str, float]:
        """Return the busy seconds of a whole network on one device, by kernel class (see `Reading.busy_s`)."""
        busy: dict[str, float] = {}
        for k in graph.kernels:
            name = f"{device}/{describe(k, device).kind}"
            busy[name] = busy.get(name, 0.0) + self.whole_s(device, k)
        return busy

    def energy_j(self, seconds: float, busy_s: Busy) -> float:
        """Return the joules of a run (see `Power.energy_j`); `CoExecError` if the power is unknown."""
        if self.power is None:
            raise CoExecError(f"the costs have no power ({self.description}); {NO_POWER}")
        return self.power.energy_j(seconds, busy_s)


@dataclass(frozen=True)
class Roofline:
    """Peak rates of a device: FLOP/s, bytes/s, and seconds per launch."""

    flops_per_s: float
    bytes_per_s: float
    launch_s: float


class AnalyticCosts(Costs):
    """A roofline for each device: the larger of compute and memory time, plus the launch (Williams et al., CACM 2009).

    For devices that were not measured. It distinguishes compute-intensive kernels from cheap ones, but is too coarse to
    choose cuts.

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
        nbytes = kernel.read_bytes + kernel.out_bytes + kernel.weight_read_bytes
        flops = kernel.flops + special_flops(kernel.functions, device)
        return roof.launch_s + max(flops / roof.flops_per_s, nbytes / roof.bytes_per_s)

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """See `Costs.shares_s`; time is linear in the output rows."""
        launch, total = self.devices[device].launch_s, self.whole_s(device, kernel)
        extent = kernel.axis(dim).extent
        rows = np.diff(np.asarray(ranges, float).reshape(-1, 2), axis=1)[:, 0]
        return np.where(rows > 0, launch + (total - launch) * rows / extent, 0.0)

    def epilogue_s(self, kernel: Kernel) -> float:
        """See `Costs.epilogue_s`."""
        roof, w = self.devices["cpu"], describe_epilogue(kernel)
        seconds = max((w.flops + w.special) / roof.flops_per_s, w.traffic_bytes / roof.bytes_per_s)
        return max(super().epilogue_s(kernel), roof.launch_s + seconds)

    def slowdown(self, device: Device) -> float:
        """See `Costs.slowdown`; always 1."""
        return 1.0
