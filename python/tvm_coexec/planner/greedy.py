"""Greedy chains under a cost model: CoDL's search, as published and with the corrections that need no new search.

``codl`` (MobiSys 2022, section 4): straight lists; ratios in steps of 0.1; from each head, for ratios within 0.3 of
its own best, kernels are appended while the gain grows; a chain is scored as the sum of each kernel's slower share.
``coexec``: cuts at the kernels' own alignment; siblings and joins of branches may be appended; a chain is scored as
it runs, the larger of the two sums; and the result is compared by simulation with ``codl``'s and each device alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.cost_models import Costs
from tvm_coexec.errors import CoExecError
from tvm_coexec.kernel_graph import KernelGraph, SplitAxis, chain_shares, cuts_of, round_cut
from tvm_coexec.plan import Segment, merge_neighbours

from .chains import NOT_HEAVY, axis_names, can_chain, is_connected, last_axis_name, whole_reason
from .simulate import Simulator, simulate

RATIO_WINDOW = 0.3
MAX_LENGTH = 24
# How many candidates in a row may be worse before a chain stops growing: a residual block pays only at its end.
PATIENCE = {"codl": 0, "coexec": 3}


@dataclass(frozen=True)
class _Candidate:
    segment: Segment
    gain_s: float


def greedy_plan(
    graph: KernelGraph, costs: Costs, strategy: str, axis: str, ratio: float | None, min_gain: float
) -> tuple[tuple[Segment, ...], dict[str, str]]:
    """Segments and the reasons of kernels left whole.

    Parameters
    ----------
    graph, costs
    strategy : {"codl", "coexec"}
    axis : str
        Axis name or ``auto``.
    ratio : float, optional
        Fixes the GPU's part; `None` searches it.
    min_gain : float
        Part of the single-device time that a chain, and the whole plan, must save.
    """
    if strategy == "codl":
        segments, notes = _Search(graph, costs, "codl", axis, ratio, min_gain).run()
        return merge_neighbours(segments), notes
    # Growing a chain for its own sake can cost the chains behind it more than it gains: the published search, scored as
    # chains really run, is a second proposal.
    proposals = [_Search(graph, costs, s, axis, ratio, min_gain).run() for s in ("coexec", "codl")]
    segments, notes = min(proposals, key=lambda p: simulate(graph, costs, p[0]))
    everything = tuple(k.index for k in graph.kernels)
    single = min(([Segment(d, everything)] for d in ("cpu", "gpu")), key=lambda s: simulate(graph, costs, s))
    alone = simulate(graph, costs, single)
    if simulate(graph, costs, segments) > alone * (1.0 - min_gain):
        why = f"{single[0].device} alone is expected to be as fast ({alone * 1e3:.3f} ms)"
        return tuple(single), {str(k.index): k.reason or why for k in graph.kernels}
    return merge_neighbours(segments), notes


class _Search:
    def __init__(
        self, graph: KernelGraph, costs: Costs, strategy: str, axis: str, ratio: float | None, min_gain: float
    ):
        self.graph, self.costs, self.strategy, self.axis = graph, costs, strategy, axis
        self.ratio, self.min_gain = ratio, min_gain
        self.consumers = graph.consumers
        totals = {
            d: simulate(graph, costs, [Segment(d, tuple(k.index for k in graph.kernels))]) for d in ("cpu", "gpu")
        }
        self.home = min(("cpu", "gpu"), key=lambda d: totals[d])
        self.single = [min(costs.whole_s(d, k) for d in ("cpu", "gpu")) for k in graph.kernels]

    def run(self) -> tuple[list[Segment], dict[str, str]]:
        segments: list[Segment] = []
        notes: dict[str, str] = {}
        sim = Simulator(self.graph, self.costs)
        index = 0
        while index < len(self.graph.kernels):
            best = self._best_chain(index, sim)
            if best is None:
                kernel = self.graph.kernels[index]
                segment = Segment(self.home, (index,))  # undivided kernels stay on the better single device
                notes[str(index)] = self._reason(index) if kernel.is_heavy else kernel.reason or NOT_HEAVY
                index += 1
            else:
                segment = best.segment
                index = segment.kernels[-1] + 1
            sim.run(segment)
            segments.append(segment)
        return segments, notes

    def _reason(self, index: int) -> str:
        reason = whole_reason(self.graph.kernels[index], self.axis)
        return reason if "ratio" not in reason else f"dividing it is not expected to save {self.min_gain:.0%}"

    def _best_chain(self, head: int, sim: Simulator) -> _Candidate | None:
        kernel = self.graph.kernels[head]
        if not kernel.is_heavy:
            return None
        names = axis_names(kernel) if self.axis == "auto" else [self.axis]
        best: _Candidate | None = None
        for name in names:
            axis = kernel.named_axis(name)
            if axis is None:
                continue
            for ratio in self._ratios(head, axis, sim):
                found = self._grow(head, axis.name, ratio, sim)
                if found is not None and (best is None or found.gain_s > best.gain_s):
                    best = found
        return best

    def _ratios(self, head: int, axis: SplitAxis, sim: Simulator) -> list[float]:
        """GPU parts to try for a chain that starts here."""
        if self.ratio is not None:
            return [self.ratio]
        if self.strategy == "codl":
            every = [round(0.1 * i, 1) for i in range(1, 10)]
        else:
            cuts = cuts_of(axis)
            keep = max(1, len(cuts) // 16)  # beyond sixteen steps the times differ less than they are known
            every = [c / axis.extent for c in cuts[::keep]]
        scored = [(self._gain([head], axis.name, r, sim), r) for r in every]
        scored = [(g, r) for g, r in scored if g is not None]
        if not scored:
            return []
        own = max(scored)[1]
        return [r for _, r in scored if abs(r - own) <= RATIO_WINDOW + 1e-9]

    def _grow(self, head: int, axis: str, ratio: float, sim: Simulator) -> _Candidate | None:
        members, best, worse = [head], None, 0
        while True:
            gain = self._gain(members, axis, ratio, sim)
            if (
                gain is not None
                and gain > self.min_gain * self._alone(members)
                and (best is None or gain > best.gain_s)
            ):
                segment = self._segment(members, axis, ratio)
                assert segment is not None
                best, worse = _Candidate(segment, gain), 0
            else:
                worse += 1
            nxt = members[-1] + 1
            if (
                worse > PATIENCE[self.strategy]
                or len(members) >= MAX_LENGTH
                or not self._appendable(members, nxt, axis)
            ):
                return best
            members = [*members, nxt]

    def _appendable(self, members: list[int], nxt: int, axis: str) -> bool:
        if nxt >= len(self.graph.kernels):
            return False
        if self.strategy == "codl":
            last = members[-1]
            if self.consumers.get(last) != (nxt,) or self.graph.kernels[nxt].inputs != (last,):
                return False
            return can_chain(self.graph, [*members, nxt], axis)
        # A branch that can't be divided together with the rest yet may be once its join is in.
        return is_connected(self.graph, members, nxt) and bool(self.graph.kernels[nxt].axes)

    def _alone(self, members: list[int]) -> float:
        return sum(self.single[m] for m in members)

    def _segment(self, members: list[int], axis: str, ratio: float) -> Segment | None:
        name = last_axis_name(self.graph, members, axis)
        if name is None or not can_chain(self.graph, members, axis):
            return None
        last = self.graph.kernels[members[-1]].named_axis(name)
        assert last is not None
        cut = round_cut(last, ratio)
        return Segment("split", tuple(members), name, cut) if 0 < cut < last.extent else None

    def _gain(self, members: list[int], axis: str, ratio: float, sim: Simulator) -> float | None:
        """Seconds saved against the same kernels undivided, transfers on both sides counted."""
        segment = self._segment(members, axis, ratio)
        if segment is None:
            return None
        if self.strategy == "codl":
            return self._alone(members) - self._codl_cost(segment, sim)
        chain, alone = sim.copy(), sim.copy()
        chain.run(segment)
        alone.run(Segment(self.home, segment.kernels))
        if self.home == "gpu":  # what follows on the GPU needs the joined value back there
            for k in segment.shares(self.graph).cuts:
                chain.host_s += self.costs.upload.seconds(self.graph.kernels[k].out_bytes)
        return alone.now_s - chain.now_s

    def _codl_cost(self, segment: Segment, sim: Simulator) -> float:
        shares = chain_shares(self.graph, list(segment.kernels), segment.axis, segment.cut)
        work = 0.0
        for k in segment.kernels:
            kernel, dim = self.graph.kernels[k], shares.dims[k]
            work += max(
                self.costs.shares_s("cpu", kernel, dim, [shares.cpu[k]])[0],
                self.costs.shares_s("gpu", kernel, dim, [shares.gpu[k]])[0],
            )
        parts = sim.copy().run(segment)
        return work + parts["share_out"] + parts["join"]


def check_axis(axis: str, known: tuple[str, ...]) -> None:
    """Raises `CoExecError` for an axis nobody knows."""
    if axis != "auto" and axis not in known:
        raise CoExecError(f"axis '{axis}' is unknown; use auto or one of {', '.join(known)}")
