"""CoDL's greedy chains, as published (Jia et al., MobiSys 2022, section 4).

Straight lists; ratios in steps of 0.1; from each head, for ratios within 0.3 of its own best, kernels are appended
while the gain grows; a chain is scored as the sum of each kernel's slower share, not as the slower of the two sums.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.core.chains import chain_dims, chain_shares, last_axis
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph, SplitAxis, round_cut
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.reasons import Reason

from ..cached_costs import CachedCosts
from ..options import Options, Result
from ..segments import merge_segments
from ..simulator import Simulator, makespan_s
from .ratio import axis_names, can_chain, last_axis_name, unprofitable_reason
from .single import on_one

RATIOS = tuple(round(0.1 * i, 1) for i in range(1, 10))
RATIO_WINDOW = 0.3
MAX_LENGTH = 24


@dataclass(frozen=True)
class _Candidate:
    segment: Segment
    gain_s: float


def codl(graph: KernelGraph, costs: CachedCosts, options: Options) -> Result:
    """Chains grown one by one from the front; what is not chained stays on the better single device."""
    return _Greedy(graph, costs, options).run()


class _Greedy:
    def __init__(self, graph: KernelGraph, costs: CachedCosts, options: Options):
        self.graph, self.costs, self.axis, self.ratio = graph, costs, options.axis, options.ratio
        self.min_gain = options.min_gain or 0.0  # published without a threshold
        self.home = min(("cpu", "gpu"), key=lambda d: makespan_s(graph, costs, on_one(graph, d)))
        self.single_s = [min(costs.whole_s(d, k) for d in k.devices) for k in graph.kernels]
        self._share_s: dict[tuple, float] = {}

    def run(self) -> Result:
        segments: list[Segment] = []
        reasons: dict[int, Reason] = {}
        sim = Simulator(self.graph, self.costs)
        index = 0
        while index < len(self.graph.kernels):
            best = self._best_chain(index, sim)
            kernel = self.graph.kernels[index]
            home = self.home if self.home in kernel.devices else "cpu"
            segment = Segment(home, (index,)) if best is None else best.segment
            if best is None:
                reasons[index] = unprofitable_reason(kernel, self.axis, self.min_gain)
            index = segment.kernels[-1] + 1
            sim.run(segment)
            segments.append(segment)
        return merge_segments(self.graph, segments), reasons

    def _best_chain(self, head: int, sim: Simulator) -> _Candidate | None:
        kernel = self.graph.kernels[head]
        if not kernel.is_heavy:
            return None
        best: _Candidate | None = None
        for name in axis_names(kernel) if self.axis == "auto" else [self.axis]:
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
        scored = [(g, r) for r in RATIOS if (g := self._gain([head], axis.name, r, sim)) is not None]
        if not scored:
            return []
        own = max(scored)[1]
        return [r for _, r in scored if abs(r - own) <= RATIO_WINDOW + 1e-9]

    def _grow(self, head: int, axis: str, ratio: float, sim: Simulator) -> _Candidate | None:
        members, best = [head], None
        while True:
            gain = self._gain(members, axis, ratio, sim)
            enough = self.min_gain * sum(self.single_s[m] for m in members)
            if gain is None or gain <= enough or (best is not None and gain <= best.gain_s):
                return best
            segment = self._segment(members, axis, ratio)
            assert segment is not None
            best = _Candidate(segment, gain)
            if len(members) >= MAX_LENGTH or not self._appendable(members, axis):
                return best
            members = [*members, members[-1] + 1]

    def _appendable(self, members: list[int], axis: str) -> bool:
        last, nxt = members[-1], members[-1] + 1
        if nxt >= len(self.graph.kernels) or self.graph.consumers.get(last) != (nxt,):
            return False
        if self.graph.kernels[nxt].inputs != (last,):
            return False
        return can_chain(self.graph, [*members, nxt], axis)

    def _segment(self, members: list[int], axis: str, ratio: float) -> Segment | None:
        name = last_axis_name(self.graph, members, axis)
        if name is None:
            return None
        last = last_axis(self.graph, members, name)
        cut = round_cut(last, ratio)
        if not 0 < cut < last.extent:
            return None
        try:
            chain_dims(self.graph, members, name)
        except CoExecError:
            return None
        return Segment("split", tuple(members), name, cut)

    def _gain(self, members: list[int], axis: str, ratio: float, sim: Simulator) -> float | None:
        """Seconds saved against the same kernels undivided, each on its faster device."""
        segment = self._segment(members, axis, ratio)
        if segment is None:
            return None
        return sum(self.single_s[m] for m in members) - self._cost(segment, sim)

    def _cost(self, segment: Segment, sim: Simulator) -> float:
        shares = chain_shares(self.graph, list(segment.kernels), segment.axis, segment.cut)
        work = 0.0
        for k in segment.kernels:
            dim = shares.dims[k]
            work += max(self._share(d, k, dim, r[k]) for d, r in (("cpu", shares.cpu), ("gpu", shares.gpu)))
        parts = sim.copy().run(segment)
        return work + parts["share_out"] + parts["join"]

    def _share(self, device: str, k: int, dim: int, rows: tuple[int, int]) -> float:
        key = (device, k, dim, rows)
        if key not in self._share_s:
            self._share_s[key] = float(self.costs.shares_s(device, self.graph.kernels[k], dim, [rows])[0])
        return self._share_s[key]
