"""The search: dynamic programming over what has run, when each device is free, and where the live values are.

A state is the set of kernels that have run. Its labels are the ways to get there that are not worse than another in
every respect (`label_setting`). From a label execution goes on with one kernel on one device, or with a chain at the
cut that ends first (`transitions`). On straight runs this is exact over placement, chain extent, axis and cut; where
branches leave many states the least promising are dropped.
"""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.progress import progress

from ..cached_costs import DEVICES, Tables
from ..objective import score
from .blocks import bits, followers_of
from .candidates import Candidates
from .label_setting import MANY_LABELS, MAX_LABELS, LabelSetting
from .state import Label, RunChain, State
from .transitions import Transitions

# How many of the last labels are followed back.
PROPOSALS = 3


class Search:
    """Finds the best segments for a graph.

    Parameters
    ----------
    graph : KernelGraph
    costs : Tables
    candidates : Candidates
    objective : str
    """

    def __init__(self, graph: KernelGraph, costs: Tables, candidates: Candidates, objective: str = "latency"):
        self.graph, self.costs, self.candidates, self.objective = graph, costs, candidates, objective
        self.counts_energy = objective != "latency"
        self.transitions = Transitions(costs, candidates, self.counts_energy)
        self._followers = followers_of(candidates.producers)
        self._everywhere_s: dict[tuple[int, int], float] = {}
        most = MANY_LABELS if candidates.few else MAX_LABELS
        self._setting = LabelSetting(len(graph.kernels), most, self._promise, not self.counts_energy)

    def run(self) -> list[list[Segment]]:
        """Segments of the best ways through, the best first."""
        n, start = len(self.graph.kernels), self.transitions.values.start()
        ready = sum(1 << k for k, waits_for in enumerate(self.candidates.producers) if not waits_for)
        self._setting.levels[0][0] = State(0, ready, start.cpu_mask, [Label(0.0, 0.0, start)])
        for count in progress(range(n), "planning", "kernel"):
            for state in self._setting.states(count):
                self._expand(state)
        ends = sorted(self._setting.levels[n][(1 << n) - 1].labels, key=self._final)
        return [self._segments(label) for label in ends[:PROPOSALS]]

    def _expand(self, state: State) -> None:
        """Add all labels that follow those of a state."""
        labels, transitions, setting = self._in_reach(state.labels), self.transitions, self._setting
        for k in bits(state.ready):
            done = state.done | 1 << k
            after = self._state(state, done, transitions.live_after(state, done, (k,)))
            for label in labels:
                for device in DEVICES:
                    setting.add(after.labels, transitions.run_kernel(label, k, device, after.live))
        for done, live, label in transitions.run_chains(state, labels):
            setting.add(self._state(state, done, live).labels, label)

    def _state(self, before: State, done: int, live: int) -> State:
        """The state in which some kernels have run, which follows another."""
        level = self._setting.levels[done.bit_count()]
        if done not in level:
            ready, producers = before.ready & ~done, self.candidates.producers
            for k in bits(done & ~before.done):
                for c in self._followers[k]:
                    if not producers[c] & ~done and not done >> c & 1:
                        ready |= 1 << c
            level[done] = State(done, ready, live)
        return level[done]

    def _in_reach(self, labels: list[Label]) -> list[Label]:
        """Labels without those at which another would have all its values on both devices by now."""
        if self.counts_energy or len(labels) == 1:
            return labels
        limit = min(label.gpu_s + self._copy_everywhere_s(label) for label in labels)
        return [label for label in labels if label.host_s <= limit]

    def _copy_everywhere_s(self, label: Label) -> float:
        """Seconds to copy all values to where they are missing."""
        cpu, gpu = label.where
        key = (cpu & ~gpu, gpu & ~cpu)
        if key not in self._everywhere_s:
            self._everywhere_s[key] = self.transitions.copies_s(*key)
        return self._everywhere_s[key]

    def _promise(self, label: Label) -> float:
        return score(self.objective, label.gpu_s, label.joules + self.costs.idle_w * label.gpu_s)

    def _final(self, label: Label) -> float:
        """Score of a label at which everything has run, once the outputs are on the CPU."""
        seconds = self.transitions.finish_s(label)
        return score(self.objective, seconds, label.joules + self.costs.idle_w * seconds)

    def _segments(self, label: Label) -> list[Segment]:
        """The steps that lead to a label as segments."""
        steps, at = [], label
        while at.before is not None:
            steps.append(at.step)
            at = at.before
        segments: list[Segment] = []
        for step in reversed(steps):
            if isinstance(step, RunChain):
                segments.append(Segment("split", step.members, step.axis, step.cut))
            elif segments and segments[-1].device == step.device and not step.copies:
                kernels = tuple(sorted((*segments[-1].kernels, step.kernel)))
                segments[-1] = Segment(step.device, kernels)
            else:
                segments.append(Segment(step.device, (step.kernel,)))
        return segments
