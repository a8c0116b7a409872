"""The search: dynamic programming over what has run, when each device is free, and where the live values are.

A state is the set of kernels that have run. Its labels are the ways to get there that are not worse than another in
every respect (`label_setting`). From a label execution goes on with one kernel on one device, or with a chain at the
cut that ends first (`transitions`). On straight runs this is exact over placement, chain extent, axis and cut; where
branches leave many states the least promising are dropped.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.progress import progress

from ..cached_costs import CachedCosts
from ..objective import score
from .blocks import bits, followers_of, positions
from .candidates import Candidates
from .label_setting import MANY_LABELS, MAX_LABELS, Labels, Levels
from .state import AfterChain, Label, RunChain, State, Step
from .transitions import Transitions

# How many of the last labels are followed back.
PROPOSALS = 3


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause the collector of reference cycles: a search's objects are many and have none, so it would find nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Search:
    """Finds the best segments for a graph.

    Parameters
    ----------
    graph : KernelGraph
    costs : CachedCosts
    candidates : Candidates
    objective : str

    Attributes
    ----------
    labels : int
        Labels that were worked out, for tests of how the work grows.
    """

    def __init__(self, graph: KernelGraph, costs: CachedCosts, candidates: Candidates, objective: str = "latency"):
        self.graph, self.costs, self.candidates, self.objective = graph, costs, candidates, objective
        self.counts_energy = objective != "latency"
        self.transitions = Transitions(costs, candidates, self.counts_energy)
        self.labels = 0
        self._followers = followers_of(candidates.producers)
        self._most_labels = MANY_LABELS if candidates.few else MAX_LABELS
        self._levels = Levels(len(graph.kernels))

    def run(self) -> list[list[Segment]]:
        """Segments of the best ways through, the best first."""
        n = len(self.graph.kernels)
        self._levels.state(0, None)
        for count in progress(range(n), "planning: search", "kernel"):
            for state in self._levels.states(count, self._work_out):
                self._expand(state)
        (end,) = self._levels.states(n, self._work_out)
        return [self._segments(label) for label in sorted(end.labels, key=self._final)[:PROPOSALS]]

    def _expand(self, state: State) -> None:
        """Offer all ways on from a state."""
        state.labels = labels = state.labels if self.counts_energy else self.transitions.in_reach(state.labels)
        state.host_s = min([label.host_s for label in labels])
        state.gpu_s = min([label.gpu_s for label in labels])
        state.least_gpu_s = min([label.least_gpu_s for label in labels])
        kernels, done, known = positions(state.ready), state.done, self._levels.after(state.done)
        for k, bound_s in zip(kernels, self.transitions.bounds_s(state, kernels), strict=True):
            after = known.get(done | 1 << k) or self._levels.state(done | 1 << k, state)
            after.offer((state, k), bound_s)
        for way in self.transitions.run_chains(state):
            start, outcome = way.end.start, way.end.outcome
            if start.after is None:
                start.after = self._levels.state(start.done, state)
            start.after.offer(way, way.start_s + outcome.end_s)

    def _work_out(self, state: State) -> None:
        """Turn the offers of a state into its labels."""
        self._start(state)
        if not state.done:
            state.labels = [Label(0.0, 0.0, *self.transitions.values.start())]
            return
        labels = Labels(self._most_labels, self._promise if self.counts_energy else None)
        for way in state.offers:
            if isinstance(way, AfterChain):
                self.transitions.run_chain(way, labels)
            else:
                self.labels += self.transitions.run_kernels(*way, state.live, labels)
        state.labels, state.offers = labels.kept, []

    def _start(self, state: State) -> None:
        """Find what may run next in a state, and what is still needed."""
        producers, before = self.candidates.producers, state.before
        if before is None:
            state.ready = sum(1 << k for k, waits_for in enumerate(producers) if not waits_for)
            state.live = self.transitions.values.start().cpu_mask
            return
        new, missing = tuple(bits(state.done & ~before.done)), ~state.done
        state.ready = before.ready & missing
        for k in new:
            for c in self._followers[k]:
                if not producers[c] & missing and missing >> c & 1:
                    state.ready |= 1 << c
        state.live = self.transitions.live_after(before, state.done, new)
        state.before = None

    def _promise(self, gpu_s: float, joules: float) -> float:
        return score(self.objective, gpu_s, joules + self.costs.idle_w * gpu_s)

    def _final(self, label: Label) -> float:
        """Score of a label at which everything has run, once the outputs are on the CPU."""
        seconds = self.transitions.finish_s(label)
        return score(self.objective, seconds, label.joules + self.costs.idle_w * seconds)

    def _segments(self, label: Label) -> list[Segment]:
        """The steps that lead to a label as segments."""
        steps: list[Step] = []
        at = label
        while at.before is not None:
            assert at.step is not None, "only the first label was reached without a step"
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
