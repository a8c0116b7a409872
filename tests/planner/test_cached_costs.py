"""Costs as tables, and what a user's own cost model needs: three methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.planner import graphs
from tests.planner.random_graphs import RandomCosts, random_graph
from tvm_coexec import Report
from tvm_coexec.core.access import InputAccess, identity
from tvm_coexec.core.kernel_graph import REDUCED, SplitAxis
from tvm_coexec.core.plan import Segment
from tvm_coexec.cost_models import Costs, Link
from tvm_coexec.planner import STRATEGIES, CachedCosts, compare, make_plan, makespan_s


class FlopCosts(Costs):
    """The smallest cost model that there is; it counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def whole_s(self, device, kernel):
        self.asked += 1
        return kernel.flops / {"cpu": 1e10, "gpu": 1.5e10}[device]

    def shares_s(self, device, kernel, dim, ranges):
        rows = np.diff(np.asarray(ranges, float).reshape(-1, 2), axis=1)[:, 0]
        return self.whole_s(device, kernel) * rows / kernel.axis(dim).extent

    def slowdown(self, device):
        return 1.05


class LastDigits(RandomCosts):
    """Random costs on another processor: its exponential functions and BLAS differ in the last digits."""

    def whole_s(self, device, kernel):
        return self._differ(super().whole_s(device, kernel))

    def shares_s(self, device, kernel, dim, ranges):
        return self._differ(super().shares_s(device, kernel, dim, ranges))

    @staticmethod
    def _differ(seconds):
        bits = np.asarray(seconds, float).view(np.int64)
        return (bits + bits % 5 - 2).view(float) * (bits > 0)


@pytest.mark.slow
def test_last_digits_of_costs_decide_nothing():
    for seed in range(24):
        g = random_graph(seed, 12 + seed)
        plans = [make_plan(g, costs(seed, 1.0 + 0.2 * (seed % 2)), min_gain=0.0) for costs in (RandomCosts, LastDigits)]
        assert plans[0].segments == plans[1].segments, f"graph {seed}"


def test_three_methods_make_a_cost_model():
    g, costs = graphs.residual(), FlopCosts()
    plan = make_plan(g, costs)
    assert plan.chains and plan.costs == costs.description
    alone = min(makespan_s(g, CachedCosts(g, costs), [Segment(d, tuple(range(5)))]) for d in ("cpu", "gpu"))
    assert plan.expected_s < alone
    assert "expected" in Report(g, plan, costs=costs).summary()
    assert {c.strategy for c in compare(g, costs)} == set(STRATEGIES)


@pytest.mark.parametrize("missing", ["whole_s", "shares_s", "slowdown"])
def test_a_cost_model_without_one_of_them_is_refused(missing):
    members = {n: vars(FlopCosts)[n] for n in ("whole_s", "shares_s", "slowdown") if n != missing}
    with pytest.raises(TypeError, match=missing):
        type("Incomplete", (Costs,), members)()


def test_batches_and_single_kernels_are_the_same():
    g, costs = random_graph(4, 9), RandomCosts(4)
    for device in ("cpu", "gpu"):
        assert costs.whole_of_many(device, g.kernels).tolist() == [costs.whole_s(device, k) for k in g.kernels]
        requests = [(k, a.dim, np.array([[0, 2], [1, a.extent]])) for k in g.kernels for a in k.axes]
        for (k, dim, rows), found in zip(requests, costs.shares_of_many(device, requests), strict=True):
            np.testing.assert_array_equal(found, costs.shares_s(device, k, dim, rows))


def test_each_kernel_is_asked_for_once():
    g, costs = graphs.straight(5), FlopCosts()
    cached = CachedCosts(g, costs)
    make_plan(g, cached)
    asked = costs.asked
    make_plan(g, cached, strategy="codl")
    makespan_s(g, cached, [Segment("cpu", tuple(range(5)))])
    assert costs.asked == asked


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_cached_costs_of_cached_costs_are_the_same(seed):
    """Calibration and synchronisation are charged once, however often costs are cached."""
    g, costs = random_graph(seed, 7), RandomCosts(seed, 1.2)
    costs.plan_factor, costs.sync_s = 1.3, 2e-4
    once = CachedCosts(g, costs)
    twice = CachedCosts(g, once)
    for strategy in STRATEGIES:
        plan = make_plan(g, costs, strategy=strategy, min_gain=0.0)
        assert make_plan(g, once, strategy=strategy, min_gain=0.0).to_json() == plan.to_json()
        assert makespan_s(g, twice, plan.segments) == makespan_s(g, once, plan.segments) == plan.expected_s


def test_what_follows_partial_sums_decides_whether_they_pay():
    sums = SplitAxis("ic", REDUCED, 32, 1, 4, (InputAccess(1, ((identity(32),),)),), True)
    g = graphs.graph(replace(graphs.conv_kernel(0, (-1,)), axes=(sums,)))

    class Epilogue(FlopCosts):
        def __init__(self, seconds: float) -> None:
            super().__init__()
            self.seconds = seconds

        def epilogue_s(self, kernel):
            return self.seconds

    cheap, dear = (make_plan(g, Epilogue(s)) for s in (1e-4, 8e-3))
    assert cheap.chains and not dear.chains
    cut = CachedCosts(g, Epilogue(1e-4)), CachedCosts(g, Epilogue(3e-4))
    segments = list(cheap.segments)
    assert makespan_s(g, cut[1], segments) - makespan_s(g, cut[0], segments) == pytest.approx(2e-4)


def test_synchronisation_is_charged_with_each_copy_back():
    g, costs = graphs.straight(2), graphs.costs()
    segments = [Segment("split", (0,), "oc", 8), Segment("gpu", (1,))]
    before = makespan_s(g, CachedCosts(g, costs), segments)
    costs.sync_s = 1e-3
    assert makespan_s(g, CachedCosts(g, costs), segments) == pytest.approx(before + 2e-3)
    costs.download, costs.sync_s = Link(costs.download.constant_s + 1e-3, costs.download.per_byte_s), 0.0
    assert makespan_s(g, CachedCosts(g, costs), segments) == pytest.approx(before + 2e-3)


def test_calibration_and_bandwidth_are_options():
    g, costs = graphs.straight(1), graphs.costs()
    costs.plan_factor = 2.0
    segments = [Segment("split", (0,), "oc", 16)]
    calibrated, plain = (makespan_s(g, CachedCosts(g, costs, calibrated=c), segments) for c in (True, False))
    assert plain < calibrated < 2 * plain
    slow = CachedCosts(g, costs, bandwidth=1e6)
    assert slow.upload == Link(costs.upload.constant_s, 1e-6) and slow.host_copy == costs.host_copy
    assert slow.down_s[0] == pytest.approx(costs.download.constant_s + g.kernels[0].out_bytes * 1e-6)
