"""Chains worth weighing, by the state of execution in which they may begin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel, SplitAxis

from ..cached_costs import CachedCosts
from ..chain_sweep import ChainSweep, inner_cuts, sweep_members
from ..chain_times import ChainTimes
from .blocks import Block, bits, blocks_of, positions, producers_mask
from .branches import Branches, Path
from .consecutive import consecutive_chains
from .outcomes import Outcomes
from .repeats import Key, Repeats, shift_chain

# In graphs of at most this many kernels there is time for every chain.
FEW_KERNELS = 24
# Of how many sets a sweep gives the times: a long one, and what is left of it from one kernel after the other on.
KEPT_STARTS = 8
# Rows are the first choice of axis where maps are tall; columns only where there are no rows.
_ORDER = ("h", "m", "oc", "n", "batch", "ic", "w", "d")


class Candidates:
    """Chains that may pay.

    A chain of consecutive kernels may reach over any number of blocks. Others begin and end within one block, or at the
    kernel that joins its branches: every set of kernels where the block has few states, else paths along a branch, and
    all that is left of the block. A chain that one device alone computes as fast is left out: the search has that, too.
    In graphs of few kernels nothing else is left out.

    The states of a block list the same sets again and again. What is worked out for a set serves all states; so does
    the reason why a set can't carry a split: whatever shares the kernels from there on can't either.

    Parameters
    ----------
    costs : CachedCosts
    outcomes : Outcomes
    axis : str
        ``auto`` or the only axis to use.
    ratio : float, optional
        Fixes the GPU's part.

    Attributes
    ----------
    few : bool
        Whether the graph has few kernels.
    sweeps : int
        Sets of kernels that were swept, for tests of how the work grows.
    """

    def __init__(self, costs: CachedCosts, outcomes: Outcomes, axis: str = "auto", ratio: float | None = None):
        self.outcomes = outcomes
        self.costs, self.graph = costs, costs.graph
        self.axis, self.ratio = axis, ratio
        self.blocks: list[Block] = blocks_of(self.graph)
        self.block_of = {k: b for b in self.blocks for k in range(b.start, b.stop)}
        self.producers = producers_mask(self.graph)
        self.few = len(self.graph.kernels) <= FEW_KERNELS
        self.sweeps = 0
        self._heavy = sum(1 << k.index for k in self.graph.kernels if k.is_heavy)
        self._branches = Branches(self.graph, self.producers)
        self._repeats = Repeats(self.graph)
        # chains by the kernels as a bit mask; and of the first of sets that repeat, with its first kernel
        self._chains_of: dict[int, list[ChainTimes]] = {}
        self._chains_like: dict[Key, tuple[int, list[ChainTimes]]] = {}
        # by last kernel and dimension: ends of sets that can't carry a split, by their first kernel
        self._broken: dict[tuple[int, int], dict[int, set[int]]] = {}
        self._without_chains: set[Key] = set()  # as `Repeats.of_work` has them
        self._swept: dict[tuple[tuple[int, ...], int], ChainTimes] = {}
        self._axes: dict[int, list[SplitAxis]] = {}
        self._cuts: dict[tuple[int, int], np.ndarray] = {}
        # rows may be asked of every kernel on the way of a chain that ends further down
        costs.ask_all({k.index: self._dims(k) for k in self.graph.kernels})
        may_pay = self._sweep_may_pay if self.few else None
        self.consecutive = consecutive_chains(costs, outcomes, self.axes, self._inner_cuts, self._repeats, may_pay)

    def axes(self, index: int) -> list[SplitAxis]:
        """Axes along which a chain that ends at a kernel may be divided."""
        kernel = self.graph.kernels[index]
        if self.axis != "auto":
            only = kernel.named_axis(self.axis)
            return [only] if only is not None and only.extent > only.tile else []
        named = {a.name: a for a in kernel.axes if a.extent > a.tile}  # others have no cut
        found = [named[n] for n in _ORDER if n in named]
        has_rows = any(a.name in ("h", "m") for a in found)
        return [a for a in found if not (has_rows and a.name in ("w", "d"))]

    def _dims(self, kernel: Kernel) -> list[int]:
        """Dimensions along which shares of a kernel are likely to be asked for."""
        if self.axis == "auto":
            return [a.dim for a in self.axes(kernel.index)]
        return [a.dim for a in kernel.axes if a.name == self.axis or not a.reduces]

    def starting_at(self, done: int, ready: int, block: Block) -> list[ChainTimes]:
        """Chains that may run when exactly the kernels of `done` have run, so that those of `ready` may run next."""
        first = (~done & (done + 1)).bit_length() - 1
        is_prefix = done == (1 << first) - 1
        found = list(self.consecutive[first]) if is_prefix else []
        if block.stop - block.start == 1:
            return found
        if not is_prefix:
            first = -1
        if block.states is not None:
            for mask in self._sets_of_small_block(done, block):
                if self._is_wanted(mask, first):
                    found += self._chains_of_set(mask)
            return found
        rest, is_listed = (1 << block.stop) - (1 << block.start) & ~done, False
        for k in positions(ready):
            path = self._branches.path(k, done, block.stop)
            chains = path.chains.get(k == first)
            found += self._chains_along(path, k, k == first) if chains is None else chains
            is_listed = is_listed or path.masks[-1] == rest  # a branch may be all that is left
        if not is_listed and self._is_wanted(rest, first):
            found += self._chains_of_set(rest)
        return found

    def _sets_of_small_block(self, done: int, block: Block) -> Iterator[int]:
        """Every set of kernels that may run next, and those with what joins the branches."""
        inside = (1 << block.stop) - (1 << block.start)
        for other in block.states or ():
            more = other & ~done
            if more and done & inside & ~other == 0:
                yield more
                if other == inside and block.stop < len(self.graph.kernels):
                    yield more | 1 << block.stop

    def _is_wanted(self, mask: int, first: int) -> bool:
        """Whether a set has something heavy and is not among the chains of consecutive kernels from `first` on."""
        if not mask & self._heavy:
            return False
        run = mask >> first if first >= 0 else 0
        return not (run & 1 and mask & ((1 << first) - 1) == 0 and run & (run + 1) == 0)

    def _chains_along(self, path: Path, k: int, is_first: bool) -> list[ChainTimes]:
        """Chains of the sets along the branch that begins with a kernel."""
        masks = [mask for mask in path.masks if self._is_wanted(mask, k if is_first else -1)]
        path.chains[is_first] = [chain for mask in masks for chain in self._chains_of_set(mask)]
        return path.chains[is_first]

    def _chains_of_set(self, mask: int) -> list[ChainTimes]:
        """Chains of a set of kernels along each axis that may pay."""
        if mask in self._chains_of:
            return self._chains_of[mask]
        last = mask.bit_length() - 1
        axes = [a for a in self._axes_of(last) if not self._is_broken(mask, last, a)]
        if not axes:
            return []
        self._chains_of[mask] = self._sweep(mask, axes)
        return self._chains_of[mask]

    def _axes_of(self, last: int) -> list[SplitAxis]:
        if last not in self._axes:
            self._axes[last] = self.axes(last)
        return self._axes[last]

    def _is_broken(self, mask: int, last: int, axis: SplitAxis) -> bool:
        """Whether the end of a set is known not to carry the split."""
        ends_of = self._broken.get((last, axis.dim))
        return ends_of is not None and any(mask >> first in ends for first, ends in ends_of.items())

    def _sweep(self, mask: int, axes: list[SplitAxis]) -> list[ChainTimes]:
        members = tuple(bits(mask))
        key = self._repeats.of_set(mask, members)
        if key not in self._chains_like:
            work = self._repeats.of_work(mask, members)
            found = [] if work in self._without_chains else self._sweep_first(members, axes)
            if not found:
                self._without_chains.add(work)
            self._chains_like[key] = (members[0], found)
        start, found = self._chains_like[key]
        return [shift_chain(c, members[0] - start) for c in found]

    def _sweep_first(self, members: tuple[int, ...], axes: list[SplitAxis]) -> list[ChainTimes]:
        """Chains of the first of sets that repeat."""
        every = [self._times_of(members, axis) for axis in axes]
        alone = self._alone(members)
        return [t for t in every if t is not None and self._may_pay(t.gpu_s, t.cpu_s, t.join_s, *alone)]

    def _times_of(self, members: tuple[int, ...], axis: SplitAxis) -> ChainTimes | None:
        """Times of a set of kernels as one chain; `None` where it can't carry the split.

        States that follow one another list the same branch from one kernel further on: the sweep of a long set gives
        the next of these as well.
        """
        last, starts = members[-1], KEPT_STARTS if len(members) > KEPT_STARTS else 1
        swept = self._swept.pop((members, axis.dim), None)
        if swept is not None:
            return swept
        self.sweeps += 1
        reached, found = sweep_members(self.costs, members, axis, self._inner_cuts(last, axis), starts)
        if not found:
            ends = self._broken.setdefault((last, axis.dim), {}).setdefault(reached, set())
            ends.add(sum(1 << m - reached for m in members if m >= reached))
            return None
        self._swept.update({(chain.members, axis.dim): chain for chain in found[1:]})
        return found[0]

    def _alone(self, members: tuple[int, ...] | list[int]) -> tuple[float, float, int]:
        whole = self.costs.whole
        return sum(whole["cpu"][m] for m in members), sum(whole["gpu"][m] for m in members), members[-1]

    def _inner_cuts(self, last: int, axis: SplitAxis) -> np.ndarray:
        if (last, axis.dim) not in self._cuts:
            self._cuts[last, axis.dim] = inner_cuts(axis, self.ratio)
        return self._cuts[last, axis.dim]

    def _sweep_may_pay(self, sweep: ChainSweep) -> bool:
        return self._may_pay(sweep.gpu_s, sweep.cpu_s, sweep.join_s, *self._alone(sweep.members))

    def _may_pay(
        self,
        gpu_s: np.ndarray,
        cpu_s: np.ndarray,
        join_s: np.ndarray,
        cpu_alone: float,
        gpu_alone: float,
        last: int,
    ) -> bool:
        if not len(gpu_s):
            return False
        if self.outcomes.counts_energy:  # what is slower may need less
            return True
        least = float((np.maximum(gpu_s, cpu_s) + join_s).min())
        return least < cpu_alone and least < gpu_alone + self.costs.down_s[last]
