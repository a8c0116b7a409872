"""Plans: options, fixed ratios, costs, determinism."""

from __future__ import annotations

import pytest

from tests.planner import graphs
from tvm_coexec import CoExecError, Plan
from tvm_coexec.core.plan import Segment
from tvm_coexec.planner import CachedCosts, check_options, make_plan, makespan_s


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("best", "auto", 0.5, None), "strategy 'best' is unknown; use one of coexec, codl"),
        (("coexec", "q", 0.5, None), "axis 'q' is unknown; use auto or one of oc"),
        (("coexec", "auto", 1.5, None), "ratio 1.5 must be auto or a number from 0"),
        (("coexec", "auto", "half", None), "ratio 'half' must be auto or a number"),
        (("coexec", "auto", float("nan"), None), "ratio nan must be"),
        (("coexec", "auto", "auto", 1.0), "min_gain 1.0 must be a fraction"),
    ],
)
def test_options_are_refused_by_name(options, text):
    with pytest.raises(CoExecError, match=text.replace("(", r"\(")):
        check_options(**dict(zip(("strategy", "axis", "ratio", "min_gain"), options, strict=True)))


@pytest.mark.parametrize(("ratio", "device"), [(0.0, "cpu"), (1.0, "gpu")])
def test_ratio_at_the_ends_is_one_device(ratio, device):
    plan = make_plan(graphs.residual(), ratio=ratio)
    assert plan.segments == (Segment(device, (0, 1, 2, 3, 4)),)


def test_fixed_ratio_chains_rows_across_the_block():
    plan = make_plan(graphs.residual(), ratio=0.5, axis="h")
    assert plan.segments == (Segment("split", (0, 1, 2, 3, 4), "h", 16),)


def test_fixed_ratio_stops_a_chain_when_halos_eat_the_gain():
    g = graphs.graph(*(graphs.conv_kernel(i, (i - 1,), size=16) for i in range(8)))
    plan = make_plan(g, ratio=0.5, axis="h")
    assert 1 < len(plan.chains) < 8


def test_fixed_ratio_on_channels_exchanges_at_each_convolution():
    plan = make_plan(graphs.residual(), ratio=0.5, axis="oc")
    assert [s.kernels for s in plan.chains] == [(0,), (1,), (2, 3), (4,)]


def test_reasons_are_kept():
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.softmax_kernel(1, (0,)))
    plan = make_plan(g, ratio=0.5)
    assert plan.notes == {"1": "none of its axes can be divided"}


def test_auto_needs_costs():
    with pytest.raises(CoExecError, match="needs costs: give a profile, or a ratio"):
        make_plan(graphs.straight(1))


@pytest.mark.parametrize("strategy", ["coexec", "codl"])
def test_auto_splits_balanced_devices(strategy):
    g, c = graphs.straight(4), graphs.costs()
    plan = make_plan(g, c, strategy=strategy)
    alone = makespan_s(g, CachedCosts(g, c), [Segment("cpu", (0, 1, 2, 3))])
    assert plan.expected_s < 0.65 * alone
    assert plan.costs == "test costs"


def test_auto_leaves_all_on_a_much_faster_device():
    g, c = graphs.residual(), graphs.costs(cpu_gflops=400.0, gpu_gflops=1.0)
    plan = make_plan(g, c)
    assert plan.segments[0].device == "cpu" and len(plan.segments) == 1
    assert "cpu alone is expected to be as good" in plan.notes["0"]


def test_auto_is_never_expected_to_be_slower_than_one_device():
    for rates in [(10, 10), (10, 40), (40, 10), (10, 3), (1, 200)]:
        for copy_s in (0.0, 1e-4, 1e-2):
            g, c = graphs.residual(), graphs.costs(*rates, copy_s=copy_s)
            alone = min(makespan_s(g, CachedCosts(g, c), [Segment(d, (0, 1, 2, 3, 4))]) for d in ("cpu", "gpu"))
            assert makespan_s(g, CachedCosts(g, c), make_plan(g, c).segments) <= alone * (1 + 1e-9)


def test_min_gain_keeps_small_savings_whole():
    g, c = graphs.straight(2), graphs.costs(gpu_gflops=1.0)
    assert make_plan(g, c, min_gain=0.0).chains
    assert not make_plan(g, c, min_gain=0.5).chains


def test_codl_steps_by_a_tenth_and_knows_straight_lists_only():
    g, c = graphs.residual(), graphs.costs(gpu_gflops=17.0)
    for chain in make_plan(g, c, strategy="codl").chains:
        axis = g.kernels[chain.kernels[-1]].named_axis(chain.axis)
        steps = [int(0.1 * i * axis.extent / axis.align + 0.5) * axis.align for i in range(1, 10)]
        assert chain.cut in steps
        assert 3 not in chain.kernels or len(chain.kernels) == 1


def test_same_inputs_same_bytes():
    plans = {make_plan(graphs.residual(), graphs.costs()).to_json() for _ in range(3)}
    assert len(plans) == 1
    text = plans.pop()
    assert Plan.from_json(text).to_json() == text
