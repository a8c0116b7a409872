"""Times of a chain for all its cuts at once.

A chain's ranges follow from its end backwards (halo rows), so for a fixed end and axis a kernel added in front changes
nothing of those behind it: one walk backwards gives every chain that ends there. Ranges are arrays with a column for
each cut and three rows: what the GPU computes, what the CPU computes, and what the GPU would compute for the chain's
last value alone, which is where values that others read as well are cut (see `chain_shares`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel, KernelGraph, Need, SplitAxis, Step, cuts_of

from .cached_costs import Tables, side_by_side
from .simulator import ADD_PER_COPY

GPU, CPU, NATURAL = 0, 1, 2
_BIG = 1 << 40


@dataclass(frozen=True)
class Outer:
    """What a chain's shares read of a value from outside, as fractions; arrays have shape (cuts,).

    Attributes
    ----------
    gpu, cpu : array
    whole : bool
        Both shares read all of it, at every cut.
    part : bool
        Each share reads something but not all, at every cut.
    """

    gpu: np.ndarray
    cpu: np.ndarray
    whole: bool
    part: bool

    @cached_property
    def all_read(self) -> bool:
        """Whether the CPU's share reads something at every cut."""
        return self.whole or self.part or bool((self.cpu > 0).all())


def outer(gpu: np.ndarray, cpu: np.ndarray) -> Outer:
    """With its flags."""
    low, high = min(gpu.min(), cpu.min()), max(gpu.max(), cpu.max())
    return Outer(gpu, cpu, bool(low == 1), bool(low > 0 and high < 1))


@dataclass(frozen=True)
class ChainTimes:
    """One chain along one axis at all its cuts; arrays have shape (cuts,).

    Attributes
    ----------
    members : tuple of int
        Ascending.
    axis : str
        Axis of the last member.
    cuts : array
    gpu_s, cpu_s : array
        Work of each share.
    join_s : array
        Downloads and joins of all values that leave.
    leaves : dict of int to (array, int)
        Per member whose value leaves: where the GPU's part ends, and the extent.
    outer : dict of int to Outer
        Per value from outside what the shares read.
    after : tuple of int
        Values that the CPU reads after the join.
    joules : array
        Of the work alone, beyond idle power.
    origin : ChainTimes or None
        The chain that this one repeats (see `repeats`); its values lie `shift` kernels further up.
    shift : int
    """

    members: tuple[int, ...]
    axis: str
    cuts: np.ndarray
    gpu_s: np.ndarray
    cpu_s: np.ndarray
    join_s: np.ndarray
    leaves: dict[int, tuple[np.ndarray, int]]
    outer: dict[int, Outer]
    after: tuple[int, ...]
    joules: np.ndarray
    origin: ChainTimes | None = None
    shift: int = 0

    @cached_property
    def mask(self) -> int:
        """The members as a bit mask."""
        return sum(1 << m for m in self.members)


