"""Chains of consecutive kernels that may pay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tvm_coexec.core.kernel_graph import SplitAxis
from tvm_coexec.core.progress import progress

from ..cached_costs import CachedCosts
from ..chain_sweep import ChainSweep, intervals, least_alone_s
from ..chain_times import ChainTimes
from .outcomes import Outcomes
from .repeats import Key, Repeats, shift_chain

# The longest chain of consecutive kernels.
LONGEST = 32


class RunTimes:
    """The least seconds of runs of consecutive kernels that were found so far.

    Parameters
    ----------
    costs : CachedCosts

    Attributes
    ----------
    best_s : list of dict of int to float
        ``best_s[j][i]``: seconds of kernels ``i..j`` from values on the CPU to values on the CPU.
    """

    def __init__(self, costs: CachedCosts):
        self.costs = costs
        self.best_s: list[dict[int, float]] = []
        self._sums = {d: np.concatenate([[0.0], np.cumsum(costs.whole[d])]).tolist() for d in ("cpu", "gpu")}
        self._up_s = [min((costs.up_s[v] for v in k.inputs), default=0.0) for k in costs.graph.kernels]

    def start(self, last: int) -> None:
        """Begin with the runs that end at a kernel: on the CPU alone, or on the GPU and back."""
        cpu, gpu, down = self._sums["cpu"], self._sums["gpu"], self.costs.down_s[last]
        found = {}
        for i in range(max(0, last - LONGEST + 1), last + 1):
            there = self._up_s[i] + gpu[last + 1] - gpu[i] + down
            found[i] = min(cpu[last + 1] - cpu[i], there)
        self.best_s.append(found)

    def join_runs(self, first: int, last: int) -> None:
        """Improve a run by the best two runs one after the other."""
        best = self.best_s[last]
        best[first] = min([best[first], *(self.best_s[m][first] + best[m + 1] for m in range(first, last))])

    def improve(self, first: int, last: int, seconds: float) -> None:
        """Improve a run by a chain."""
        self.best_s[last][first] = min(self.best_s[last][first], seconds)


def consecutive_chains(
    costs: CachedCosts,
    outcomes: Outcomes,
    axes: Callable[[int], Sequence[SplitAxis]],
    cuts: Callable[[int, SplitAxis], np.ndarray],
    repeats: Repeats,
    may_pay: Callable[[ChainSweep], bool] | None = None,
) -> dict[int, list[ChainTimes]]:
    """Chains of at most `LONGEST` consecutive kernels that may pay, by their first kernel.

    With ``t[i, j]`` the least seconds of kernels ``i..j`` from values on the CPU to values on the CPU, and ``c[i, j]``
    those of the best chain of exactly these kernels::

        t[i, j] = min(whole[i, j], min over m of t[i, m] + t[m + 1, j], c[i, j])

    Ends ``j`` are taken in ascending order, and starts ``i`` of each in descending order, so all that is on the right
    is known. A chain may pay where ``c[i, j]`` is within what its inputs cost to copy of ``t[i, j]``: what it saves
    when they are on the GPU already. No longer chain is tried once the work alone takes longer than ``t[i, j]`` and
    two round trips of the last value: the end of the chain would be better off as a chain of its own.

    Parameters
    ----------
    costs : CachedCosts
    outcomes : Outcomes
    axes : callable
        Axes to try for chains that end at a kernel.
    cuts : callable
        Cuts to try by last kernel and axis.
    repeats : Repeats
        Ends that are alike have the same chains, shifted.
    may_pay : callable, optional
        In the place of these bounds, for graphs where there is time for more: whether the chain of a sweep may pay.
    """
    graph, runs = costs.graph, RunTimes(costs)
    found: dict[int, list[ChainTimes]] = {k.index: [] for k in graph.kernels}
    ending: list[list[ChainTimes]] = []
    seen = _Ends(repeats)
    for k in progress(graph.kernels, "planning: chains", "kernel"):
        last = k.index
        runs.start(last)
        alike, first = seen.find(last)
        if alike is not None:
            by = last - alike
            ending.append([shift_chain(c, by) for c in ending[alike]])
            runs.best_s[-1].update((i + by, s) for i, s in runs.best_s[alike].items() if i >= first)
        else:
            priced: list[tuple[ChainTimes, float]] = []
            reached = last
            for axis in axes(last):
                for first, way in _chains_ending_at(runs, outcomes, last, axis, cuts(last, axis), may_pay):
                    reached = min(reached, first)
                    if way is not None:
                        priced.append(way)
            seen.add(last, max(0, reached - 1))  # the kernel that ended the sweep counts, too
            all_stay = may_pay is not None or outcomes.counts_energy
            ending.append([c for c, end_s in priced if all_stay or _is_worth_a_try(runs, c, end_s)])
        for chain in ending[-1]:
            found[chain.members[0]].append(chain)
    return found


class _Ends:
    """Kernels at which chains end, as a tree: from a kernel to those before it, as far back as was looked at there."""

    def __init__(self, repeats: Repeats):
        self._repeats = repeats
        self._nodes: dict[tuple[int, Key], int] = {}  # by the node after it and the kernel
        self._ends: dict[int, int] = {}  # the first kernel of those that are alike, by node

    def find(self, last: int) -> tuple[int | None, int]:
        """An earlier kernel at which the same chains end, alike as far back as was looked at there; and how far."""
        node = 0
        for index in range(last, max(-1, last - LONGEST - 1), -1):
            following = self._nodes.get((node, self._repeats.of_kernel(index, last)))
            if following is None:
                break
            node = following
            found = self._ends.get(node)
            if found is not None:
                return found, found - (last - index)
        return None, last

    def add(self, last: int, first: int) -> None:
        """Add a kernel; the chains that end there depend on the kernels from `first` on."""
        node = 0
        for index in range(last, first - 1, -1):
            node = self._nodes.setdefault((node, self._repeats.of_kernel(index, last)), len(self._nodes) + 1)
        self._ends.setdefault(node, last)


def _is_worth_a_try(runs: RunTimes, chain: ChainTimes, end_s: float) -> bool:
    """Whether a chain may pay although other ways to compute its kernels may be found by now."""
    costs = runs.costs
    # What a chain saves when its inputs are on the GPU already, others may have to pay.
    slack = sum(costs.up_s[v] + costs.host_copy.seconds(costs.nbytes[v]) for v in chain.outer)
    return end_s <= runs.best_s[chain.members[-1]][chain.members[0]] * (1 + 1e-9) + slack


def _chains_ending_at(
    runs: RunTimes,
    outcomes: Outcomes,
    last: int,
    axis: SplitAxis,
    cuts: np.ndarray,
    may_pay: Callable[[ChainSweep], bool] | None,
) -> Iterator[tuple[int, tuple[ChainTimes, float] | None]]:
    """Starts of chains that end at a kernel, in descending order.

    Each comes with its chain and the seconds from inputs on the CPU, or with `None` where two shorter runs do as well.
    `runs` has the times of those that were given.
    """
    if not len(cuts):
        return
    costs, best = runs.costs, runs.best_s[last]
    slack, heavy = 2 * (costs.down_s[last] + costs.up_s[last]), False
    prunes = may_pay is None and not outcomes.counts_energy
    if prunes and outcomes.add_charges(least_alone_s(costs, last, axis, cuts)) > best[last] + slack:
        yield last, None
        return
    for sweep in intervals(costs, last, axis, cuts, LONGEST):
        first = sweep.members[0]
        heavy = heavy or costs.graph.kernels[first].is_heavy
        runs.join_runs(first, last)
        least = outcomes.add_charges(sweep.alone_s())
        if outcomes.counts_energy:  # what is slower may need less
            pays = True
        elif may_pay is not None:
            pays = may_pay(sweep)
        else:
            pays = least < best[first] and outcomes.add_charges(sweep.least_s()) < best[first]
        if heavy and pays:
            chain = sweep.times()
            places = (1,) * (len(chain.outer) + len(chain.after))
            end_s = min(o.end_s for o in outcomes.on_idle_gpu(chain, places))
            runs.improve(first, last, end_s)
            yield first, (chain, end_s)
            continue
        yield first, None
        if least > best[first] + slack and may_pay is None:
            return  # its end costs more than the meeting before it would: no longer chain is worth it
