"""What a synchronisation of the devices costs: handing values over, sharing them out to a chain, and joining its parts.

Every part of the planner that needs such a cost asks here: the simulator by numbers, the search by arrays with an
element for each cut. What it costs to hand a value over depends on the memory of the devices (docs/memory.md):

========== ==================================================================================================
``copied``  Each device has its own memory: a link's constant and its time per byte.
``mapped``  Both have one memory, which the host must map and unmap: the link's constant, whatever the size.
``shared``  Both have one memory, which they see at once: what it takes to know that the GPU is done.
========== ==================================================================================================

Waiting for the GPU's queue comes on top of all of these (`Meeting.wait_s`): before a download, and with TVM's own
OpenCL runtime before an upload as well (`Meeting.blocks`). Slices and joins are made by the CPU; in shared memory the
parts of a chain's value that are one run of memory each are written where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from tvm_coexec.core.devices import MEMORY
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import SplitAxis, Tensor
from tvm_coexec.cost_models.costs import Link

# A number, or an array of one element per cut.
Seconds = Any


class Scatter(NamedTuple):
    """Seconds of the host to give both shares their parts of a value that it has.

    Attributes
    ----------
    cpu_slice_s : float or array
        Taking the CPU's part out of it.
    launch_s : float or array
        Launching the GPU's slice, where the GPU has the value as well.
    gpu_slice_s, upload_s : float or array
        Taking the GPU's part out of it, and handing that over.
    """

    cpu_slice_s: Seconds
    launch_s: Seconds
    gpu_slice_s: Seconds
    upload_s: Seconds


class Gather(NamedTuple):
    """Seconds of the host to have a chain's value in one piece.

    Attributes
    ----------
    download_s : float or array
        Handing over the GPU's part.
    join_s : float or array
        Writing the parts side by side, or adding them.
    """

    download_s: Seconds
    join_s: Seconds


@dataclass(frozen=True)
class Meeting:
    """Costs of synchronisation of one pair of devices. Sizes are in bytes, numbers or arrays.

    Attributes
    ----------
    upload, download, host_copy : Link
        See `Costs`.
    enqueue_s : float
        See `Costs`.
    memory : {"copied", "mapped", "shared"}
        See `Costs`.
    sync_s : float
        Seconds of a synchronisation that hands over to the CPU what both see at once; it is part of `download` already.
    blocks : bool
        Whether an upload also waits for the GPU's queue.
    """

    upload: Link
    download: Link
    host_copy: Link
    enqueue_s: float = 0.0
    memory: str = "copied"
    sync_s: float = 0.0
    blocks: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown kind of memory."""
        if self.memory not in MEMORY:
            raise CoExecError(f"memory '{self.memory}' of the costs is unknown; use one of {', '.join(MEMORY)}")

    def to_gpu_s(self, nbytes: Seconds) -> Seconds:
        """Seconds of the host to make bytes that the CPU has readable for the GPU."""
        return _seconds(self._linear(self.upload), nbytes)

    def to_cpu_s(self, nbytes: Seconds) -> Seconds:
        """Seconds of the host to make bytes that the GPU has readable for the CPU, after `wait_s`."""
        return _seconds((self.sync_s, 0.0) if self.memory == "shared" else self._linear(self.download), nbytes)

    def copy_s(self, nbytes: Seconds) -> Seconds:
        """Seconds of the CPU to take that many bytes out of a value, or to write them next to others."""
        return _seconds((self.host_copy.constant_s, self.host_copy.per_byte_s), nbytes)

    def gpu_slice_s(self, nbytes: Seconds) -> Seconds:
        """Seconds of the GPU to take that many bytes out of a value.

        Such kernels are too small to be worth a model: they copy as fast as the host, and take no less than it takes to
        enqueue them.
        """
        return _seconds((self.enqueue_s, self.host_copy.per_byte_s), nbytes)

    @staticmethod
    def wait_s(host_s: float, gpu_s: float) -> float:
        """Seconds that the host waits for the GPU's queue, when they are free at these times."""
        return max(0.0, gpu_s - host_s)

    def scatter_s(self, nbytes: float, cpu: Seconds, gpu: Seconds, on_gpu: bool) -> Scatter:
        """Seconds to give both shares of a chain their parts of a value.

        Parameters
        ----------
        nbytes : float
            Size of the value. The CPU has it, if its share reads any of it, or the GPU's is to be sent.
        cpu, gpu : float or array
            Fraction that each share reads, 0..1. All of a value is handed over as it is, without a slice.
        on_gpu : bool
            Whether the GPU has the value, too; then it takes its part itself, as part of its work.
        """
        cpu_slice = self.copy_s(nbytes * cpu * (cpu < 1))
        if on_gpu:
            return Scatter(cpu_slice, self.enqueue_s * ((gpu > 0) & (gpu < 1)), 0.0, 0.0)
        part = nbytes * gpu
        return Scatter(cpu_slice, 0.0, self.copy_s(part * (gpu < 1)), self.to_gpu_s(part))

    def scatter_terms(self, nbytes: float, on_gpu: bool) -> tuple[float, float, float]:
        """As `scatter_s` in total, where both shares read some but not all of a value.

        Returns
        -------
        constant_s, per_cpu_s, per_gpu_s : float
            Seconds whatever the fractions are, and seconds times each share's fraction.
        """
        constant_s, per_cpu_s = self.host_copy.constant_s, nbytes * self.host_copy.per_byte_s
        if on_gpu:
            return constant_s + self.enqueue_s, per_cpu_s, 0.0
        up_constant_s, up_per_byte_s = self._linear(self.upload)
        constant_s += self.host_copy.constant_s + up_constant_s
        return constant_s, per_cpu_s, nbytes * (self.host_copy.per_byte_s + up_per_byte_s)

    def least_scatter_s(self, nbytes: float) -> float:
        """Lower bound of `scatter_s` of a value that the CPU alone has and both shares read: their parts cover it."""
        return 2 * self.host_copy.constant_s + self._linear(self.upload)[0] + nbytes * self.host_copy.per_byte_s

    def gather_s(self, tensor: Tensor, axis: SplitAxis, cut: Seconds, epilogue_s: float) -> Gather:
        """Seconds to join the parts of a value that was cut inside of an axis.

        Parameters
        ----------
        tensor : Tensor
        axis : SplitAxis
            Along the reduction each part is as large as the value, and they are added.
        cut : float or array
            Where the GPU's part ends, more than 0 and less than the extent of the axis.
        epilogue_s : float
            See `Costs.epilogue_s`; counts along the reduction only.
        """
        nbytes = tensor.nbytes
        if axis.reduces:
            return Gather(self.to_cpu_s(nbytes + 0 * cut), epilogue_s + 0 * cut)
        download_s = self.to_cpu_s(nbytes * cut / axis.extent)
        in_place = self.memory == "shared" and all(n == 1 for n in tensor.shape[: axis.dim])
        return Gather(download_s, 0.0 if in_place else self.copy_s(nbytes + 0 * cut))

    def _linear(self, link: Link) -> tuple[float, float]:
        """Constant and seconds per byte of a link in this memory."""
        if self.memory == "shared":
            return 0.0, 0.0
        return link.constant_s, 0.0 if self.memory == "mapped" else link.per_byte_s


def _seconds(linear: tuple[float, float], nbytes: Seconds) -> Seconds:
    """Constant and seconds per byte for bytes, a number or an array; nothing for none."""
    constant_s, per_byte_s = linear
    return nbytes * per_byte_s + constant_s * (nbytes > 0)
