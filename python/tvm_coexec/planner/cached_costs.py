"""Costs of one graph, looked up: seconds by kernel, device and number of rows, each asked of the cost model once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tvm_coexec.core.access import Range
from tvm_coexec.core.kernel_graph import DEVICES, Kernel, KernelGraph
from tvm_coexec.cost_models import Costs
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.cost_models.measured import UNUSABLE_S

from .meeting import Meeting

# A table of shares has at most so many rows that were asked for; the others are interpolated.
_MAX_POINTS = 256
# Axes without halos: shares end where cuts do.
_CHANNELS = ("oc", "n", "ic", "batch")


def side_by_side(slow: dict[str, float], gpu_s, cpu_s, least: Callable = min) -> tuple:
    """Seconds of work on both devices at once: each is slower as long as the other lasts, and then as fast as alone.

    Parameters
    ----------
    slow : dict of str to float
        By how much each device is slower beside the other (`Tables.slow`).
    gpu_s, cpu_s : float or array
        Seconds alone.
    least : callable
        `numpy.minimum` for arrays.
    """
    slow_gpu, slow_cpu = slow["gpu"], slow["cpu"]
    if slow_gpu == slow_cpu == 1.0:
        return gpu_s, cpu_s
    together = least(gpu_s * slow_gpu, cpu_s * slow_cpu)  # how long both work
    return gpu_s + together * (1 - 1 / slow_gpu), cpu_s + together * (1 - 1 / slow_cpu)


class Tables:
    """The costs of a graph's kernels as `Costs`, kept; and as lists and arrays for a search.

    What the costs have learnt of plans as a whole (``plan_factor``, see `Profile`) is in the times of shares. The GPU's
    share of a kernel is taken to begin at row 0 and the CPU's to end at the last one, so that their number
    of rows says all.

    Parameters
    ----------
    graph : KernelGraph
    costs : Costs

    Attributes
    ----------
    whole : dict of str to list of float
        Seconds of each kernel undivided, by device.
    kinds : list of str
        Class of each kernel.
    watts : dict of str to list of float
        What each device draws for each kernel, 0 without a power profile.
    meeting : Meeting
        What synchronisations cost.
    nbytes, up_s, down_s : dict of int to float
        Size of each value and seconds to copy it.
    enqueue_s : float
        What the host spends on handing a kernel to the GPU.
    enqueues : list of float
        The same by kernel: nothing is handed over for one that computes nothing.
    """

    def __init__(self, graph: KernelGraph, costs: Costs):
        self.graph, self.costs = graph, costs
        self.description, self.slowdown = costs.description, costs.slowdown
        self.upload, self.download, self.host_copy = costs.upload, costs.download, costs.host_copy
        self._whole: dict[tuple[str, str], float] = {}
        self._shares: dict[tuple[str, str, int], np.ndarray] = {}
        self._ask_whole()
        self.whole = {d: [self.whole_s(d, k) for k in graph.kernels] for d in DEVICES}
        self.plan_factor = float(getattr(costs, "plan_factor", 1.0))
        self.power, self.error = getattr(costs, "power", None), getattr(costs, "error", None)
        self.idle_w = self.power.idle_w if self.power else 0.0
        self.kinds = [describe(k, "cpu").kind for k in graph.kernels]
        self.watts = {d: [self._watts(d, k) for k in self.kinds] for d in DEVICES}
        self.nbytes = {v: graph.tensor(v).nbytes for v in (*range(-len(graph.inputs), 0), *range(len(graph.kernels)))}
        self.enqueue_s = float(getattr(costs, "enqueue_s", 0.0))
        memory = getattr(costs, "memory", "copied")
        self.meeting = Meeting(costs.upload, costs.download, costs.host_copy, self.enqueue_s, memory)
        self.up_s = {v: self.meeting.to_gpu_s(n) for v, n in self.nbytes.items()}
        self.down_s = {v: self.meeting.to_cpu_s(n) for v, n in self.nbytes.items()}
        self.slow = {d: costs.slowdown(d) for d in DEVICES}
        self.enqueues = [0.0 if k.is_free else self.enqueue_s for k in graph.kernels]

    def alone_s(self, device: str, graph: KernelGraph) -> float | None:
        """Seconds of a whole graph on a device alone, where the costs have measured that."""
        measured = getattr(self.costs, "alone_s", None)
        return None if measured is None else measured(device, graph)

    def _ask_whole(self) -> None:
        """Ask for all kernels at once, where the costs answer that."""
        together = getattr(self.costs, "whole_of_many", None)
        if together is not None:
            unique = list({k.signature(): k for k in self.graph.kernels}.values())
            for device in DEVICES:
                found = together(device, unique).tolist()
                self._whole.update({(device, k.signature()): s for k, s in zip(unique, found, strict=True)})

    def whole_s(self, device: str, kernel: Kernel) -> float:
        """See `Costs.whole_s`; a device that can't run the kernel never pays."""
        if device not in kernel.devices:
            return UNUSABLE_S
        key = (device, kernel.signature())
        if key not in self._whole:
            self._whole[key] = self.costs.whole_s(device, kernel)
        return self._whole[key]

    def shares_s(self, device: str, kernel: Kernel, dim: int, ranges: Sequence[Range]) -> list[float]:
        """See `Costs.shares_s`."""
        table = self.by_rows(device, kernel, dim)
        return [float(table[max(0, hi - lo)]) for lo, hi in ranges]

    def by_rows(self, device: str, kernel: Kernel, dim: int) -> np.ndarray:
        """Seconds of shares by the number of rows that they compute, shape (extent + 1,); no rows take no time."""
        key = (device, kernel.signature(), dim)
        if key not in self._shares:
            n, rows = _points(kernel, dim)
            seconds = self.costs.shares_s(device, kernel, dim, _ranges(device, n, rows))
            self._shares[key] = _by_rows(n, rows, np.asarray(seconds, float) * self.plan_factor)
        return self._shares[key]

    def ask_all(self, dims: dict[int, list[int]]) -> None:
        """Ask for shares of many kernels at once, where the costs answer that: by kernel along which dimensions."""
        together = getattr(self.costs, "shares_of_many", None)
        if together is None:
            return
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
            for (key, (n, rows)), seconds in zip(points.items(), together(device, requests), strict=True):
                self._shares[key] = _by_rows(n, rows, seconds * self.plan_factor)

    def _watts(self, device: str, kind: str) -> float:
        return self.power.watts(f"{device}/{kind}") if self.power else 0.0


def _points(kernel: Kernel, dim: int) -> tuple[int, np.ndarray]:
    """Extent of an axis, and numbers of rows to ask for.

    Of channels and of long axes only those at which cuts are made: others, which tiles don't like, would spoil what
    lies between.
    """
    axis = kernel.axis(dim)
    n = axis.extent
    tile = axis.tile
    step = 1 if n <= _MAX_POINTS and axis.name not in _CHANNELS else tile * -(-n // (tile * _MAX_POINTS))
    return n, np.union1d(np.arange(step, n + 1, step), [n])


def _ranges(device: str, extent: int, rows: np.ndarray) -> np.ndarray:
    """Where a device's shares of so many rows lie, shape (n, 2)."""
    return np.stack([0 * rows, rows] if device == "gpu" else [extent - rows, extent + 0 * rows], 1)


def _by_rows(extent: int, rows: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    table = np.zeros(extent + 1)
    table[1:] = seconds if len(rows) == extent else np.interp(np.arange(1, extent + 1), rows, seconds)
    return table
