"""Propose plans by costs that recorded runs of other plans have corrected.

A chain lasts as long as its slower share, so that costs which are wrong by a few percent, and in different ways for the
two devices, lose that much in waiting. What each device took for its share of a chain says by how much they are wrong
for these kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tvm_coexec.core.kernel_graph import DEVICES, KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.core.reasons import Why, reason
from tvm_coexec.cost_models import CorrectedCosts, Costs, ShareKey
from tvm_coexec.cost_models.measured import WHOLE
from tvm_coexec.planner import CachedCosts, Options, needs_costs, simulate
from tvm_coexec.planner.strategies.coexec import proposals

from .candidates import make_plan


class Corrections:
    """Ratios of recorded to predicted seconds, and the plans that they lead to.

    Parameters
    ----------
    graph : KernelGraph
    costs : Costs
        The costs of planning.
    options : Options

    Attributes
    ----------
    ratios : dict of ShareKey to float
        Of several plans with the same share the last counts.
    """

    def __init__(self, graph: KernelGraph, costs: Costs, options: Options):
        self.graph, self.base, self.options = graph, costs, options
        self.ratios: dict[ShareKey, float] = {}
        self._cached = CachedCosts(graph, costs)

    @staticmethod
    def of(graph: KernelGraph, costs: Costs | None, options: Options) -> Corrections | None:
        """Return corrections; `None` where no costs decide about plans: a given ratio, and other strategies."""
        if costs is None or options.strategy != "coexec" or not needs_costs(options):
            return None
        return Corrections(graph, costs, options)

    @property
    def costs(self) -> CorrectedCosts:
        """The costs with all corrections until now."""
        return CorrectedCosts(self.base, self.ratios)

    def learn(self, plan: Plan, seconds: Mapping[tuple[int, str], float]) -> None:
        """Compare a plan's recorded seconds with the predicted ones.

        Parameters
        ----------
        plan : Plan
        seconds : mapping of (int, str) to float
            Of each segment's kernels by device, no two at the same time.
        """
        predicted_s = simulate(self.graph, self._cached, plan.segments).totals.kernel_s
        # Of equal shares: predicted seconds, and the same times the ratio.
        sums: dict[ShareKey, tuple[float, float]] = {}
        for number, segment in enumerate(plan.segments):
            shares = segment.shares(self.graph) if segment.device == "split" else None
            for device in DEVICES:
                of_kernels = {k: predicted_s.get(k, {}).get(device, 0.0) for k in segment.kernels}
                total, recorded = sum(of_kernels.values()), seconds.get((number, device), 0.0)
                if not total or not recorded:
                    continue
                for k, s in of_kernels.items():
                    dim, rows = WHOLE, 0
                    if shares is not None:
                        low, high = (shares.gpu if device == "gpu" else shares.cpu)[k]
                        dim, rows = shares.dims[k], high - low
                    key = ShareKey(device, self.graph.kernels[k].signature(), dim, rows)
                    before, corrected = sums.get(key, (0.0, 0.0))
                    sums[key] = before + s, corrected + s * recorded / total
        self.ratios |= {key: corrected / before for key, (before, corrected) in sums.items() if before}

    def propose(self) -> Plan:
        """Return the best plan by the corrected costs, without a margin: it is going to be measured."""
        cached = CachedCosts(self.graph, self.costs)
        bold = replace(self.options, min_gain=self.options.min_gain or 0.0)
        segments = proposals(self.graph, cached, bold)[0]
        return make_plan(self.graph, cached, segments, "coexec", reason(Why.WHOLE_WAS_FASTEST))
