"""Times of a chain for all its cuts at once.

A chain's ranges follow from its end backwards (halo rows), so for a fixed end and axis a kernel added in front changes
nothing of those after it: one sweep backwards gives every chain that ends there. Bounds of ranges are arrays with a
column for each cut and three rows, which `PerShare` names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tvm_coexec.core.access import Node, Region, is_same, propagate_node, unite
from tvm_coexec.core.kernel_graph import Kernel, SplitAxis, cuts_of, round_cut

from .cached_costs import CachedCosts, side_by_side
from .chain_times import ChainTimes, make_outer

# Of shares of kernels that take no time.
_SHORT_S = 1e-12


class ChainSweep:
    """Chains that end at one kernel along one of its axes; `add` puts one more kernel in front.

    Parameters
    ----------
    tables : CachedCosts
    last : int
    axis : SplitAxis
        Of the last kernel.
    cuts : array, shape (cuts,)

    Attributes
    ----------
    members : list of int
        Ascending.
    regions : dict of int to Region
        What is read of each live-in; bounds have shape (3, cuts), see `PerShare`.
    after : list of int
        Values that the CPU reads after the join.
    live_outs : dict of int to (array, int)
        Per member whose value leaves the chain: where the GPU's part ends, and the extent.
    gpu_s, cpu_s, join_s, joules : array, shape (cuts,)
        Work of each share, downloads and joins, and energy of the work beyond idle power.
    gpu_slower_s, cpu_slower_s : array, shape (cuts,)
        How much longer the shares take while both devices work, if the co-run slowdown differs between kernels; else 0.
    """

    def __init__(self, tables: CachedCosts, last: int, axis: SplitAxis, cuts: np.ndarray):
        self.tables, self.graph = tables, tables.graph
        self.last, self.axis, self.cuts = last, axis, cuts
        self.members: list[int] = []
        self.regions = {last: _cut_in_two(axis, cuts, cuts)}
        self.after: list[int] = []
        self.live_outs: dict[int, tuple[np.ndarray, int]] = {}
        self.gpu_s = self.cpu_s = self.join_s = self.joules = np.zeros(len(cuts))
        self.gpu_slower_s = self.cpu_slower_s = self.joules
        self._slow: Mapping[str, Any] | None = None
        self._both_s: np.ndarray | None = None
        self._inside: set[int] = set()
        # What each reader inside the chain takes of a value.
        self._parts: dict[int, list[Region]] = {}

    def axis_of(self, index: int) -> SplitAxis | None:
        """Axis along which a kernel in front of the members would be split; None where it can't join them."""
        kernel = self.graph.kernels[index]
        if index in self.after:
            return None
        if index == self.last:
            return self.axis
        if index in self.regions:
            dim = self.regions[index].dim
            return None if dim is None else kernel.find_axis(dim)
        own = kernel.named_axis(self.axis.name)
        # No member reads it: it must read a value that the chain reads or computes as well.
        if own is None or own.reduces or not any(v in self.regions or v in self._inside for v in kernel.inputs):
            return None
        return own

    def add(self, index: int, axis: SplitAxis, is_live_out: bool) -> None:
        """Put a kernel in front of the members.

        Parameters
        ----------
        index : int
            Smaller than every member.
        axis : SplitAxis
            See `axis_of`.
        is_live_out : bool
            Whether its value is read by kernels that are not members, or is an output of the model.
        """
        kernel = self.graph.kernels[index]
        self.regions[index] = self._computed(kernel, axis, is_live_out)
        reads = [(v, need) for v, need in zip(kernel.inputs, axis.needs, strict=True) if need is None or need.reads]
        inputs = propagate_node(Node(index, axis.granule, axis.extent, reads), self.regions)
        region, parts = self.regions.pop(index), self._parts.pop(index, [])
        self._slow = self._both_s = None
        self._add_work(kernel, axis, region)
        if (is_live_out and index != self.last) or len(parts) > 1 or axis.granule > 1:
            self._add_slices(kernel, axis, region, parts)
        for value, part in inputs:
            if part.dim is not None:
                self._parts.setdefault(value, []).append(part)
        self.after += [v for v, need in zip(kernel.inputs, axis.needs, strict=True) if need and need.after_join]
        self.members.insert(0, index)
        self._inside.add(index)

    def times(self) -> ChainTimes:
        """The chain of the present members."""
        read = {}
        for value, region in self.regions.items():
            extent = 1 if region.dim is None else self.graph.tensor(value).shape[region.dim]
            read[value] = make_outer(region, extent)
        return ChainTimes(
            tuple(self.members), self.axis.name, self.cuts, self.gpu_s, self.cpu_s, self.both_s(self.tables.start_s),
            self.join_s, dict(self.live_outs), read, tuple(self.after), self.joules, self.slow(),
        )  # fmt: skip

    def slow(self) -> Mapping[str, Any]:
        """Co-run slowdown by device; where it depends on the shares' demands, an element for each cut."""
        tables = self.tables
        if not tables.slow_of["cpu"]:
            return tables.slow
        if self._slow is None:
            gpu_s, cpu_s = np.maximum(self.gpu_s, _SHORT_S), np.maximum(self.cpu_s, _SHORT_S)
            self._slow = {"gpu": 1 + self.gpu_slower_s / gpu_s, "cpu": 1 + self.cpu_slower_s / cpu_s}
        return self._slow

    def both_s(self, start_s: float = 0.0) -> np.ndarray:
        """Seconds until both shares are done, when the CPU begins at once and the GPU after `start_s`."""
        if start_s:
            return np.maximum(*side_by_side(self.slow(), self.gpu_s + start_s, self.cpu_s, np.minimum))
        if self._both_s is None:
            self._both_s = np.maximum(*side_by_side(self.slow(), self.gpu_s, self.cpu_s, np.minimum))
        return self._both_s

    def alone_s(self) -> float:
        """Lower bound of the chain's seconds at the best cut: compute only, no synchronisation, no contention."""
        return float(np.maximum(self.gpu_s, self.cpu_s).min())

    def least_s(self) -> float:
        """Seconds that the chain takes at least from inputs on the CPU."""
        tables, out = self.tables, 0.0
        for value, region in self.regions.items():
            if region.dim is None:
                out += tables.up_s[value]
            else:
                out += tables.meeting.least_scatter_s(tables.nbytes[value])
        return out + float((self.both_s() + self.join_s).min())

    def _computed(self, kernel: Kernel, axis: SplitAxis, is_live_out: bool) -> Region:
        """What both shares compute of a kernel's value; where it leaves the chain, each its part of the result."""
        index = kernel.index
        region = self.regions.get(index)
        if region is None:  # another end of the chain: cut at the same fraction of its extent
            cuts = round_cut(axis, self.cuts / self.axis.extent)
            self._add_join(kernel, axis, cuts)
            return _cut_in_two(axis, cuts)
        if index == self.last:
            self._add_join(kernel, axis, self.cuts)
        elif is_live_out:
            cuts = region.hi[2]  # see `PerShare`
            self._add_join(kernel, axis, cuts)
            return unite(region, _cut_in_two(axis, cuts))
        return region

    def _add_join(self, kernel: Kernel, axis: SplitAxis, cuts: np.ndarray) -> None:
        """Download and join of a value that leaves the chain."""
        self.live_outs[kernel.index] = (cuts, axis.extent)
        download_s, join_s = self.tables.gather_s(kernel, axis, cuts)
        joined = download_s + join_s
        if kernel.index != self.last:  # the last is cut inside
            joined = np.where((cuts > 0) & (cuts < axis.extent), joined, 0.0)
        self.join_s = self.join_s + joined

    def _add_work(self, kernel: Kernel, axis: SplitAxis, region: Region) -> None:
        """Time and energy of both shares of a kernel."""
        gpu_rows, cpu_rows, _ = region.hi - region.lo
        gpu = self.tables.by_rows("gpu", kernel, axis.dim)[gpu_rows]
        cpu = self.tables.by_rows("cpu", kernel, axis.dim)[cpu_rows]
        self.gpu_s, self.cpu_s = self.gpu_s + gpu, self.cpu_s + cpu
        enqueue_s = self.tables.enqueues[kernel.index]
        if enqueue_s:
            self.cpu_s = self.cpu_s + (gpu_rows > 0) * enqueue_s
        slow_of = self.tables.slow_of
        if slow_of["cpu"]:
            self.gpu_slower_s = self.gpu_slower_s + gpu * (slow_of["gpu"][kernel.index] - 1)
            self.cpu_slower_s = self.cpu_slower_s + cpu * (slow_of["cpu"][kernel.index] - 1)
        watts = self.tables.watts
        if self.tables.power is not None:
            self.joules = self.joules + gpu * watts["gpu"][kernel.index] + cpu * watts["cpu"][kernel.index]

    def _add_slices(self, kernel: Kernel, axis: SplitAxis, region: Region, parts: list[Region]) -> None:
        """What it takes to give each reader its part of a value, where that is not all that a share computed."""
        tables, row_bytes = self.tables, kernel.out_bytes / axis.extent
        parts = list(parts)
        if kernel.index in self.live_outs and not axis.reduces:
            parts.append(_cut_in_two(axis, self.live_outs[kernel.index][0]))
        for part in parts:
            if is_same(part.range, region.range):
                continue
            is_slice = ((part.lo != region.lo) | (part.hi != region.hi)) & (part.lo < part.hi)
            gpu_bytes, cpu_bytes, _ = (part.hi - part.lo) * row_bytes * is_slice
            self.gpu_s = self.gpu_s + tables.meeting.gpu_slice_s(gpu_bytes)
            self.cpu_s = self.cpu_s + tables.meeting.copy_s(cpu_bytes) + tables.enqueue_s * (gpu_bytes > 0)


