"""What may follow a state: one kernel on one device, or a chain at the cut that ends first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from ..cached_costs import DEVICES, Tables, side_by_side
from ..chain_sweep import ChainTimes
from .blocks import bits
from .candidates import Candidates
from .label_setting import Labels
from .outcomes import Outcome
from .residency import ON_GPU, Residency, Values
from .state import Label, RunChain, RunKernel, State


@dataclass(slots=True, eq=False)
class ChainStart:
    """A chain that may begin in a state.

    Attributes
    ----------
    chain : ChainTimes
    done : int
        Kernels that have run after it.
    live : int
        Values that are needed then.
    reads : tuple of int
        Bits of the values that it reads, in the order of the `places` of `Outcomes.of`.
    after : State or None
        The state after it, once a way there was offered.
    """

    chain: ChainTimes
    done: int
    live: int
    reads: tuple[int, ...]
    after: State | None = None


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """Where a chain leads to from given places of what it reads.

    Attributes
    ----------
    start : ChainStart
    outcome : Outcome
    where : Residency
        Of the values that are on a device because of the chain.
    step : RunChain
    """

    start: ChainStart
    outcome: Outcome
    where: Residency
    step: RunChain


class Transitions:
    """Labels that follow a label.

    Parameters
    ----------
    costs : Tables
    candidates : Candidates
    counts_energy : bool
    """

    def __init__(self, costs: Tables, candidates: Candidates, counts_energy: bool):
        self.costs, self.candidates, self.counts_energy = costs, candidates, counts_energy
        self.values = Values(costs.graph)
        self._steps = {(d, k.index, c): RunKernel(d, k.index, c) for k in costs.graph.kernels for d in DEVICES
                       for c in (False, True)}  # fmt: skip
        self._least_copy_s = min((*costs.up_s.values(), *costs.down_s.values()), default=0.0) * (1 - 1e-9)  # rounding
        # Work alongside other work is no quicker than alone, but for a slowdown below 1.
        self._is_slowed = min(costs.slow.values()) >= 1.0
        self._chain_reads: dict[int, tuple[int, ...]] = {}
        self._live: dict[int, int] = {}
        # by chain and places, on an idle GPU: outcomes of the first of chains that repeat, and those of each chain
        self._idle_outcomes: dict[tuple, list[Outcome]] = {}
        self._idle_ends: dict[tuple, list[tuple[Outcome, Residency]]] = {}

    def bound_s(self, state: State, k: int) -> float:
        """The GPU's queue is not free before, if a kernel runs next on whichever device, from any label of a state."""
        whole = self.costs.whole
        on_gpu = max(state.gpu_s, state.host_s + self.costs.enqueues[k]) + whole["gpu"][k]
        return min(on_gpu, max(state.least_gpu_s, state.host_s + whole["cpu"][k])) if self._is_slowed else 0.0

    def run_kernels(self, before: State, k: int, live: int, labels: Labels) -> int:
        """Add the labels after a kernel on each device to those of the state after it.

        Parameters
        ----------
        before : State
            In which the kernel runs.
        k : int
        live : int
            Values that are needed after it.
        labels : Labels

        Returns
        -------
        int
            How many labels were worked out: the others are known to be dropped.
        """
        count, enqueue_s = 0, self.costs.enqueues[k]
        on_cpu_s, on_gpu_s = (self.costs.whole[d][k] for d in DEVICES)
        for label in before.labels:
            host_s, gpu_s, limit_s = label.host_s, label.gpu_s, labels.limit_s
            # without copies and contention
            if not self._is_slowed or (host_s + on_cpu_s <= limit_s and label.least_gpu_s <= limit_s):
                labels.add(self.run_kernel(label, k, "cpu", live))
                count += 1
                limit_s = labels.limit_s
            if max(gpu_s, host_s + enqueue_s) + on_gpu_s <= limit_s:
                labels.add(self.run_kernel(label, k, "gpu", live))
                count += 1
        return count

    def run_kernel(self, label: Label, k: int, device: str, live: int) -> Label:
        """The label after a kernel on a device; of the values `live` are still needed."""
        costs = self.costs
        host, gpu, (on_cpu, on_gpu), copies = label.host_s, label.gpu_s, label.where, False
        work, bit = costs.whole[device][k], self.values.bit[k]
        if device == "gpu":
            for v, read in self.values.reads[k]:
                if not on_gpu & read:
                    host, on_gpu, copies = host + costs.up_s[v], on_gpu | read, True
            host += costs.enqueues[k]
            gpu = max(gpu, host) + work
            on_gpu |= bit
        else:
            for v, read in self.values.reads[k]:
                if not on_cpu & read:
                    host, on_cpu, copies = max(host, gpu) + costs.down_s[v], on_cpu | read, True
            backlog = gpu - host
            if backlog > 0:
                left_s, work_s = side_by_side(costs.slow, backlog, work)
                gpu, host = host + left_s, host + work_s
            else:
                host += work
            gpu = max(gpu, host)
            on_cpu |= bit
        joules = label.joules + work * costs.watts[device][k] if self.counts_energy else 0.0
        return Label(host, gpu, Residency(on_cpu & live, on_gpu & live), joules, label, self._steps[device, k, copies])

    def run_chains(self, state: State) -> Iterator[tuple[ChainEnd, Label, float]]:
        """Chains that may begin in a state: where each leads to, from which label, and when it begins.

        Where branches are many, all chains wait for the GPU. Else a chain that needs a value from the busy GPU waits
        for it, and the others begin alongside its work.
        """
        block = self.candidates.block_of[state.first]
        starts = [self._start(c, state) for c in self.candidates.starting_at(state.done, state.ready, block)]
        if not starts:
            return
        read = 0
        for start in starts:
            for bit in start.reads:
                read |= bit
        ends: dict[Residency, list[ChainEnd]] = {}  # what a chain does not read makes no difference to it
        for label in state.labels:
            backlog_s = label.gpu_s - label.host_s
            if backlog_s > 0 and block.states is not None:
                if self.candidates.few:
                    yield from ((end, label, label.host_s) for end in self._ends(starts, label.where, backlog_s))
                    continue
                waiting, others = self._sort_by_waiting(starts, label.where)
                yield from ((end, label, label.gpu_s) for end in self._ends(waiting, label.where, 0.0))
                yield from ((end, label, label.host_s) for end in self._ends(others, label.where, backlog_s))
                continue
            where = label.where.restrict(read)
            if where not in ends:
                ends[where] = self._ends(starts, where, 0.0)
            yield from ((end, label, label.gpu_s) for end in ends[where])

    def after_chain(self, end: ChainEnd, label: Label, start_s: float) -> Label:
        """The label after a chain that begins at `start_s`."""
        end_s = start_s + end.outcome.end_s
        joules = label.joules + end.outcome.joules if self.counts_energy else 0.0
        return Label(end_s, end_s, label.where.add(end.where, end.start.live), joules, label, end.step)

    def live_after(self, state: State, done: int, kernels: Iterable[int]) -> int:
        """Values that are needed once some more kernels have run; all that have run then are `done`."""
        found = self._live.get(done)
        if found is None:
            found = self._live[done] = self.values.live_after(state.live, done, kernels)
        return found

    def in_reach(self, labels: list[Label]) -> list[Label]:
        """Labels without those at which another would have all its values on both devices by now."""
        last_s, limit_s = max([label.host_s for label in labels]), inf
        for label in labels:
            cpu, gpu = label.where
            # most labels have too much to copy to rule out any: no need to know exactly
            if label.gpu_s + (cpu ^ gpu).bit_count() * self._least_copy_s < last_s:
                up_s = sum([self.costs.up_s[v + self.values.first] for v in bits(cpu & ~gpu)])
                down_s = sum([self.costs.down_s[v + self.values.first] for v in bits(gpu & ~cpu)])
                limit_s = min(limit_s, label.gpu_s + (up_s + down_s))
        return labels if limit_s >= last_s else [label for label in labels if label.host_s <= limit_s]

    def finish_s(self, label: Label) -> float:
        """When the outputs of the graph are on the CPU."""
        host, gpu = label.host_s, label.gpu_s
        for v in dict.fromkeys(self.costs.graph.outputs):
            if not label.where.cpu_mask & self.values.bit[v]:
                host = max(host, gpu) + self.costs.down_s[v]
        return max(host, gpu)

    def _start(self, chain: ChainTimes, state: State) -> ChainStart:
        done = state.done | chain.mask
        reads = self._chain_reads.get(id(chain))
        if reads is None:
            reads = self._chain_reads[id(chain)] = tuple(self.values.bit[v] for v in (*chain.outer, *chain.after))
        return ChainStart(chain, done, self.live_after(state, done, chain.members), reads)

    @staticmethod
    def _sort_by_waiting(starts: list[ChainStart], where: Residency) -> tuple[list[ChainStart], list[ChainStart]]:
        """Chains that read a value of the GPU at every cut, so that nothing happens before it is idle; and others."""
        waiting, others = [], []
        for start in starts:
            read = zip(start.chain.outer.values(), where.places(start.reads), strict=False)
            (waiting if any(p == ON_GPU and o.all_read for o, p in read) else others).append(start)
        return waiting, others

    def _ends(self, starts: list[ChainStart], where: Residency, backlog_s: float) -> list[ChainEnd]:
        """Where chains lead to; of several that lead to the same state and places only the first to end is kept."""
        found: dict[tuple, ChainEnd] = {}
        for start in starts:
            for o, made in self._outcomes(start.chain, where.places(start.reads), backlog_s):
                to = (start.done, made.restrict(start.live), o.joules if self.counts_energy else 0.0)
                if to not in found or o.end_s < found[to].outcome.end_s:
                    step = RunChain(start.chain.members, start.chain.axis, o.cut)
                    found[to] = ChainEnd(start, o, made, step)
        return list(found.values())

    def _outcomes(
        self, chain: ChainTimes, places: tuple[int, ...], backlog_s: float
    ) -> list[tuple[Outcome, Residency]]:
        """Outcomes of a chain, each with the values that are on a device because of it."""
        outcomes = self.candidates.outcomes
        if backlog_s:  # hardly ever the same twice
            return [(o, self._made(o, chain.shift)) for o in outcomes.of(chain.origin or chain, places, backlog_s)]
        key = (id(chain), places)
        if key not in self._idle_ends:
            first = chain.origin or chain
            like = (id(first), places)
            if like not in self._idle_outcomes:
                self._idle_outcomes[like] = outcomes.of(first, places, 0.0)
            self._idle_ends[key] = [(o, self._made(o, chain.shift)) for o in self._idle_outcomes[like]]
        return self._idle_ends[key]

    def _made(self, outcome: Outcome, shift: int) -> Residency:
        cpu, gpu = ([v + shift if v >= 0 else v for v in values] for values in (outcome.on_cpu, outcome.on_gpu))
        return Residency(self.values.mask(cpu), self.values.mask(gpu))
