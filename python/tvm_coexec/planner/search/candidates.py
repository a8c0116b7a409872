"""Chains worth weighing, by the state of execution in which they may begin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel, SplitAxis

from ..cached_costs import CachedCosts
from ..chain_sweep import ChainSweep, ChainTimes, chain_times, inner_cuts, intervals
from .blocks import Block, bits, blocks_of, producers_mask
from .outcomes import Outcomes
from .repeats import Key, Repeats, moved

# The longest chain of consecutive kernels.
LONGEST = 32
# In graphs of so few kernels there is time for every chain.
FEW_KERNELS = 24
# Rows are the first choice of axis where maps are tall; columns only where there are no rows.
_ORDER = ("h", "m", "oc", "n", "batch", "ic", "w", "d")


class Candidates:
    """Chains that may pay.

    A chain of consecutive kernels may reach over any number of blocks. Others begin and end within one block, or at the
    kernel that joins its branches: every set of kernels where the block has few states, else paths along a branch, and
    all that is left of the block. A chain that one device alone computes as fast is left out: the search has that, too.
    In graphs of few kernels nothing else is left out.

    Parameters
    ----------
    tables : CachedCosts
    axis : str
        ``auto`` or the only axis to use.
    ratio : float, optional
        Fixes the GPU's part.
    outcomes : Outcomes
    """

    def __init__(self, tables: CachedCosts, outcomes: Outcomes, axis: str = "auto", ratio: float | None = None):
        self.outcomes = outcomes
        self.tables, self.graph = tables, tables.graph
        self.axis, self.ratio = axis, ratio
        self.blocks: list[Block] = blocks_of(self.graph)
        self.block_of = {k: b for b in self.blocks for k in range(b.start, b.stop)}
        self.producers = producers_mask(self.graph)
        self.few = len(self.graph.kernels) <= FEW_KERNELS
        self.heavy = sum(1 << k.index for k in self.graph.kernels if k.is_heavy)
        self._repeats = Repeats(self.graph)
        self._sets: dict[tuple[int, ...], list[ChainTimes]] = {}
        self._sets_like: dict[Key, tuple[int, list[ChainTimes]]] = {}
        self._cuts: dict[tuple[int, int], np.ndarray] = {}
        sums = {d: np.concatenate([[0.0], np.cumsum(tables.whole[d])]) for d in ("cpu", "gpu")}
        self._sums = {d: s.tolist() for d, s in sums.items()}
        self._up_s = [min((tables.up_s[v] for v in k.inputs), default=0.0) for k in self.graph.kernels]
        self.consecutive: dict[int, list[ChainTimes]] = {k.index: [] for k in self.graph.kernels}
        # rows may be asked of every kernel on the way of a chain that ends further down
        tables.ask_all({k.index: self._dims(k) for k in self.graph.kernels})
        # _best_s[j][i]: seconds of kernels i..j from values on the CPU to values on the CPU, by what was found so far
        self._best_s: list[dict[int, float]] = []
        self._seen: dict[Key, int] = {}
        ending: list[list[ChainTimes]] = []
        for k in self.graph.kernels:
            like, first = self._like(k.index)
            self._best_s.append(self._without_chains(k.index))
            if like is None:
                ending.append(self._ending_at(k.index))
            else:
                by = k.index - like
                ending.append([moved(c, by) for c in ending[like]])
                self._best_s[-1].update((i + by, s) for i, s in self._best_s[like].items() if i >= first)
            for chain in ending[-1]:
                self.consecutive[chain.members[0]].append(chain)

    def _like(self, last: int) -> tuple[int | None, int]:
        """An earlier kernel at which the same chains end, alike as far back as was looked at there; and how far."""
        key: list = []
        for index in range(last, max(-1, last - LONGEST - 1), -1):
            key.append(self._repeats.of_kernel(index, last))
            found = self._seen.get(tuple(key))
            if found is not None:
                return found, found - (last - index)
        return None, last

    def _ending_at(self, last: int) -> list[ChainTimes]:
        """Chains of consecutive kernels that end there and may pay."""
        found, far = [], last
        for axis in self.axes(last):
            reached = last
            for sweep, chain_s in self._intervals(last, axis):
                reached = sweep.members[0]
                if chain_s is not None:
                    found.append(chain_s)
            far = min(far, reached)
        kept = []
        for chain, end_s in found:
            # What a chain saves when its inputs are on the GPU already, others may have to pay.
            tables = self.tables
            slack = sum(tables.up_s[v] + tables.host_copy.seconds(tables.nbytes[v]) for v in chain.outer)
            if (
                self.few
                or self.outcomes.counts_energy
                or end_s <= self._best_s[last][chain.members[0]] * (1 + 1e-9) + slack
            ):
                kept.append(chain)
        # the kernel that ended the sweep counts, too
        key = tuple(self._repeats.of_kernel(i, last) for i in range(last, max(0, far - 1) - 1, -1))
        self._seen.setdefault(key, last)
        return kept

    def axes(self, index: int) -> list[SplitAxis]:
        """Axes along which a chain that ends at a kernel may be divided."""
        kernel = self.graph.kernels[index]
        if self.axis != "auto":
            found = kernel.named_axis(self.axis)
            return [found] if found is not None else []
        named = {a.name: a for a in kernel.axes}
        found = [named[n] for n in _ORDER if n in named]
        has_rows = any(a.name in ("h", "m") for a in found)
        return [a for a in found if not (has_rows and a.name in ("w", "d"))]

    def _dims(self, kernel: Kernel) -> list[int]:
        """Dimensions along which shares of a kernel are likely to be asked for."""
        if self.axis == "auto":
            return [a.dim for a in self.axes(kernel.index)]
        return [a.dim for a in kernel.axes if a.name == self.axis or not a.reduces]

    def starting_at(self, state: int, block: Block) -> Iterator[ChainTimes]:
        """Chains that may run when exactly the kernels of `state` have run."""
        first = block.start
        while state >> first & 1:
            first += 1
        is_prefix = state == (1 << first) - 1
        if is_prefix:
            yield from self.consecutive[first]
        for members in dict.fromkeys(self._sets_from(state, block, first if is_prefix else -1)):
            yield from self._of_set(members)

    def _sets_from(self, state: int, block: Block, first: int) -> Iterator[tuple[int, ...]]:
        """Sets of kernels within the block; not those that are consecutive from `first`."""
        if block.stop - block.start == 1:
            return
        inside = (1 << block.stop) - (1 << block.start)
        base = state & ~inside
        if block.states is not None:
            for other in block.states:
                more = (other | base) & ~state
                if more and state & ~(other | base) == 0:
                    yield from self._unless_consecutive(more, first)
                    if other == inside and block.stop < len(self.graph.kernels):  # and what joins the branches
                        yield from self._unless_consecutive(more | 1 << block.stop, first)
            return
        for k in range(block.start, block.stop):
            if not state >> k & 1 and not self.producers[k] & ~state:
                for more in self._along_branch(state, k, block):
                    yield from self._unless_consecutive(more, first)
        yield from self._unless_consecutive(inside & ~state, first)

    def _unless_consecutive(self, mask: int, first: int) -> Iterator[tuple[int, ...]]:
        members = tuple(bits(mask))
        if mask & self.heavy and not (members[0] == first and members[-1] - members[0] + 1 == len(members)):
            yield members

    def _along_branch(self, state: int, k: int, block: Block) -> Iterator[int]:
        """The path that begins with a kernel, as far as nothing of other branches is needed."""
        mask = 1 << k
        yield mask
        while True:
            onward = [c for c in self.graph.consumers.get(k, ()) if c < block.stop]
            free = [c for c in onward if not self.producers[c] & ~(state | mask)]
            if len(free) != 1:
                return
            k = free[0]
            mask |= 1 << k
            yield mask

    def _of_set(self, members: tuple[int, ...]) -> list[ChainTimes]:
        if members in self._sets:
            return self._sets[members]
        key = self._repeats.of_set(members)
        if key not in self._sets_like:
            found = []
            for axis in self.axes(members[-1]):
                times = chain_times(self.tables, members, axis, self._inner_cuts(members[-1], axis))
                if times is not None and self._may_pay(times.gpu_s, times.cpu_s, times.join_s, *self._alone(members)):
                    found.append(times)
            self._sets_like[key] = (members[0], found)
        start, found = self._sets_like[key]
        self._sets[members] = [moved(c, members[0] - start) for c in found]
        return self._sets[members]

    def _alone(self, members: tuple[int, ...]) -> tuple[float, float, int]:
        whole = self.tables.whole
        return sum(whole["cpu"][m] for m in members), sum(whole["gpu"][m] for m in members), members[-1]

    def _inner_cuts(self, last: int, axis: SplitAxis) -> np.ndarray:
        if (last, axis.dim) not in self._cuts:
            self._cuts[last, axis.dim] = inner_cuts(axis, self.ratio)
        return self._cuts[last, axis.dim]

    def _may_pay(self, gpu_s, cpu_s, join_s, cpu_alone: float, gpu_alone: float, last: int) -> bool:
        if not len(gpu_s):
            return False
        if self.outcomes.counts_energy:  # what is slower may need less
            return True
        least = float((np.maximum(gpu_s, cpu_s) + join_s).min())
        return least < cpu_alone and least < gpu_alone + self.tables.down_s[last]

    def _without_chains(self, last: int) -> dict[int, float]:
        """Seconds of the kernels from each one on up to `last`, on the CPU alone or on the GPU and back."""
        cpu, gpu, down = self._sums["cpu"], self._sums["gpu"], self.tables.down_s[last]
        found = {}
        for i in range(max(0, last - LONGEST + 1), last + 1):
            there = self._up_s[i] + gpu[last + 1] - gpu[i] + down
            found[i] = min(cpu[last + 1] - cpu[i], there)
        return found

    def _intervals(self, last: int, axis: SplitAxis) -> Iterator[tuple[ChainSweep, tuple[ChainTimes, float] | None]]:
        """Chains of consecutive kernels that end at `last`, longer and longer, and seconds from inputs on the CPU.

        In the place of a chain that two shorter runs do as well is `None`.
        """
        cuts = self._inner_cuts(last, axis)
        if not len(cuts):
            return
        best, slack = self._best_s[last], 2 * (self.tables.down_s[last] + self.tables.up_s[last])
        heavy, all_count = False, self.outcomes.counts_energy
        for sweep in intervals(self.tables, last, axis, cuts, LONGEST):
            first = sweep.members[0]
            heavy = heavy or self.graph.kernels[first].is_heavy
            # the best of two runs one after the other
            best[first] = min([best[first], *(self._best_s[m][first] + best[m + 1] for m in range(first, last))])
            least = self.outcomes.charged(sweep.alone_s())
            if self.few:
                may_pay = self._may_pay(sweep.gpu_s, sweep.cpu_s, sweep.join_s, *self._alone(sweep.members))
            else:
                may_pay = least < best[first] and self.outcomes.charged(sweep.least_s()) < best[first]
            if heavy and (all_count or may_pay):
                chain = sweep.times()
                end = min(o.end_s for o in self.outcomes.of(chain, (1,) * (len(chain.outer) + len(chain.after)), 0.0))
                best[first] = min(best[first], end)
                yield sweep, (chain, end)
                continue
            yield sweep, None
            if least > best[first] + slack and not self.few:
                return  # its end costs more than the meeting before it would: no longer chain is worth it
