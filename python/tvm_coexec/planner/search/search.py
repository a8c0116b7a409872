"""The search: dynamic programming over what has run, when each device is free, and where the live values are.

A state is the set of kernels that have run. Its labels are the ways to get there that are not worse than another in
every respect: time of the host, time of the GPU's queue, values on each device, and joules where energy counts. From a
label execution goes on with one kernel on one device, or with a chain at the cut that ends first. On straight runs
this is exact over placement, chain extent, axis and cut; where branches leave many states the least promising are
dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Segment

from ..cached_costs import CachedCosts, side_by_side
from ..chain_sweep import ChainTimes
from ..objective import score
from .blocks import Block, bits
from .candidates import Candidates
from .outcomes import Outcome

# Of one state; the worst are dropped beyond it. Of graphs with few kernels there is time for more.
MAX_LABELS, MANY_LABELS = 6, 16
# States with equally many kernels; the one in the model's own order is always kept.
MAX_STATES = 48
# How many of the last labels are followed back.
PROPOSALS = 3


@dataclass(slots=True)
class Label:
    """One way to a state.

    Attributes
    ----------
    host_s, gpu_s : float
        When host and GPU queue are free; the queue's is never less.
    cpu, gpu : int
        Live values on each device, as bit masks.
    joules : float
        Of the work so far, beyond idle power.
    before : Label or None
    step : tuple
        ``(device, kernel, copied)`` or ``("split", members, axis, cut)``.
    """

    host_s: float
    gpu_s: float
    cpu: int
    gpu: int
    joules: float
    before: Label | None
    step: tuple


@dataclass(frozen=True, slots=True)
class Start:
    """A chain that may begin in a state.

    Attributes
    ----------
    chain : ChainTimes
    after : int
        The state behind it.
    keep : int
        Values that are still needed there.
    bits : tuple of int
        Of the values that it reads, in the order of its `places` (see `Outcomes.of`).
    read : int
        All of them.
    """

    chain: ChainTimes
    after: int
    keep: int
    bits: tuple[int, ...]
    read: int


class Search:
    """Finds the best segments for a graph.

    Parameters
    ----------
    graph : KernelGraph
    tables : CachedCosts
    candidates : Candidates
    objective : str
    """

    def __init__(self, graph: KernelGraph, tables: CachedCosts, candidates: Candidates, objective: str = "latency"):
        self.graph, self.tables, self.candidates = graph, tables, candidates
        self.objective, self.counts_energy = objective, objective != "latency"
        self.outcomes = candidates.outcomes
        self._outcomes: dict[tuple, list[tuple[Outcome, int, int]]] = {}
        self._of_origins: dict[tuple, list[Outcome]] = {}
        self._keep: dict[int, int] = {}
        self._early_of: dict[int, list[int]] = {}
        self._copies_s: dict[tuple[int, int], float] = {}
        n, inputs = len(graph.kernels), len(graph.inputs)
        self.shift = inputs
        self.most_labels = MANY_LABELS if candidates.few else MAX_LABELS
        outputs = set(graph.outputs)
        readers = {v: sum(1 << c for c in cs) for v, cs in graph.consumers.items()}
        # per value: its bit, and the kernels after which nobody needs it (-1: never)
        self.bit = {v: 1 << (v + inputs) for v in range(-inputs, n)}
        self.readers = {v: -1 if v in outputs else readers.get(v, 0) for v in range(-inputs, n)}
        self.devices = [k.devices for k in graph.kernels]
        self.reads = [[(v, self.bit[v]) for v in dict.fromkeys(k.inputs)] for k in graph.kernels]

    def run(self) -> list[list[Segment]]:
        """Segments of the best ways through, the best first."""
        n = len(self.graph.kernels)
        start = sum(self.bit[v] for v in range(-self.shift, 0))
        self.levels: list[dict[int, list[Label]]] = [{} for _ in range(n + 1)]
        self.levels[0][0] = [Label(0.0, 0.0, start, 0, 0.0, None, ())]
        for count in range(n):
            for state, labels in self._kept(count).items():
                self._expand(state, self._in_reach(labels))
            self.levels[count] = {}  # labels live on in their successors
        ends = sorted(self.levels[n][(1 << n) - 1], key=self._final)
        return [self._segments(label) for label in ends[:PROPOSALS]]

    def _kept(self, count: int) -> dict[int, list[Label]]:
        level = self.levels[count]
        if len(level) <= MAX_STATES:
            return level
        own = (1 << count) - 1
        order = sorted(level, key=lambda s: (s != own, min(label.gpu_s for label in level[s])))
        return {s: level[s] for s in order[:MAX_STATES]}

    def _in_reach(self, labels: list[Label]) -> list[Label]:
        """Labels without those at which another would have all its values on both devices by now."""
        if self.counts_energy or len(labels) == 1:
            return labels
        limit = min(label.gpu_s + self._everywhere_s(label) for label in labels)
        return [label for label in labels if label.host_s <= limit]

    def _everywhere_s(self, label: Label) -> float:
        """Seconds to copy all values to where they are missing."""
        cpu, gpu = label.cpu, label.gpu
        key = (cpu & ~gpu, gpu & ~cpu)
        if key not in self._copies_s:
            up_s, down_s = self.tables.up_s, self.tables.down_s
            self._copies_s[key] = sum(up_s[v - self.shift] for v in bits(key[0])) + sum(
                down_s[v - self.shift] for v in bits(key[1])
            )
        return self._copies_s[key]

    def _expand(self, state: int, labels: list[Label]) -> None:
        first = (~state & (state + 1)).bit_length() - 1  # lowest kernel that has not run
        block = self.candidates.block_of[first]
        producers, live = self.candidates.producers, self._live(state, block)
        for k in range(block.start, block.stop):
            if not state >> k & 1 and not producers[k] & ~state:
                after = state | 1 << k
                keep = live | self.bit[k]
                keep &= self._live(after, block)
                for label in labels:
                    for device in self.devices[k]:
                        self._add(after, self._single(label, k, device, keep))
        chains = [self._start(c, state) for c in self.candidates.starting_at(state, block)]
        found: dict[tuple[int, int], list[tuple]] = {}
        read = 0
        for start in chains:
            read |= start.read
        for label in labels if chains else ():
            if label.gpu_s > label.host_s and block.states is not None:
                # Chains that need a value from the busy GPU wait for it, the others begin beside its work.
                lag = label.gpu_s - label.host_s
                if self.candidates.few:
                    self._take(label, label.host_s, self._chains(chains, label, lag))
                    continue
                self._take(label, label.gpu_s, self._chains(chains, label, 0.0, waiting=True))
                self._take(label, label.host_s, self._chains(chains, label, lag, waiting=False))
                continue
            key = (label.cpu & read, label.gpu & read)
            if key not in found:
                found[key] = self._chains(chains, label, 0.0)
            self._take(label, label.gpu_s, found[key])  # where branches are many, all chains wait for the GPU

    def _start(self, chain: ChainTimes, state: int) -> Start:
        """What is asked of a chain again and again."""
        after = state | chain.mask
        if after not in self._keep:
            self._keep[after] = self._live(after, self.candidates.block_of[chain.members[-1]])
        read_bits = tuple([self.bit[v] for v in (*chain.outer, *chain.after)])
        read = 0
        for bit in read_bits:
            read |= bit
        return Start(chain, after, self._keep[after], read_bits, read)

    def _chains(self, chains: list[Start], label: Label, backlog_s: float, waiting: bool | None = None) -> list[tuple]:
        """Where chains lead to from the places of a label's values: ``(state, keep, on_cpu, on_gpu, outcome, step)``.

        Of several that lead to the same state and places only the first to end is kept.
        """
        made: dict[tuple, tuple] = {}
        cpu, gpu, energy = label.cpu, label.gpu, self.counts_energy
        for start in chains:
            chain, after, keep = start.chain, start.after, start.keep
            places = tuple([(1 if cpu & b else 0) + (2 if gpu & b else 0) for b in start.bits])
            if waiting is not None and self._waits(chain, places) != waiting:
                continue
            for o, on_cpu, on_gpu in self._found(chain, places, backlog_s):
                to = (after, on_cpu & keep, on_gpu & keep, o.joules if energy else 0.0)
                if to not in made or o.end_s < made[to][4].end_s:
                    made[to] = (after, keep, on_cpu, on_gpu, o, ("split", chain.members, chain.axis, o.cut))
        return list(made.values())

    def _found(self, chain: ChainTimes, places: tuple[int, ...], backlog_s: float) -> list[tuple[Outcome, int, int]]:
        """Outcomes of a chain, and as masks the values that are on each device because of it."""
        key = (id(chain), places)
        if backlog_s or key not in self._outcomes:
            outcomes = self._of_origin(chain.origin or chain, places, backlog_s)
            found = [(o, self._mask(o.on_cpu, chain.shift), self._mask(o.on_gpu, chain.shift)) for o in outcomes]
            if backlog_s:
                return found
            self._outcomes[key] = found
        return self._outcomes[key]

    def _of_origin(self, chain: ChainTimes, places: tuple[int, ...], backlog_s: float) -> list[Outcome]:
        """The same for every repetition of a chain."""
        if backlog_s:
            return self.outcomes.of(chain, places, backlog_s)
        key = (id(chain), places)
        if key not in self._of_origins:
            self._of_origins[key] = self.outcomes.of(chain, places, 0.0)
        return self._of_origins[key]

    def _take(self, label: Label, host_s: float, found: list[tuple]) -> None:
        for after, keep, on_cpu, on_gpu, o, step in found:
            end = host_s + o.end_s
            joules = label.joules + o.joules if self.counts_energy else 0.0
            self._add(
                after,
                Label(end, end, (label.cpu | on_cpu) & keep, (label.gpu | on_gpu) & keep, joules, label, step),
            )

    @staticmethod
    def _waits(chain: ChainTimes, places: tuple[int, ...]) -> bool:
        """Whether an input comes from the GPU at every cut; then nothing happens before the GPU is idle."""
        return any(p == 2 and o.all_read for o, p in zip(chain.outer.values(), places, strict=False))

    def _mask(self, values: tuple[int, ...], shift: int) -> int:
        mask = 0
        for v in values:
            mask |= self.bit[v + shift if v >= 0 else v]
        return mask

    def _live(self, state: int, block: Block) -> int:
        """Values that are still needed, among those that there can be in a block."""
        live = 0
        for v in (*range(-self.shift, 0), *self._early(block), *range(block.start, block.stop)):
            readers = self.readers[v]
            if readers == -1 or readers & ~state:
                live |= self.bit[v]
        return live

    def _early(self, block: Block) -> list[int]:
        """Values from before a block that may be needed in it or after it."""
        if block.start not in self._early_of:
            done = (1 << block.start) - 1
            self._early_of[block.start] = [
                v for v in range(block.start) if self.readers[v] == -1 or self.readers[v] & ~done
            ]
        return self._early_of[block.start]

    def _add(self, state: int, new: Label) -> None:
        level = self.levels[state.bit_count()]
        labels = level.get(state)
        if labels is None:
            level[state] = [new]
            return
        host_s, gpu_s, joules, cpu, gpu, is_last = new.host_s, new.gpu_s, new.joules, new.cpu, new.gpu, True
        for old in labels:
            if (
                old.host_s <= host_s and old.gpu_s <= gpu_s and old.joules <= joules
                and old.cpu & cpu == cpu and old.gpu & gpu == gpu
            ):  # fmt: skip
                return
            is_last = is_last and old.gpu_s < gpu_s
        is_full = len(labels) >= self.most_labels
        if is_full and is_last and not self.counts_energy:
            return  # it would be the one to go
        labels[:] = [
            old
            for old in labels
            if not (
                gpu_s <= old.gpu_s and host_s <= old.host_s and joules <= old.joules
                and cpu & old.cpu == old.cpu and gpu & old.gpu == old.gpu
            )
        ]  # fmt: skip
        labels.append(new)
        if is_full and len(labels) > self.most_labels:
            labels.remove(max(labels, key=self._promise))

    def _promise(self, label: Label) -> float:
        seconds = label.gpu_s
        return score(self.objective, seconds, label.joules + self.tables.idle_w * seconds)

    def _single(self, label: Label, k: int, device: str, keep: int) -> Label:
        tables = self.tables
        host, gpu, on_cpu, on_gpu, copied = label.host_s, label.gpu_s, label.cpu, label.gpu, False
        work = tables.whole[device][k]
        if device == "gpu":
            for v, bit in self.reads[k]:
                if not on_gpu & bit:
                    host, on_gpu, copied = host + tables.up_s[v], on_gpu | bit, True
            host += tables.enqueues[k]
            gpu = max(gpu, host) + work
            on_gpu |= self.bit[k]
        else:
            for v, bit in self.reads[k]:
                if not on_cpu & bit:
                    host, on_cpu, copied = max(host, gpu) + tables.down_s[v], on_cpu | bit, True
            backlog = gpu - host
            if backlog > 0:
                left_s, work_s = side_by_side(tables.slow, backlog, work)
                gpu, host = host + left_s, host + work_s
            else:
                host += work
            gpu = max(gpu, host)
            on_cpu |= self.bit[k]
        joules = label.joules + work * tables.watts[device][k] if self.counts_energy else 0.0
        return Label(host, gpu, on_cpu & keep, on_gpu & keep, joules, label, (device, k, copied))

    def _final(self, label: Label) -> float:
        host, gpu = label.host_s, label.gpu_s
        for v in dict.fromkeys(self.graph.outputs):
            if not label.cpu & self.bit[v]:
                host = max(host, gpu) + self.tables.down_s[v]
        seconds = max(host, gpu)
        return score(self.objective, seconds, label.joules + self.tables.idle_w * seconds)

    def _segments(self, label: Label) -> list[Segment]:
        steps = []
        at: Label | None = label
        while at is not None and at.step:
            steps.append(at.step)
            at = at.before
        segments: list[Segment] = []
        for step in reversed(steps):
            if step[0] == "split":
                segments.append(Segment("split", step[1], step[2], step[3]))
                continue
            device, k, copied = step
            if segments and segments[-1].device == device and not copied:
                segments[-1] = Segment(device, tuple(sorted((*segments[-1].kernels, k))))
            else:
                segments.append(Segment(device, (k,)))
        return segments
