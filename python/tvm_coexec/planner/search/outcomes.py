"""Outcomes of chains: from where the inputs are, the cut at which the chain ends first, and when."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..cached_costs import CachedCosts, side_by_side
from ..chain_times import ChainTimes, Outer
from ..meeting import Seconds
from .residency import ON_CPU, ON_GPU


class Outcome(NamedTuple):
    """A chain run at one of its cuts; times are seconds after the host's now.

    Attributes
    ----------
    end_s : float
        When the joined value is there.
    joules : float
        Of the work, beyond idle power.
    cut : int
    on_cpu, on_gpu : tuple of int
        Values that are on that device because of the chain.
    """

    end_s: float
    joules: float
    cut: int
    on_cpu: tuple[int, ...]
    on_gpu: tuple[int, ...]


class Outcomes:
    """Outcomes of chains.

    Parameters
    ----------
    tables : CachedCosts
    margin : float
        Safety margin, as a fraction of the chain's predicted time.
    meeting_s : float
        Seconds added to each chain: of plans that promise nearly the same, the one with fewer sync points wins.
    counts_energy : bool
        Whether the cuts that need least energy and least energy-delay count as well.
    """

    def __init__(self, tables: CachedCosts, margin: float = 0.0, meeting_s: float = 0.0, counts_energy: bool = False):
        self.tables, self.margin, self.meeting_s, self.counts_energy = tables, margin, meeting_s, counts_energy

    def add_charges(self, seconds: float) -> float:
        """Seconds of a chain with the safety margin and the charge for its sync points."""
        return seconds * (1.0 + self.margin) + self.meeting_s

    def on_idle_gpu(self, chain: ChainTimes, places: tuple[int, ...]) -> list[Outcome]:
        """As `of` without a backlog; worked out once for each of the places."""
        found = chain.idle_outcomes.get(places)
        if found is None:
            found = chain.idle_outcomes[places] = self.of(chain, places, 0.0)
        return found

    def of(self, chain: ChainTimes, places: tuple[int, ...], backlog_s: float) -> list[Outcome]:
        """Outcomes worth going on from.

        Parameters
        ----------
        chain : ChainTimes
        places : tuple of int
            Where the values that the chain reads are, in the order of ``(*chain.outer, *chain.after)``: `ON_CPU`,
            `ON_GPU`, or the sum of both.
        backlog_s : float
            For how long the GPU is still busy with something else.
        """
        out: Seconds = 0.0
        for (v, outer), place in zip(chain.outer.items(), places, strict=False):
            out = self._scatter(v, outer, place, out, backlog_s)
        both_s = chain.both_s
        if backlog_s:
            left_s = backlog_s - out
            gpu = np.where(left_s > 0, left_s, self.tables.start_s) + chain.gpu_s
            both_s = np.maximum(*side_by_side(chain.slow, gpu, chain.cpu_s, np.minimum))
        end = out + both_s + chain.join_s
        late = [
            v
            for v, place in zip(chain.after, places[len(chain.outer) :], strict=True)
            if not place & ON_CPU and v not in chain.outer
        ]
        if late:
            end = end + sum(self.tables.down_s[v] for v in late)
        if self.margin or self.meeting_s:
            end = end * (1.0 + self.margin) + (self.meeting_s - backlog_s * self.margin)
        if not self.counts_energy:
            return [self._outcome(chain, places, late, end, int(end.argmin()))]
        return [self._outcome(chain, places, late, end, i) for i in self._best_cuts(end, chain)]

    def _scatter(self, value: int, outer: Outer, place: int, out: Seconds, backlog_s: float) -> Seconds:
        """When the host has brought a value to both shares."""
        tables = self.tables
        nbytes = tables.nbytes[value]
        if not place & ON_CPU:
            arrived = np.maximum(out, backlog_s) + tables.down_s[value]
            out = arrived if outer.all_read else np.where(outer.cpu > 0, arrived, out)
        on_gpu = bool(place & ON_GPU)
        if backlog_s and tables.meeting.blocks and not on_gpu:
            return self._upload_after(value, outer, out, backlog_s)
        if outer.whole:
            return out if on_gpu else out + tables.up_s[value]
        if outer.part:  # the same as below, in fewer steps
            constant_s, per_cpu_s, per_gpu_s = tables.meeting.scatter_terms(nbytes, on_gpu)
            out = out + (constant_s + per_cpu_s * outer.cpu)
            return out + per_gpu_s * outer.gpu if per_gpu_s else out
        return out + sum(tables.meeting.scatter_s(nbytes, outer.cpu, outer.gpu, on_gpu))

    def _upload_after(self, value: int, outer: Outer, out: Seconds, backlog_s: float) -> Seconds:
        """When the host has brought a value to the GPU that waits for the GPU's queue first."""
        tables = self.tables
        if outer.whole:
            return np.maximum(out, backlog_s) + tables.up_s[value]
        parts = tables.meeting.scatter_s(tables.nbytes[value], outer.cpu, outer.gpu, on_gpu=False)
        out = out + parts.cpu_slice_s + parts.gpu_slice_s
        return np.where(outer.gpu > 0, np.maximum(out, backlog_s), out) + parts.upload_s

    def _best_cuts(self, end: np.ndarray, chain: ChainTimes) -> list[int]:
        """The cuts that are fastest, need least energy, and have the least product of both."""
        joules = chain.joules + self.tables.idle_w * end
        return sorted({int(end.argmin()), int(joules.argmin()), int((joules * end).argmin())})

    def _outcome(self, chain: ChainTimes, places: tuple[int, ...], late: list[int], end: np.ndarray, i: int) -> Outcome:
        on_cpu: list[int] = list(late)
        on_gpu: list[int] = []
        for (v, outer), place in zip(chain.outer.items(), places, strict=False):
            if not place & ON_CPU and outer.cpu[i] > 0:
                on_cpu.append(v)
            if not place & ON_GPU and outer.gpu[i] == 1:
                on_gpu.append(v)
        for m, (cuts, extent) in chain.leaves.items():
            (on_gpu if cuts[i] == extent else on_cpu).append(m)
        return Outcome(float(end[i]), float(chain.joules[i]), int(chain.cuts[i]), tuple(on_cpu), tuple(on_gpu))
