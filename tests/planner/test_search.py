"""The search against the oracle, and what it is made of against the definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.planner import graphs
from tests.planner.random_graphs import RandomCosts, random_graph
from tvm_coexec.core.chains import chain_shares
from tvm_coexec.core.plan import Segment
from tvm_coexec.cost_models.co_run import CoRun
from tvm_coexec.planner import make_plan, makespan_s
from tvm_coexec.planner.cached_costs import CachedCosts
from tvm_coexec.planner.chain_sweep import inner_cuts, intervals, least_alone_s
from tvm_coexec.planner.search.blocks import blocks_of
from tvm_coexec.planner.search.candidates import Candidates
from tvm_coexec.planner.search.outcomes import Outcomes
from tvm_coexec.planner.simulator import Simulator


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_of_a_small_graph_is_better(seed):
    kernels = 2 + seed % 5
    g, c = random_graph(seed, kernels), RandomCosts(seed, slowdown=1.0 + 0.2 * (seed % 2))
    c = c.on_runtime("tvm" if seed % 4 == 3 else "own")
    best = makespan_s(g, CachedCosts(g, c), make_plan(g, c, strategy="exhaustive", min_gain=0.0).segments)
    ours = makespan_s(g, CachedCosts(g, c), make_plan(g, c, strategy="coexec", min_gain=0.0).segments)
    assert best <= ours * (1 + 1e-12), "the oracle missed a plan"
    assert ours <= best * 1.01


PAIRS = {"cpu": CoRun(1.2, 1.02, 0.01, 0.004), "gpu": CoRun(1.1, 1.01, 0.0, 0.003)}


@pytest.mark.parametrize("seed", range(12))
def test_no_plan_is_better_where_the_gpu_starts_late_and_pairs_slow_each_other(seed):
    g = random_graph(seed, 2 + seed % 5)
    c = RandomCosts(seed, pairs=PAIRS if seed % 2 else None, start_s=1e-4 if seed % 3 else 0.0)
    best = makespan_s(g, CachedCosts(g, c), make_plan(g, c, strategy="exhaustive", min_gain=0.0).segments)
    ours = makespan_s(g, CachedCosts(g, c), make_plan(g, c, min_gain=0.0).segments)
    assert best <= ours * (1 + 1e-12) and ours <= best * 1.01


@pytest.mark.parametrize("seed", [11, 112, 142, 148, 250, 400])
def test_chains_that_end_where_branches_join_and_such_that_only_pay_as_a_whole(seed):
    g, c = random_graph(seed, 2 + seed % 6), RandomCosts(seed, slowdown=1.0 + 0.2 * (seed % 2))
    best = makespan_s(g, CachedCosts(g, c), make_plan(g, c, strategy="exhaustive", min_gain=0.0).segments)
    assert makespan_s(g, CachedCosts(g, c), make_plan(g, c, min_gain=0.0).segments) <= best * 1.005


@pytest.mark.parametrize("seed", range(20))
def test_never_worse_than_a_single_device(seed):
    g, c = random_graph(seed, 30), RandomCosts(seed)
    single = makespan_s(g, CachedCosts(g, c), make_plan(g, c, strategy="single").segments)
    assert makespan_s(g, CachedCosts(g, c), make_plan(g, c).segments) <= single * (1 + 1e-12)


def _chains(seed: int, runtime: str = "own", **costs):
    """Chains of a random graph as the search sees them, each with its axis."""
    g = random_graph(seed, 12)
    tables = CachedCosts(g, RandomCosts(seed, slowdown=1.3, **costs).on_runtime(runtime))
    for last in range(len(g.kernels)):
        for axis in g.kernels[last].axes:
            for walk in intervals(tables, last, axis, inner_cuts(axis, None), 8):
                yield g, tables, walk.times()


@pytest.mark.parametrize("seed", range(8))
def test_times_of_all_cuts_are_those_of_each_chain(seed):
    seen = 0
    for g, tables, chain in _chains(seed):
        for i, cut in enumerate(chain.cuts):
            shares = chain_shares(g, list(chain.members), chain.axis, int(cut))
            sim = Simulator(g, tables)
            sim.where.update({v: {"cpu"} for v in (*chain.outer, *chain.after)})
            parts = sim.run(Segment("split", chain.members, chain.axis, int(cut)))
            assert chain.gpu_s[i] == pytest.approx(parts["gpu"]), (chain.members, chain.axis, cut)
            assert chain.cpu_s[i] == pytest.approx(parts["cpu"] + parts["enqueue"]), (chain.members, chain.axis, cut)
            assert {m: int(c[i]) for m, (c, _) in chain.leaves.items()} == shares.cuts
            seen += 1
    assert seen > 50


@pytest.mark.parametrize("backlog_s", [0.0, 3e-4])
@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize(
    "costs", [{}, {"runtime": "tvm"}, {"start_s": 1e-4}, {"pairs": PAIRS}, {"pairs": PAIRS, "start_s": 1e-4}], ids=str
)
def test_outcome_is_what_the_simulator_makes_of_it(place, backlog_s, costs):
    for seed in range(4):
        for g, tables, chain in _chains(seed, **costs):
            if len(chain.outer) != 1:  # of several inputs the order of copies differs
                continue
            places = (place,) * (len(chain.outer) + len(chain.after))
            (best,) = Outcomes(tables).of(chain, places, backlog_s)
            sim = Simulator(g, tables)
            sim.gpu_s = backlog_s
            devices = {1: {"cpu"}, 2: {"gpu"}, 3: {"cpu", "gpu"}}[place]
            sim.where.update({v: set(devices) for v in (*chain.outer, *chain.after)})
            sim.run(Segment("split", chain.members, chain.axis, best.cut))
            assert sim.host_s == pytest.approx(best.end_s), (chain.members, chain.axis)
            for v in best.on_gpu:
                assert "gpu" in sim.where[v]
            for v in best.on_cpu:
                assert "cpu" in sim.where[v]


def test_chain_of_kernels_that_are_not_consecutive():
    g = graphs.residual()
    tables = CachedCosts(g, graphs.costs())
    axis = g.kernels[4].named_axis("h")
    times = graphs.chain_times(tables, (0, 3, 4), axis, np.array([16]))
    assert times is not None and set(times.outer) == {-1, 2}
    assert graphs.chain_times(tables, (0, 1, 4), g.kernels[4].named_axis("oc"), np.array([16])) is None


def test_blocks_end_where_every_order_passes():
    found = [(b.start, b.stop) for b in blocks_of(graphs.residual())]
    assert found == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], "the skip is a value, not a branch of its own"
    g = graphs.graph(
        graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (0,)), graphs.conv_kernel(2, (0,)),
        graphs.add_kernel(3, (1, 2)), graphs.conv_kernel(4, (3,)),
    )  # fmt: skip
    blocks = blocks_of(g)
    assert [(b.start, b.stop) for b in blocks] == [(0, 1), (1, 3), (3, 4), (4, 5)]
    assert blocks[1].states == (0, 0b010, 0b100, 0b110)


def test_an_output_in_the_middle_does_not_hold_the_blocks_together():
    kernels = [graphs.conv_kernel(i, (i - 1,)) for i in range(3)]
    kernels += [graphs.softmax_kernel(3, (2,)), graphs.conv_kernel(4, (2,)), graphs.conv_kernel(5, (4,))]
    g = type(graphs.straight(1))(tuple(kernels), graphs.straight(1).inputs, (3, 5))
    assert [(b.start, b.stop) for b in blocks_of(g)][-1] == (5, 6)
    c = graphs.costs()
    ours, best = (make_plan(g, c, strategy=s, min_gain=0.0).segments for s in ("coexec", "exhaustive"))
    assert makespan_s(g, CachedCosts(g, c), ours) <= makespan_s(g, CachedCosts(g, c), best) * (1 + 1e-9)


def test_layers_that_repeat_are_planned_alike():
    """What is taken over from an earlier layer is what would be found for it."""
    kernels = []
    for layer in range(7):
        a = 4 * layer
        kernels += [graphs.conv_kernel(0, (a - 1,)), graphs.conv_kernel(0, (a,)), graphs.conv_kernel(0, (a,))]
        kernels.append(graphs.add_kernel(0, (a + 1, a + 2)))
    g = graphs.graph(*(replace(k, index=i, attrs=k.attrs | {"n": 0}) for i, k in enumerate(kernels)))
    tables = CachedCosts(g, graphs.costs(gpu_gflops=14.0))
    found = Candidates(tables, Outcomes(tables))
    repeated = 0
    for k in g.kernels:
        for chain in found.consecutive[k.index]:
            repeated += chain.shift > 0
            axis = g.kernels[chain.members[-1]].named_axis(chain.axis)
            alone = graphs.chain_times(tables, chain.members, axis, chain.cuts)
            assert alone is not None and set(alone.outer) == set(chain.outer)
            np.testing.assert_allclose(alone.gpu_s, chain.gpu_s)
            np.testing.assert_allclose(alone.cpu_s, chain.cpu_s)
            np.testing.assert_allclose(alone.join_s, chain.join_s)
            assert {m: (list(c), n) for m, (c, n) in alone.leaves.items()} == {
                m: (list(c), n) for m, (c, n) in chain.leaves.items()
            }
    assert repeated > 10


@pytest.mark.parametrize("seed", range(6))
def test_no_chain_is_quicker_than_its_last_kernel(seed):
    """Ends of chains are left out by the time of their last kernel: a lower bound, and exact for that kernel alone."""
    graph = random_graph(seed, 14)
    tables, swept = CachedCosts(graph, RandomCosts(seed)), 0
    for kernel in graph.kernels:
        for axis in kernel.axes:
            cuts = inner_cuts(axis, None)
            if not len(cuts):
                continue
            bound_s = least_alone_s(tables, kernel.index, axis, cuts)
            for sweep in intervals(tables, kernel.index, axis, cuts, 6):
                exact = len(sweep.members) == 1 and axis.granule == 1
                assert bound_s == sweep.alone_s() if exact else bound_s <= sweep.alone_s()
                swept += 1
    assert swept > 20
