"""The strategies that ours is compared with."""

from __future__ import annotations

import pytest

from tests.planner import graphs
from tests.planner.random_graphs import RandomCosts, random_graph
from tvm_coexec import CoExecError, Plan
from tvm_coexec.core.plan import Segment
from tvm_coexec.cost_models import Power
from tvm_coexec.planner import STRATEGIES, CachedCosts, compare, make_plan, makespan_s, simulate
from tvm_coexec.planner.segments import merge_segments


def costs_with_power(cpu_w: float, gpu_w: float, idle_w: float = 0.5, **rates: float):
    """Costs that know watts."""
    c = graphs.costs(**rates)
    c.power = Power(idle_w, {"cpu": cpu_w, "gpu": gpu_w})
    return c


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_makes_a_sound_plan(strategy):
    for seed in range(6):
        g, c = random_graph(seed, 6), RandomCosts(seed)
        plan = make_plan(g, c, strategy=strategy)
        plan.check(g)
        assert plan.strategy == strategy
        assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
        assert make_plan(g, c, strategy=strategy).to_json() == plan.to_json()
        split = {k for s in plan.chains for k in s.kernels}
        assert {int(k) for k in plan.notes} | split == set(range(6))


def test_exhaustive_refuses_large_graphs():
    with pytest.raises(CoExecError, match="at most 10 kernels, this one has 12"):
        make_plan(graphs.straight(12), graphs.costs(), strategy="exhaustive")


def test_layerwise_puts_each_operator_on_its_faster_device():
    g, c = random_graph(3, 8), RandomCosts(3)
    for s in make_plan(g, c, strategy="layerwise").segments:
        for k in s.kernels:
            other = {"cpu": "gpu", "gpu": "cpu"}[s.device]
            assert c.whole_s(s.device, g.kernels[k]) <= c.whole_s(other, g.kernels[k])


def test_mulayer_divides_by_quarters_and_chains_nothing():
    g, c = graphs.residual(), graphs.costs(gpu_gflops=25.0)
    plan = make_plan(g, c, strategy="mulayer")
    assert plan.chains
    for s in plan.chains:
        assert len(s.kernels) == 1 and s.axis == "oc" and s.cut in (8, 16, 24)


def test_neurosurgeon_cuts_once_and_not_over_a_slow_link():
    g, c = graphs.straight(6), graphs.costs(cpu_gflops=10, gpu_gflops=100)
    near = make_plan(g, c, strategy="neurosurgeon", bandwidth=1e11)
    assert [s.device for s in near.segments] in (["gpu"], ["cpu", "gpu"], ["gpu", "cpu"]) and not near.chains
    far = make_plan(g, c, strategy="neurosurgeon", bandwidth=1e5)
    assert [s.device for s in far.segments] == ["cpu"]


def test_single_takes_the_better_device():
    g = graphs.straight(3)
    for rates, device in (((10, 100), "gpu"), ((100, 10), "cpu")):
        (segment,) = make_plan(g, graphs.costs(*rates), strategy="single").segments
        assert (segment.device, segment.kernels) == (device, (0, 1, 2))


def test_branches_go_to_different_devices_at_once():
    """Two branches that can't be divided: the GPU starts with one, then the CPU computes the other."""
    g = graphs.graph(
        graphs.conv_kernel(0, (-1,)), graphs.softmax_kernel(1, (0,)), graphs.softmax_kernel(2, (0,)),
        graphs.add_kernel(3, (1, 2)),
    )  # fmt: skip
    slow = {"gpu": 2e-3, "cpu": 2e-3}

    class Costs(type(graphs.costs())):
        def whole_s(self, device, kernel):
            return slow[device] if kernel.op == "nn.softmax" else 1e-5

    c = Costs(upload=graphs.costs().upload, download=graphs.costs().download, host_copy=graphs.costs().host_copy)
    plan = make_plan(g, c, min_gain=0.0)
    assert makespan_s(g, CachedCosts(g, c), plan.segments) < 2.5e-3
    where = {k: s.device for s in plan.segments for k in s.kernels}
    assert {where[1], where[2]} == {"cpu", "gpu"}
    order = [s.device for s in plan.segments if set(s.kernels) & {1, 2}]
    assert order == ["gpu", "cpu"]


def test_segments_that_need_a_copy_start_new_work():
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (-1,)), graphs.add_kernel(2, (0, 1)))
    apart = merge_segments(g, [Segment("gpu", (0,)), Segment("cpu", (1,)), Segment("cpu", (2,))])
    assert [s.kernels for s in apart] == [(0,), (1,), (2,)]
    whole = merge_segments(g, [Segment("cpu", (1,)), Segment("cpu", (0,)), Segment("cpu", (2,))])
    assert whole == (Segment("cpu", (0, 1, 2)),)


def test_energy_prefers_the_frugal_device_and_latency_the_fast_one():
    g = graphs.straight(4)
    c = costs_with_power(10.0, 1.0, cpu_gflops=20.0, gpu_gflops=15.0)
    fast, frugal = (make_plan(g, c, objective=o, min_gain=0.0) for o in ("latency", "energy"))
    assert makespan_s(g, CachedCosts(g, c), fast.segments) < makespan_s(g, CachedCosts(g, c), frugal.segments)
    (segment,) = frugal.segments
    assert segment.device == "gpu"
    both = make_plan(g, c, objective="edp", min_gain=0.0)

    def edp(plan):
        sim = simulate(g, CachedCosts(g, c), plan.segments)
        return sim.now_s * c.power.energy_j(sim.now_s, sim.totals.busy_s)

    assert edp(both) <= min(edp(fast), edp(frugal)) * (1 + 1e-9)


def test_energy_needs_watts():
    with pytest.raises(CoExecError, match="objective 'energy' needs watts"):
        make_plan(graphs.straight(2), graphs.costs(), objective="energy")


def test_what_plans_took_before_counts_for_shares():
    g, c = graphs.straight(4), graphs.costs()
    before = make_plan(g, c, min_gain=0.0)
    c.plan_factor = 1.5
    after = simulate(g, CachedCosts(g, c), before.segments).now_s
    assert before.expected_s * 1.3 < after < before.expected_s * 1.5
    c.plan_factor = 3.0
    assert not make_plan(g, c, min_gain=0.0).chains, "devices side by side that take three times as long are no gain"


def test_compare_has_a_row_for_every_strategy():
    rows = compare(graphs.straight(12), graphs.costs())
    assert [r.strategy for r in rows] == list(STRATEGIES)
    found = {r.strategy: r for r in rows}
    assert found["exhaustive"].plan is None and "at most 10 kernels" in found["exhaustive"].reason
    assert found["coexec"].seconds <= min(r.seconds for r in rows if r.plan is not None) * (1 + 1e-9)
    assert found["codl"].sync_points == 2 * found["codl"].chains
    assert found["single"].bytes_moved == 0 and found["coexec"].bytes_moved > 0
