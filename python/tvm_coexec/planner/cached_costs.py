"""The costs of one graph as tables: seconds by kernel, device and number of rows, each asked of the cost model once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from tvm_coexec.core.kernel_graph import DEVICES, Kernel, KernelGraph, SplitAxis
from tvm_coexec.cost_models import Costs
from tvm_coexec.cost_models.co_run import CoRun
from tvm_coexec.cost_models.costs import Link, Ranges
from tvm_coexec.cost_models.coverage import find_coverage
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.cost_models.measured import UNUSABLE_S

from .meeting import Gather, Meeting, Seconds

# A table of shares has at most this many rows that were asked for; the others are interpolated.
_MAX_POINTS = 256
# Seconds are whole multiples of this, 0.06 ps. Exponential functions and BLAS differ in the last digit between
# processors, which must not decide between plans; and sums of such numbers are exact, so that plans whose time is the
# same sum in another order are equal.
_QUANTUM_S = 2.0**-44
# Axes without halos: shares end where cuts do.
_CHANNELS = ("oc", "n", "ic", "batch")


def quantise(seconds: np.ndarray) -> np.ndarray:
    """Round seconds to what plans are compared by."""
    return np.rint(seconds * (1 / _QUANTUM_S)) * _QUANTUM_S


def side_by_side(
    slow: Mapping[str, Seconds], gpu_s: Seconds, cpu_s: Seconds, least: Callable = min
) -> tuple[Seconds, Seconds]:
    """Seconds of work on both devices at once: each is slower as long as the other lasts, and then as fast as alone.

    Parameters
    ----------
    slow : mapping of str to float or array
        Co-run slowdown of each device (`CachedCosts.slow`, or the mean of `CachedCosts.slow_of` over its work).
    gpu_s, cpu_s : float or array
        Seconds alone.
    least : callable
        `numpy.minimum` for arrays.
    """
    slow_gpu, slow_cpu = slow["gpu"], slow["cpu"]
    if isinstance(slow_gpu, float) and slow_gpu == slow_cpu == 1.0:
        return gpu_s, cpu_s
    together = least(gpu_s * slow_gpu, cpu_s * slow_cpu)  # how long both work
    return gpu_s + together * (1 - 1 / slow_gpu), cpu_s + together * (1 - 1 / slow_cpu)


class CachedCosts(Costs):
    """Costs of one graph's kernels, kept; and as lists and arrays for a search.

    The times of shares have the co-run calibration in them, so `plan_factor` is 1 here. All else is as the costs have
    it: cached costs of cached costs are the same.

    The GPU's share of a kernel is taken to begin at row 0 and the CPU's to end at the last one, so that the number of
    rows determines a share.

    Parameters
    ----------
    graph : KernelGraph
    costs : Costs
    bandwidth : float, optional
        Bytes per second between the devices, in place of the links' own.
    calibrated : bool
        Whether the co-run calibration is applied; without it, predictions can be compared with measured plans to
        calibrate again.

    Attributes
    ----------
    whole : dict of str to list of float
        Seconds of each kernel undivided, by device.
    kinds : list of str
        Class of each kernel.
    watts : dict of str to list of float
        What each device draws for each kernel, 0 without a power profile.
    idle_w : float
        What the machine draws at rest, 0 without a power profile.
    slow : dict of str to float
        Typical co-run slowdown by device.
    slow_of : dict of str to list of float
        Co-run slowdown of each kernel by device, while the other device runs its share of the same kernel; empty lists
        if it is the same for all kernels.
    meeting : Meeting
        The model of what a synchronisation costs.
    nbytes, up_s, down_s : dict of int to float
        Size of each value and seconds to copy it.
    enqueues : list of float
        Launch overhead of each kernel; 0 for one that computes nothing.
    """

    def __init__(self, graph: KernelGraph, costs: Costs, bandwidth: float | None = None, calibrated: bool = True):
        self.graph, self.costs = graph, costs
        self.description, self.power, self.error = costs.description, costs.power, costs.error
        self.provenance = costs.provenance
        self.enqueue_s, self.start_s, self.host_copy = costs.enqueue_s, costs.start_s, costs.host_copy
        self.sync_s, self.runtime, self.unified = costs.sync_s, costs.runtime, costs.unified
        self.memory = costs.memory if bandwidth is None else "copied"
        self.upload, self.download = (
            link if bandwidth is None else Link(link.constant_s, 1.0 / bandwidth)
            for link in (costs.upload, costs.download)
        )
        self._calibration = costs.plan_factor if calibrated else 1.0
        self._shares: dict[tuple[str, str, int], np.ndarray] = {}
        self._whole: dict[tuple[str, str], float] = {}
        self._epilogues: dict[str, float] = {}
        for device in DEVICES:
            unique = {k.signature(): k for k in graph.kernels if device in k.devices}
            found = quantise(costs.whole_of_many(device, list(unique.values()))).tolist()
            self._whole.update({(device, signature): s for signature, s in zip(unique, found, strict=True)})
        self.whole = {d: [self.whole_s(d, k) for k in graph.kernels] for d in DEVICES}
        kinds = {
            signature: describe(k, "cpu").kind for signature, k in {k.signature(): k for k in graph.kernels}.items()
        }
        self.kinds = [kinds[k.signature()] for k in graph.kernels]
        self.watts = {d: [self._watts(d, k) for k in self.kinds] for d in DEVICES}
        self.idle_w = self.power.idle_w if self.power else 0.0
        self.nbytes = {v: graph.tensor(v).nbytes for v in (*range(-len(graph.inputs), 0), *range(len(graph.kernels)))}
        download = Link(self.download.constant_s + self.sync_s, self.download.per_byte_s)
        self.meeting = Meeting(
            self.upload,
            download,
            self.host_copy,
            self.enqueue_s,
            self.memory,
            self.sync_s,
            blocks=self.runtime == "tvm",
        )
        self.up_s = {v: self.meeting.to_gpu_s(n) for v, n in self.nbytes.items()}
        self.down_s = {v: self.meeting.to_cpu_s(n) for v, n in self.nbytes.items()}
        self.slow = {d: costs.slowdown(d) for d in DEVICES}
        self._co_run = {d: costs.co_run(d) for d in DEVICES}
        demands = any(c.depends_on_demand for c in self._co_run.values())
        self.slow_of = self._slow_of_kernels() if demands else {d: [] for d in DEVICES}
        self.enqueues = [0.0 if k.is_free else self.enqueue_s for k in graph.kernels]

    def slowdown(self, device: str) -> float:
        """See `Costs.slowdown`."""
        return self.slow[device]

    def co_run(self, device: str) -> CoRun:
        """See `Costs.co_run`."""
        return self._co_run[device]

    def _slow_of_kernels(self) -> dict[str, list[float]]:
        """Both devices run their shares of a chain in the same order, so those of one kernel mostly meet."""
        demands = {d: np.array([self._demands(d, k) for k in self.graph.kernels]).reshape(-1, 2).T for d in DEVICES}
        (gpu, gpu_weights), (cpu, cpu_weights) = demands["gpu"], demands["cpu"]
        weights = gpu_weights + cpu_weights
        found = {
            "gpu": self._co_run["gpu"].slowdown(gpu, cpu, weights),
            "cpu": self._co_run["cpu"].slowdown(cpu, gpu, weights),
        }
        return {d: np.broadcast_to(slow, gpu.shape).tolist() for d, slow in found.items()}

    def _demands(self, device: str, kernel: Kernel) -> tuple[float, float]:
        """Return the bytes per second that a kernel reads and writes when alone, and those of weights."""
        if kernel.is_free or device not in kernel.devices:
            return 0.0, 0.0
        seconds = self.whole[device][kernel.index]
        w = describe(kernel, device)
        return (float(w.traffic_bytes) / seconds, float(w.weight_bytes) / seconds) if seconds else (0.0, 0.0)

    def has_failed(self, device: str, kernel: Kernel) -> bool:
        """See `Costs.has_failed`."""
        return self.costs.has_failed(device, kernel)

    def samples_of(self, device: str, kernel: Kernel) -> tuple[str, int] | None:
        """See `Costs.samples_of`."""
        return self.costs.samples_of(device, kernel)

    @cached_property
    def weak_fractions(self) -> dict[str, float]:
        """Fraction of each device's time for all kernels, undivided, that rests on few samples (see `Coverage`)."""
        return {
            d: find_coverage(
                self, ((k, d, s) for k, s in zip(self.graph.kernels, self.whole[d], strict=True) if d in k.devices)
            ).weak_fraction
            for d in DEVICES
        }

    def alone_s(self, device: str, graph: KernelGraph) -> float | None:
        """See `Costs.alone_s`."""
        return self.costs.alone_s(device, graph)

    def whole_s(self, device: str, kernel: Kernel) -> float:
        """See `Costs.whole_s`; a device that can't run the kernel never pays."""
        if device not in kernel.devices:
            return UNUSABLE_S
        key = (device, kernel.signature())
        if key not in self._whole:
            self._whole[key] = float(quantise(np.array(self.costs.whole_s(device, kernel))))
        return self._whole[key]

    def shares_s(self, device: str, kernel: Kernel, dim: int, ranges: Ranges) -> np.ndarray:
        """See `Costs.shares_s`."""
        table = self.by_rows(device, kernel, dim)
        return np.array([table[max(0, hi - lo)] for lo, hi in ranges], float)

    def epilogue_s(self, kernel: Kernel) -> float:
        """See `Costs.epilogue_s`."""
        key = kernel.signature()
        if key not in self._epilogues:
            self._epilogues[key] = float(quantise(np.array(self.costs.epilogue_s(kernel))))
        return self._epilogues[key]

    def gather_s(self, kernel: Kernel, axis: SplitAxis, cut: Seconds) -> Gather:
        """See `Meeting.gather_s`, of a kernel's value with what follows partial sums."""
        epilogue_s = self.epilogue_s(kernel) if axis.reduces else 0.0
        return self.meeting.gather_s(kernel.outputs[0], axis, cut, epilogue_s)

    def by_rows(self, device: str, kernel: Kernel, dim: int) -> np.ndarray:
        """Seconds of shares by the number of rows that they compute, shape (extent + 1,); no rows take no time."""
        key = (device, kernel.signature(), dim)
        if key not in self._shares:
            n, rows = _points(kernel, dim)
            seconds = self.costs.shares_s(device, kernel, dim, _ranges(device, n, rows))
            self._shares[key] = self._make_table(device, kernel.axis(dim), rows, np.asarray(seconds, float))
        return self._shares[key]

    def ask_all(self, dims: dict[int, list[int]]) -> None:
        """Ask for the shares of many kernels at once.

        Parameters
        ----------
        dims : dict of int to list of int
            The dimensions along which each kernel is to be divided.
        """
        for device in DEVICES:
            wanted: dict[tuple[str, str, int], tuple[Kernel, int]] = {}
            for k, of_kernel in dims.items():
                kernel = self.graph.kernels[k]
                for dim in of_kernel:
                    key = (device, kernel.signature(), dim)
                    if key not in self._shares:
                        wanted[key] = (kernel, dim)
            points = {key: _points(kernel, dim) for key, (kernel, dim) in wanted.items()}
            requests = [(*wanted[key], _ranges(device, n, rows)) for key, (n, rows) in points.items()]
            answers = self.costs.shares_of_many(device, requests)
            for (key, (_, rows)), seconds in zip(points.items(), answers, strict=True):
                kernel, dim = wanted[key]
                self._shares[key] = self._make_table(device, kernel.axis(dim), rows, seconds)

    def _make_table(self, device: str, axis: SplitAxis, rows: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """Seconds by number of rows; what the GPU can't run never pays."""
        table = quantise(_by_rows(axis.extent, rows, seconds * self._calibration))
        if device == "gpu":
            table[list(axis.refused_rows)] = UNUSABLE_S
        return table

    def _watts(self, device: str, kind: str) -> float:
        return self.power.watts(f"{device}/{kind}") if self.power else 0.0


def _points(kernel: Kernel, dim: int) -> tuple[int, np.ndarray]:
    """Extent of an axis, and numbers of rows to ask for.

    Of channels and of long axes only those at which cuts are made: other numbers, which do not fill the schedules'
    tiles, would distort the interpolation.
    """
    axis = kernel.axis(dim)
    n = axis.extent
    tile = axis.tile
    step = 1 if n <= _MAX_POINTS and axis.name not in _CHANNELS else tile * -(-n // (tile * _MAX_POINTS))
    return n, np.minimum(np.arange(step, n + step, step), n)


def _ranges(device: str, extent: int, rows: np.ndarray) -> np.ndarray:
    """Ranges of a device's shares with these numbers of rows, shape (n, 2)."""
    ranges = np.zeros((len(rows), 2), int)
    if device == "gpu":
        ranges[:, 1] = rows
    else:
        ranges[:, 0], ranges[:, 1] = extent - rows, extent
    return ranges


def _by_rows(extent: int, rows: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    table = np.zeros(extent + 1)
    table[1:] = seconds if len(rows) == extent else np.interp(np.arange(1, extent + 1), rows, seconds)
    return table