class Walk:
    """Chains that end at one kernel along one of its axes; `add` puts one more kernel in front.

    Parameters
    ----------
    tables : Tables
    last : int
    axis : SplitAxis
        Of the last kernel.
    cuts : array, shape (cuts,)
    """

    def __init__(self, tables: Tables, last: int, axis: SplitAxis, cuts: np.ndarray):
        self.tables, self.graph = tables, tables.graph
        self.last, self.axis, self.cuts = last, axis, cuts
        zero, ends = np.zeros_like(cuts), np.full_like(cuts, axis.extent)
        seed = (np.stack([zero, cuts, zero]), np.stack([cuts, ends, cuts]))
        self.members: list[int] = []
        self.inside: set[int] = set()
        self.dims = {last: axis.dim}
        self.ranges: dict[int, tuple[np.ndarray, np.ndarray]] = {last: seed}
        self.after: list[int] = []
        self.leaves: dict[int, tuple[np.ndarray, int]] = {}
        self.asked: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self.gpu_s = self.cpu_s = self.join_s = np.zeros(len(cuts))
        self.joules = np.zeros(len(cuts))

    def add(self, index: int, leaves: bool) -> bool:
        """Puts a kernel in front of the members.

        Parameters
        ----------
        index : int
            Smaller than every member.
        leaves : bool
            Whether its value is read by others than the members, or is an output of the model.

        Returns
        -------
        bool
            `False` when the chain can't carry the split through that kernel; the walk ends there.
        """
        kernel = self.graph.kernels[index]
        if index in self.after:
            return False
        split = self._split(kernel)
        if split is None:
            return False
        lo, hi = self.ranges.pop(index, (None, None))
        if lo is None:  # a second sink beside the chain: cut at the same part of its extent
            lo, hi, cuts = self._second_sink(split)
            self._leave(kernel, split, cuts)
        elif leaves or index == self.last:
            cuts = hi[NATURAL]
            if index != self.last:
                some = lo[CPU] < hi[CPU]
                lo = lo.copy()
                hi = hi.copy()
                lo[CPU] = np.minimum(np.where(some, lo[CPU], cuts), cuts)
                hi[CPU] = split.extent
                some = lo[GPU] < hi[GPU]
                lo[GPU] = 0
                hi[GPU] = np.maximum(np.where(some, hi[GPU], 0), cuts)
            self._leave(kernel, split, cuts)
        if split.granule > 1:
            some = lo < hi
            lo = np.where(some, lo // split.granule * split.granule, 0)
            hi = np.where(some, np.minimum(split.extent, -(-hi // split.granule) * split.granule), 0)
        self._count(kernel, split, lo, hi)
        asked = self.asked.pop(index, ())
        if (leaves and index != self.last) or len(asked) > 1 or split.granule > 1:
            self._slices(kernel, split, lo, hi, asked)
        self.members.insert(0, index)
        self.inside.add(index)
        return self._demand(kernel, split, lo, hi)

    def times(self) -> ChainTimes:
        """The chain of the present members."""
        read = {}
        for value, (lo, hi) in self.ranges.items():
            rows = np.maximum(0, hi[:2] - lo[:2])
            whole = self.dims[value]
            extent = 1 if whole is None else self.graph.tensor(value).shape[whole]
            read[value] = outer(rows[GPU] / extent, rows[CPU] / extent)
        return ChainTimes(
            tuple(self.members), self.axis.name, self.cuts, self.gpu_s, self.cpu_s, self.join_s, dict(self.leaves),
            read, tuple(self.after), self.joules,
        )  # fmt: skip

    def alone_s(self) -> float:
        """Seconds of the work at the best cut, were there no meeting and no contention: what is quick to say."""
        return float(np.maximum(self.gpu_s, self.cpu_s).min())

    def least_s(self) -> float:
        """Seconds that the chain takes at least from inputs on the CPU."""
        tables = self.tables
        copy, up = tables.host_copy, tables.upload
        out = 0.0
        for value in self.ranges:
            if self.dims[value] is None:
                out += tables.up_s[value]
            else:  # both slices together are at least the whole
                out += 2 * copy.constant_s + up.constant_s + tables.nbytes[value] * copy.per_byte_s
        return out + float(
            (np.maximum(*side_by_side(tables.slow, self.gpu_s, self.cpu_s, np.minimum)) + self.join_s).min()
        )

    def _split(self, kernel: Kernel) -> SplitAxis | None:
        if kernel.index == self.last:
            return self.axis
        if kernel.index in self.dims:
            dim = self.dims[kernel.index]
            return None if dim is None else kernel.axis(dim)
        own = kernel.named_axis(self.axis.name)
        # beside the chain, on a value that the chain reads as well
        if own is None or own.reduces or not any(v in self.ranges or v in self.inside for v in kernel.inputs):
            return None
        return own

    def _second_sink(self, split: SplitAxis) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        step = split.align if split.align % split.granule == 0 else split.granule
        cuts = np.clip((self.cuts / self.axis.extent * split.extent / step + 0.5).astype(int) * step, 0, split.extent)
        zero = np.zeros_like(cuts)
        return np.stack([zero, cuts, zero]), np.stack([cuts, np.full_like(cuts, split.extent), zero]), cuts

    def _leave(self, kernel: Kernel, split: SplitAxis, cuts: np.ndarray) -> None:
        tables, nbytes = self.tables, kernel.out_bytes
        self.leaves[kernel.index] = (cuts, split.extent)
        if split.reduces:
            part, copied = np.full(len(cuts), float(nbytes)), nbytes * ADD_PER_COPY
        else:
            part, copied = nbytes * cuts / split.extent, float(nbytes)
        joined = tables.downloads.seconds(part) + tables.host_copies.seconds(np.full(len(cuts), copied))
        self.join_s = self.join_s + np.where((cuts > 0) & (cuts < split.extent), joined, 0.0)

    def _count(self, kernel: Kernel, split: SplitAxis, lo: np.ndarray, hi: np.ndarray) -> None:
        rows = hi[:2] - lo[:2]
        gpu = self.tables.by_rows("gpu", kernel, split.dim)[rows[GPU]]
        cpu = self.tables.by_rows("cpu", kernel, split.dim)[rows[CPU]]
        enqueue_s = self.tables.enqueues[kernel.index]
        begun = (rows[GPU] > 0) * enqueue_s if enqueue_s else 0.0
        self.gpu_s, self.cpu_s = self.gpu_s + gpu, self.cpu_s + cpu + begun
        watts = self.tables.watts
        if self.tables.power is not None:
            self.joules = self.joules + gpu * watts["gpu"][kernel.index] + cpu * watts["cpu"][kernel.index]

    def _slices(self, kernel: Kernel, split: SplitAxis, lo: np.ndarray, hi: np.ndarray, asked) -> None:
        """What it takes to give each reader its part of a value, where that is not all that a share computed."""
        tables, row_bytes = self.tables, kernel.out_bytes / split.extent
        parts = list(asked)
        if kernel.index in self.leaves and not split.reduces:
            cuts = self.leaves[kernel.index][0]
            parts.append((np.stack([0 * cuts, cuts]), np.stack([cuts, 0 * cuts + split.extent])))
        for a, b in parts:
            a, b = a[:2], b[:2]
            nbytes = (b - a) * row_bytes * ((a < b) & ((a != lo[:2]) | (b != hi[:2])))
            self.gpu_s = self.gpu_s + tables.gpu_slice_s(nbytes[GPU])
            self.cpu_s = self.cpu_s + tables.host_copies.seconds(nbytes[CPU]) + tables.enqueue_s * (nbytes[GPU] > 0)

    def _demand(self, kernel: Kernel, split: SplitAxis, lo: np.ndarray, hi: np.ndarray) -> bool:
        """What the kernel needs of its inputs; `False` when two readers need a value in ways that don't agree."""
        works = None
        for value, need in zip(kernel.inputs, split.needs, strict=True):
            if need is not None and need.after_join:
                self.after.append(value)
                if not need.paths:
                    continue
            if need is None:
                works = lo < hi if works is None else works
                new = (np.zeros_like(lo), works.astype(int))
                dim = None
            else:
                new, dim = need_arrays(need, lo, hi), need.dim
                self.asked.setdefault(value, []).append(new)
            old = self.ranges.get(value)
            if old is None:
                self.ranges[value], self.dims[value] = new, dim
            elif self.dims[value] == dim:
                self.ranges[value] = union_arrays(old, new)
            else:
                # Divided two ways at once: it can't be a member; from outside all of it is read.
                some = (old[0] < old[1]) | (new[0] < new[1])
                self.ranges[value], self.dims[value] = (np.zeros_like(lo), some.astype(int)), None
        return True


def step_arrays(step: Step, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Step.apply` for arrays; an empty range stays one."""
    if type(step) is not Step:  # a rule's own kind of step knows its own way
        pairs = {r: step.apply(r) for r in set(zip(lo.ravel().tolist(), hi.ravel().tolist(), strict=True))}
        found = np.array([pairs[r] for r in zip(lo.ravel().tolist(), hi.ravel().tolist(), strict=True)])
        return found[:, 0].reshape(lo.shape), found[:, 1].reshape(lo.shape)
    if step.a == 1 and step.b == 0 and step.e == 0 and step.c == 1:
        high = np.minimum(hi, step.extent)  # the first field of a concatenation is shorter than what it goes into
        return np.minimum(lo, high), high
    some = lo < hi
    low = np.maximum(0, (lo * step.a + step.b) // step.c)
    high = np.minimum(step.extent, ((hi - 1) * step.a + step.e) // step.c + 1)
    some &= low < high
    return low * some, high * some


def union_arrays(a, b) -> tuple[np.ndarray, np.ndarray]:
    """Smallest ranges that hold both; an empty range adds nothing."""
    some_a, some_b = a[0] < a[1], b[0] < b[1]
    lo = np.minimum(np.where(some_a, a[0], _BIG), np.where(some_b, b[0], _BIG))
    hi = np.maximum(a[1] * some_a, b[1] * some_b)
    return np.where(lo == _BIG, 0, lo), hi


def need_arrays(need: Need, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Need.apply` for arrays."""
    total = None
    for path in need.paths:
        a, b = lo, hi
        for step in path:
            a, b = step_arrays(step, a, b)
        total = (a, b) if total is None else union_arrays(total, (a, b))
    return total if total is not None else (np.zeros_like(lo), np.zeros_like(hi))


def inner_cuts(axis: SplitAxis, ratio: float | None) -> np.ndarray:
    """Cuts to weigh: every aligned one, or the one nearest to a given ratio."""
    cuts = np.array(cuts_of(axis), int)
    if ratio is None or not len(cuts):
        return cuts
    return cuts[[int(np.argmin(np.abs(cuts / axis.extent - ratio)))]]


def chain_times(tables: Tables, members: Sequence[int], axis: SplitAxis, cuts: np.ndarray) -> ChainTimes | None:
    """Times of a set of kernels as one chain; `None` where it can't carry the split."""
    _, found = sweep_members(tables, members, axis, cuts)
    return found[0] if found else None


def sweep_members(
    tables: Tables, members: Sequence[int], axis: SplitAxis, cuts: np.ndarray, starts: int = 1
) -> tuple[int, list[ChainTimes]]:
    """Times of a set of kernels as one chain, and of what is left of it without its first kernels.

    Parameters
    ----------
    tables : Tables
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
    graph, inside = tables.graph, set(members)
    walk, found = Walk(tables, members[-1], axis, cuts), []
    for index in reversed(members):
        if not walk.add(index, _leaves(graph, index, inside)):
            return index, []
        if index <= members[min(starts, len(members)) - 1]:
            found.append(walk.times())
    return members[0], found[::-1]


def _leaves(graph: KernelGraph, index: int, inside: set[int]) -> bool:
    return index in graph.outputs or any(c not in inside for c in graph.consumers.get(index, ()))


def intervals(tables: Tables, last: int, axis: SplitAxis, cuts: np.ndarray, longest: int) -> Iterator[Walk]:
    """Chains of consecutive kernels that end at `last`, from the shortest on; the walk is shared, read it at once."""
    graph, outputs = tables.graph, set(tables.graph.outputs)
    walk = Walk(tables, last, axis, cuts)
    for index in range(last, max(-1, last - longest), -1):
        readers = graph.consumers.get(index, ())
        leaves = index in outputs or any(c > last for c in readers)
        if not walk.add(index, leaves):
            return
        yield walk
