"""What may follow a state: one kernel on one device, or a chain at the cut that ends first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from tvm_coexec.core.kernel_graph import DEVICES

from ..cached_costs import CachedCosts, side_by_side
from ..chain_times import ChainTimes
from .blocks import bits
from .candidates import Candidates
from .label_setting import Labels
from .outcomes import Outcome
from .residency import ON_GPU, Residency, Values
from .state import AfterChain, ChainEnd, ChainStart, Label, RunChain, RunKernel, State


@dataclass(frozen=True, slots=True)
class KernelWork:
    """What it takes to run a kernel whole.

    Attributes
    ----------
    bit : int
        Of its value.
    runs_on_gpu : bool
        Whether the GPU can run it at all.
    reads : tuple of (int, float, float)
        Bits of what it reads, with the seconds to copy it to the GPU and to the CPU.
    read_mask : int
        All these bits.
    enqueue_s : float
        What the host spends on launching it on the GPU.
    cpu_s, gpu_s, cpu_joules, gpu_joules : float
        Of the work on each device.
    on_cpu, on_cpu_after_copies, on_gpu, on_gpu_after_copies : RunKernel
        The steps.
    """

    bit: int
    runs_on_gpu: bool
    reads: tuple[tuple[int, float, float], ...]
    read_mask: int
    enqueue_s: float
    cpu_s: float
    gpu_s: float
    cpu_joules: float
    gpu_joules: float
    on_cpu: RunKernel
    on_cpu_after_copies: RunKernel
    on_gpu: RunKernel
    on_gpu_after_copies: RunKernel


class Transitions:
    """Labels that follow a label.

    Parameters
    ----------
    costs : CachedCosts
    candidates : Candidates
    counts_energy : bool
    """

    def __init__(self, costs: CachedCosts, candidates: Candidates, counts_energy: bool):
        self.costs, self.candidates, self.counts_energy = costs, candidates, counts_energy
        self.values = Values(costs.graph)
        self._kernels = [self._kernel_work(k) for k in range(len(costs.graph.kernels))]
        self._least_copy_s = min((*costs.up_s.values(), *costs.down_s.values()), default=0.0) * (1 - 1e-9)  # rounding
        # Work alongside other work is no quicker than alone, but for a slowdown below 1.
        self._is_slowed = min(costs.slow.values()) >= 1.0
        self._chain_reads: dict[int, tuple[tuple[int, ...], int]] = {}
        self._live: dict[int, int] = {}
        # outcomes on an idle GPU, by chain and which of the values that it reads each device has
        self._idle_ends: dict[tuple, list[tuple[Outcome, Residency, RunChain]]] = {}

    def _kernel_work(self, k: int) -> KernelWork:
        costs, values = self.costs, self.values
        reads = tuple((bit, costs.up_s[v], costs.down_s[v]) for v, bit in values.reads[k])
        runs_on_gpu = "gpu" in costs.graph.kernels[k].devices
        cpu_s, gpu_s = (costs.whole[d][k] for d in DEVICES)
        cpu_joules, gpu_joules = (costs.whole[d][k] * costs.watts[d][k] if self.counts_energy else 0.0 for d in DEVICES)
        return KernelWork(
            bit=values.bit[k],
            runs_on_gpu=runs_on_gpu,
            reads=reads,
            read_mask=values.mask(v for v, _ in values.reads[k]),
            enqueue_s=costs.enqueues[k],
            cpu_s=cpu_s,
            gpu_s=gpu_s,
            cpu_joules=cpu_joules,
            gpu_joules=gpu_joules,
            on_cpu=RunKernel("cpu", k, False),
            on_cpu_after_copies=RunKernel("cpu", k, True),
            on_gpu=RunKernel("gpu", k, False),
            on_gpu_after_copies=RunKernel("gpu", k, True),
        )

    def bounds_s(self, state: State, kernels: Iterable[int]) -> list[float]:
        """When the GPU's queue is free at the earliest, by the kernel that runs next on whichever device.

        That holds for all labels of the state.
        """
        if not self._is_slowed:
            return [0.0 for _ in kernels]
        host_s, gpu_s, least_gpu_s = state.host_s, state.gpu_s, state.least_gpu_s
        bounds = []
        for k in kernels:
            kernel = self._kernels[k]
            on_gpu, on_cpu = host_s + kernel.enqueue_s, host_s + kernel.cpu_s
            on_gpu = (on_gpu if on_gpu > gpu_s else gpu_s) + kernel.gpu_s
            on_cpu = on_cpu if on_cpu > least_gpu_s else least_gpu_s
            bounds.append(on_gpu if kernel.runs_on_gpu and on_gpu < on_cpu else on_cpu)
        return bounds

    def run_kernels(self, before: State, k: int, live: int, labels: Labels) -> int:
        """Add the labels after a kernel on each device that can run it to those of the state after it.

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
        # The innermost loop of the search: nothing is called or looked up that can be avoided.
        kernel, count, is_slowed, slow, add = self._kernels[k], 0, self._is_slowed, self.costs.slow, labels.add
        cpu_s, gpu_s, enqueue_s, runs_on_gpu = kernel.cpu_s, kernel.gpu_s, kernel.enqueue_s, kernel.runs_on_gpu
        start_s = self.costs.start_s if gpu_s else 0.0
        reads, read_mask, bit, blocks = kernel.reads, kernel.read_mask, kernel.bit, self.costs.meeting.blocks
        for label in before.labels:
            host, gpu, on_cpu, on_gpu = label.host_s, label.gpu_s, label.on_cpu, label.on_gpu
            limit = labels.limit_s
            # without copies and contention
            if not is_slowed or (host + cpu_s <= limit and (gpu <= limit or label.least_gpu_s <= limit)):
                has, free_s, queue_s, step = on_cpu, host, gpu, kernel.on_cpu
                if has & read_mask != read_mask:  # copies wait for the queue
                    step = kernel.on_cpu_after_copies
                    for read, _, down_s in reads:
                        if not has & read:
                            free_s = (free_s if free_s > gpu else gpu) + down_s
                            has |= read
                if queue_s > free_s:  # alongside what the queue holds
                    left_s, work_s = side_by_side(slow, queue_s - free_s, cpu_s)
                    queue_s, free_s = free_s + left_s, free_s + work_s
                else:
                    free_s += cpu_s
                if free_s > queue_s:
                    queue_s = free_s
                joules = label.joules + kernel.cpu_joules
                add(free_s, queue_s, (has | bit) & live, on_gpu & live, joules, label, step)
                count += 1
                limit = labels.limit_s
            if not runs_on_gpu:
                continue
            launched = host + enqueue_s
            if (launched if launched > gpu else gpu) + gpu_s <= limit:
                has, step = on_gpu, kernel.on_gpu
                if has & read_mask != read_mask:
                    step = kernel.on_gpu_after_copies
                    if blocks and gpu > host:
                        host = gpu
                    for read, up_s, _ in reads:
                        if not has & read:
                            host += up_s
                            has |= read
                    launched = host + enqueue_s
                # once launched, after what the queue holds, or once an idle GPU starts
                queue_s = (launched + start_s if launched >= gpu else gpu) + gpu_s
                joules = label.joules + kernel.gpu_joules
                add(launched, queue_s, on_cpu & live, (has | bit) & live, joules, label, step)
                count += 1
        return count

    def run_chains(self, state: State) -> Iterator[AfterChain]:
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
            read |= start.read_mask
        # What a chain does not read makes no difference to it: by where the rest is, the chains that wait for the GPU
        # with what comes of them, and the others.
        idle: dict[Residency, list[ChainEnd]] = {}
        sorted_starts: dict[Residency, tuple[list[ChainEnd], list[ChainStart]]] = {}
        for label in state.labels:
            host_s, gpu_s = label.host_s, label.gpu_s
            where = Residency(label.on_cpu & read, label.on_gpu & read)
            if gpu_s <= host_s or block.states is None:
                if where not in idle:
                    idle[where] = self._ends(starts, where, 0.0)
                for end in idle[where]:
                    yield AfterChain(label, end, gpu_s)
                continue
            if where not in sorted_starts:
                waiting, others = ([], starts) if self.candidates.few else self._sort_by_waiting(starts, where)
                sorted_starts[where] = (self._ends(waiting, where, 0.0), others)
            ends, others = sorted_starts[where]
            for end in ends:
                yield AfterChain(label, end, gpu_s)
            if others:
                for end in self._ends(others, where, gpu_s - host_s):
                    yield AfterChain(label, end, host_s)

    def run_chain(self, way: AfterChain, labels: Labels) -> None:
        """Add the label after a chain."""
        label, (start, outcome, (on_cpu, on_gpu), step), start_s = way
        end_s = start_s + outcome.end_s
        if end_s <= labels.limit_s:
            joules, live = label.joules + outcome.joules if self.counts_energy else 0.0, start.live
            labels.add(
                end_s, end_s, (label.on_cpu | on_cpu) & live, (label.on_gpu | on_gpu) & live, joules, label, step
            )

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
            cpu, gpu = label.on_cpu, label.on_gpu
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
            if not label.on_cpu & self.values.bit[v]:
                host = max(host, gpu) + self.costs.down_s[v]
        return max(host, gpu)

    def _start(self, chain: ChainTimes, state: State) -> ChainStart:
        done = state.done | chain.mask
        reads = self._chain_reads.get(id(chain))
        if reads is None:
            bits_read = tuple([self.values.bit[v] for v in (*chain.outer, *chain.after)])
            reads = self._chain_reads[id(chain)] = (bits_read, self.values.mask((*chain.outer, *chain.after)))
        return ChainStart(chain, done, self.live_after(state, done, chain.members), *reads)

    @staticmethod
    def _sort_by_waiting(starts: list[ChainStart], where: Residency) -> tuple[list[ChainStart], list[ChainStart]]:
        """Chains that read a value of the GPU at every cut, so that nothing happens before it is idle; and others."""
        waiting: list[ChainStart] = []
        others: list[ChainStart] = []
        for start in starts:
            read = zip(start.chain.outer.values(), where.places(start.reads), strict=False)
            (waiting if any(p == ON_GPU and o.all_read for o, p in read) else others).append(start)
        return waiting, others

    def _ends(self, starts: list[ChainStart], where: Residency, backlog_s: float) -> list[ChainEnd]:
        """Where chains lead to; of several that lead to the same state and places only the first to end is kept."""
        found: dict[tuple, ChainEnd] = {}
        on_cpu, on_gpu = where
        for start in starts:
            chain, mask, live = start.chain, start.read_mask, start.live
            # a backlog is hardly ever the same twice
            key = (id(chain), on_cpu & mask, on_gpu & mask)
            outcomes = None if backlog_s else self._idle_ends.get(key)
            if outcomes is None:
                outcomes = self._outcomes(chain, where.places(start.reads), backlog_s)
                if not backlog_s:
                    self._idle_ends[key] = outcomes
            for outcome, made, step in outcomes:
                to = (start.done, made[0] & live, made[1] & live, outcome.joules if self.counts_energy else 0.0)
                best = found.get(to)
                if best is None or outcome.end_s < best.outcome.end_s:
                    found[to] = ChainEnd(start, outcome, made, step)
        return list(found.values())

    def _outcomes(
        self, chain: ChainTimes, places: tuple[int, ...], backlog_s: float
    ) -> list[tuple[Outcome, Residency, RunChain]]:
        """Outcomes of a chain, each with the values that are on a device because of it, and the step."""
        first, outcomes = chain.origin or chain, self.candidates.outcomes
        found = outcomes.of(first, places, backlog_s) if backlog_s else outcomes.on_idle_gpu(first, places)
        return [(o, self._made(o, chain.shift), RunChain(chain.members, chain.axis, o.cut)) for o in found]

    def _made(self, outcome: Outcome, shift: int) -> Residency:
        return Residency(self.values.mask(outcome.on_cpu, shift), self.values.mask(outcome.on_gpu, shift))
