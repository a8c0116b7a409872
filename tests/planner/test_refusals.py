"""Kernels and shares that the GPU can't run: no strategy puts them there, and every plan says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner import graphs
from tests.planner.random_graphs import RandomCosts, random_graph
from tvm_coexec import CoExecError, Plan, Report
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.refusals import MOST_REFUSED_ROWS, Refusal
from tvm_coexec.planner import STRATEGIES, compare, make_plan

WHY = "the GPU has no schedule for it"


def fast_gpu():
    """Costs by which everything belongs on the GPU."""
    return graphs.costs(cpu_gflops=1.0, gpu_gflops=100.0, copy_s=1e-7)


def on_gpu(plan: Plan) -> set[int]:
    """Kernels that run on the GPU whole."""
    return {k for s in plan.segments if s.device == "gpu" for k in s.kernels}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("ratio", ["auto", 0.5, 1.0])
def test_every_strategy_leaves_on_the_cpu_what_must_stay_there(strategy, ratio):
    g = graphs.residual()
    free = make_plan(g, fast_gpu(), strategy=strategy, ratio=ratio)
    for kept in (2, 3):
        limited = g.restrict([Refusal(kept, axis, WHY) for axis in ("", "oc", "h")])
        plan = make_plan(limited, fast_gpu(), strategy=strategy, ratio=ratio)
        plan.check(limited)
        assert kept not in on_gpu(plan) and all(kept not in s.kernels for s in plan.chains)
        assert WHY in plan.notes[str(kept)]
        assert plan.graph == free.graph == g.fingerprint()
        if ratio == 1.0:
            assert on_gpu(free) - on_gpu(plan) == {kept}
        report = Report(limited, plan, costs=fast_gpu()).to_text()
        assert f"1 kernel: {WHY} ({kept} {g.kernels[kept].name})" in report


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategies_on_random_graphs_respect_refusals(strategy):
    for seed in range(6):
        g, c = random_graph(seed, 6), RandomCosts(seed)
        refusals = [Refusal(k.index, "", WHY) for k in g.kernels if k.index % 2]
        refusals += [Refusal(k.index, k.axes[0].name, WHY) for k in g.kernels if k.axes and k.index % 3 == 0]
        limited = g.restrict(refusals)
        plan = make_plan(limited, c, strategy=strategy)
        plan.check(limited)
        for s in plan.chains:
            shares = s.shares(limited)
            for k in s.kernels:
                assert limited.kernels[k].find_axis(shares.dims[k]) is not None
        assert not any(limited.kernels[k].cpu_only for k in on_gpu(plan))


@pytest.mark.parametrize("axis", ["oc", "h"])
def test_a_refused_axis_leaves_the_others(axis):
    g = graphs.straight(3)
    limited = g.restrict([Refusal(1, axis, WHY)])
    assert [a.name for a in limited.kernels[1].axes] == [a.name for a in g.kernels[1].axes if a.name != axis]
    assert limited.kernels[1].devices == ("cpu", "gpu") and not limited.kernels[1].reason
    forced = make_plan(limited, ratio=0.5, axis=axis)
    assert all(1 not in s.kernels for s in forced.chains) and len(forced.chains) == 2
    assert forced.notes["1"] == WHY
    other = {"oc": "h", "h": "oc"}[axis]
    assert any(1 in s.kernels for s in make_plan(limited, ratio=0.5, axis=other).chains)
    assert any(1 in s.kernels for s in make_plan(limited, ratio=0.5).chains)


def gpu_rows(graph: KernelGraph, plan: Plan, kernel: int) -> list[int]:
    """How many rows the GPU computes of a kernel that is divided."""
    shares = [s.shares(graph) for s in plan.chains if kernel in s.kernels]
    return [hi - lo for lo, hi in (s.gpu[kernel] for s in shares)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_refused_share_leaves_the_other_cuts(strategy):
    g, c = graphs.straight(3), graphs.costs()
    plan = make_plan(g, c, strategy=strategy, axis="oc", min_gain=0.0)
    refused: set[int] = set()
    for _ in range(1, MOST_REFUSED_ROWS):
        rows = gpu_rows(g, plan, 1)
        if not rows:
            break
        assert not refused & set(rows)
        refused.update(rows)
        limited = g.restrict([Refusal(1, "oc", WHY, r) for r in refused])
        axis = limited.kernels[1].named_axis("oc")
        assert axis.refused_rows == tuple(sorted(refused)) and limited.kernels[1].refusal("oc") == WHY
        with pytest.raises(CoExecError, match=rf"the GPU's part of kernel 1 .* would be {rows[0]} of \d+: {WHY}"):
            plan.check(limited)
        plan = make_plan(limited, c, strategy=strategy, axis="oc", min_gain=0.0)
        plan.check(limited)
    if strategy in ("coexec", "codl", "exhaustive"):
        assert len(refused) > 1 and gpu_rows(limited, plan, 1), "other cuts are used"


def test_a_forced_ratio_leaves_whole_what_can_not_be_cut_there():
    g = graphs.straight(3)
    (rows,) = gpu_rows(g, make_plan(g, ratio=0.5, axis="oc"), 1)
    limited = g.restrict([Refusal(1, "oc", WHY, rows)])
    forced = make_plan(limited, ratio=0.5, axis="oc")
    assert {k for s in forced.chains for k in s.kernels} == {0, 2} and forced.notes["1"] == WHY
    assert gpu_rows(limited, make_plan(limited, ratio=0.25, axis="oc"), 1)
    assert gpu_rows(limited, make_plan(limited, ratio=0.5), 1), "there are other axes"


def test_an_axis_is_given_up_after_some_shares():
    g = graphs.straight(3)
    step = g.kernels[1].named_axis("oc").tile
    some = [Refusal(1, "oc", WHY, step * n) for n in range(1, MOST_REFUSED_ROWS)]
    limited = g.restrict(some)
    assert limited.kernels[1].named_axis("oc") is not None
    assert limited.restrict([Refusal(1, "oc", WHY, step * MOST_REFUSED_ROWS)]).kernels[1].named_axis("oc") is None
    assert limited.restrict(some[:1]).kernels[1].named_axis("oc") is None, "a planner that chooses it again"
    assert g.restrict([*some, Refusal(1, "oc", WHY)]).kernels[1].named_axis("oc") is None


@pytest.mark.slow
def test_random_graphs_respect_refused_shares():
    for seed in range(8):
        g, c = random_graph(seed, 8), RandomCosts(seed)
        for _ in range(6):
            plan = make_plan(g, c, min_gain=0.0)
            plan.check(g)
            if not plan.chains:
                break
            chain = plan.chains[0]
            shares = chain.shares(g)
            k = chain.kernels[-1]
            lo, hi = shares.gpu[k]
            g = g.restrict([Refusal(k, g.kernels[k].axis(shares.dims[k]).name, WHY, hi - lo)])


def test_all_axes_refused_is_a_reason():
    limited = graphs.straight(2).restrict([Refusal(0, "oc", WHY), Refusal(0, "h", WHY)])
    assert not limited.kernels[0].axes and limited.kernels[0].reason == WHY
    assert limited.kernels[0].devices == ("cpu", "gpu")


def test_a_refusal_holds_for_all_kernels_of_its_kind():
    g = graphs.straight(3)
    twins = replace(g, kernels=tuple(replace(k, attrs={**k.attrs, "n": 0}) for k in g.kernels))
    assert all(k.cpu_only == WHY for k in twins.restrict([Refusal(1, "", WHY)]).kernels)
    assert [bool(k.cpu_only) for k in g.restrict([Refusal(1, "", WHY)]).kernels] == [False, True, False]
    assert not any(k.cpu_only for k in twins.restrict([Refusal(1, "", WHY)]).lift_restrictions().kernels)


def test_a_graph_without_refusals_is_planned_as_before():
    g = graphs.residual()
    assert g.restrict([]) == g
    for c in compare(g, fast_gpu()):
        assert c.plan.to_json() == make_plan(g.restrict([]), fast_gpu(), strategy=c.strategy).to_json()


def test_everything_on_the_gpu_but_what_can_not_be_there_is_weighed():
    """The model's middle stays on the CPU; going there and back pays, so the single strategy does it."""
    limited = graphs.straight(5).restrict([Refusal(2, "", WHY)])
    plan = make_plan(limited, fast_gpu(), strategy="single")
    assert [(s.device, s.kernels) for s in plan.segments] == [("gpu", (0, 1)), ("cpu", (2,)), ("gpu", (3, 4))]
    neurosurgeon = make_plan(limited, fast_gpu(), strategy="neurosurgeon")
    assert len(neurosurgeon.segments) <= 2 and 2 not in on_gpu(neurosurgeon) and on_gpu(neurosurgeon)


def replay(graph: KernelGraph, *segments: Segment) -> None:
    Plan(graph.fingerprint(), segments).check(graph)


def test_a_plan_from_a_file_is_refused_with_the_reason():
    g = graphs.straight(3).restrict([Refusal(1, "", WHY), Refusal(2, "oc", WHY)])
    replay(g, Segment("cpu", (0, 1, 2)))
    with pytest.raises(CoExecError, match=rf"kernel 1 \(nn.conv2d\+nn.relu\) on the gpu: {WHY}; put it on the cpu"):
        replay(g, Segment("gpu", (0, 1, 2)))
    with pytest.raises(CoExecError, match=rf"kernel 2 \(nn.conv2d\+nn.relu\) can't be split along 'oc': {WHY}"):
        replay(g, Segment("cpu", (0, 1)), Segment("split", (2,), "oc", 16))