def _cut_in_two(axis: SplitAxis, cuts: np.ndarray, for_last: np.ndarray | None = None) -> Region:
    """A value cut at `cuts`: the GPU's rows, the CPU's, and how many of the GPU's the chain's last value needs."""
    lo, hi = np.zeros((2, 3, len(cuts)), int)
    lo[1] = hi[0] = cuts
    hi[1] = axis.extent
    if for_last is not None:
        hi[2] = for_last
    return Region(axis.dim, lo, hi)


def inner_cuts(axis: SplitAxis, ratio: float | None) -> np.ndarray:
    """Cuts to weigh: every aligned one, or the one nearest to a given ratio."""
    cuts = np.array(cuts_of(axis), int)
    if ratio is None or not len(cuts):
        return cuts
    return cuts[[int(np.argmin(np.abs(cuts / axis.extent - ratio)))]]


def sweep_members(
    tables: CachedCosts, members: Sequence[int], axis: SplitAxis, cuts: np.ndarray, starts: int = 1
) -> tuple[int, list[ChainTimes]]:
    """Times of a set of kernels as one chain, and of what is left of it without its first kernels.

    Parameters
    ----------
    tables : CachedCosts
    members : sequence of int
        Ascending.
    axis : SplitAxis
        Of the last member.
    cuts : array
    starts : int
        How many chains at most: of all members, of all but the first, and so on.

    Returns
    -------
    reached : int
        The member at which the sweep from the last one ended. Where the set can't carry the split, no set that has the
        same kernels from there on can.
    chains : list of ChainTimes
        The longest first; empty where the set can't carry the split.
    """
    inside, sweep, found = set(members), ChainSweep(tables, members[-1], axis, cuts), []
    for index in reversed(members):
        own = sweep.axis_of(index)
        if own is None:
            return index, []
        sweep.add(index, own, tables.graph.is_live_out(index, inside))
        if index <= members[min(starts, len(members)) - 1]:
            found.append(sweep.times())
    return members[0], found[::-1]


def least_alone_s(tables: CachedCosts, last: int, axis: SplitAxis, cuts: np.ndarray) -> float:
    """Lower bound of `ChainSweep.alone_s` of all chains that end at a kernel: that of the kernel."""
    kernel = tables.graph.kernels[last]
    gpu_s, cpu_s = (tables.by_rows(device, kernel, axis.dim) for device in ("gpu", "cpu"))
    return float(np.maximum(gpu_s[cuts], cpu_s[axis.extent - cuts] + tables.enqueues[last]).min())


def intervals(tables: CachedCosts, last: int, axis: SplitAxis, cuts: np.ndarray, longest: int) -> Iterator[ChainSweep]:
    """Chains of consecutive kernels that end at `last`, from the shortest on; the sweep is shared, read it at once."""
    sweep = ChainSweep(tables, last, axis, cuts)
    for index in range(last, max(-1, last - longest), -1):
        own = sweep.axis_of(index)
        if own is None:
            return
        sweep.add(index, own, tables.graph.is_live_out(index, range(index, last + 1)))
        yield sweep
