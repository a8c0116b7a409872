"""Costs corrected by what a plan's shares took, and the plans that follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.measuring.verify.recorded import recorded
from tests.planner import graphs
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models.measured import WHOLE
from tvm_coexec.measuring.verify.child import segment_seconds
from tvm_coexec.measuring.verify.correct import Corrections
from tvm_coexec.planner import CachedCosts, Options, check_options, make_plan
from tvm_coexec.tracing import Timeline, TraceEvent


def gpu_fraction(graph: KernelGraph, plan: Plan) -> float:
    """Of all kernels' rows: the mean over kernels."""
    found = []
    for segment in plan.segments:
        shares = segment.shares(graph) if segment.device == "split" else None
        for k in segment.kernels:
            if shares is None:
                found.append(float(segment.device == "gpu"))
                continue
            low, high = shares.gpu[k]
            found.append((high - low) / graph.kernels[k].axis(shares.dims[k]).extent)
    return sum(found) / len(found)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_device_that_took_longer_gets_less(device):
    graph, costs = graphs.straight(3), graphs.costs()
    first = make_plan(graph, costs)
    corrections = Corrections(graph, costs, Options())
    corrections.learn(first, recorded(graph, costs, first, **{device: 2.0}))
    found = corrections.propose()
    found.check(graph)
    before, after = gpu_fraction(graph, first), gpu_fraction(graph, found)
    assert before == pytest.approx(0.5, abs=0.15)
    wanted = 2 / 3 if device == "cpu" else 1 / 3
    assert after == pytest.approx(wanted, abs=0.15) and (after > before) == (device == "cpu")
    assert found.expected_s == pytest.approx(4 / 3 * first.expected_s, rel=0.1)
    assert "corrected by recorded runs" in found.costs


def test_what_was_predicted_right_proposes_the_same_plan():
    graph, costs = graphs.residual(), graphs.costs()
    first = make_plan(graph, costs)
    corrections = Corrections(graph, costs, Options())
    corrections.learn(first, recorded(graph, costs, first))
    assert list(corrections.ratios.values()) == pytest.approx([1.0] * len(corrections.ratios)) and corrections.ratios
    assert corrections.propose().digest() == first.digest()


def test_of_two_plans_the_last_counts_and_others_are_kept():
    graph, costs = graphs.straight(3), graphs.costs()
    first = make_plan(graph, costs)
    corrections = Corrections(graph, costs, Options())
    corrections.learn(first, recorded(graph, costs, first, cpu=2.0, gpu=3.0))
    both = recorded(graph, costs, first, cpu=1.5)
    corrections.learn(first, {key: s for key, s in both.items() if key[1] == "cpu"})
    ratios = {device: r for (device, *_), r in corrections.ratios.items()}
    assert ratios == {"cpu": pytest.approx(1.5), "gpu": pytest.approx(3.0)}


def test_equal_kernels_of_several_segments_have_their_mean():
    """Weighted by what they were predicted to take."""
    graph, costs = graphs.straight(2), graphs.costs()
    kernels = [replace(k, attrs=graph.kernels[0].attrs) for k in graph.kernels]
    graph = KernelGraph(tuple(kernels), graph.inputs, graph.outputs)
    assert len({k.signature() for k in kernels}) == 1
    whole = CachedCosts(graph, costs).whole["cpu"][0]
    alone = make_plan(graph, costs, strategy="single")
    segments = tuple(replace(alone.segments[0], device="cpu", kernels=(k,)) for k in range(2))
    corrections = Corrections(graph, costs, Options())
    corrections.learn(replace(alone, segments=segments), {(0, "cpu"): whole, (1, "cpu"): 2 * whole})
    assert corrections.ratios == {("cpu", kernels[0].signature(), WHOLE, 0): pytest.approx(1.5)}


def test_a_margin_that_was_asked_for_is_kept():
    graph, costs = graphs.straight(3), graphs.costs(gpu_gflops=0.8)
    first = make_plan(graph, costs)
    bold, cautious = (Corrections(graph, costs, Options(min_gain=gain)) for gain in (None, 0.3))
    for corrections in (bold, cautious):
        corrections.learn(first, recorded(graph, costs, first))
    assert bold.propose().chains and not cautious.propose().chains


def test_seconds_of_segments_are_the_least_sums():
    def run(scale: float) -> Timeline:
        events = [
            TraceEvent("cpu", 0.0, 1.0 * scale, "work", 0),
            TraceEvent("cpu", 2.0, 2.0 + 2.0 * scale, "work", 0),
            TraceEvent("cpu", 9.0, 9.5, "wait", 0),
            TraceEvent("cpu", 9.5, 9.9, "join", 0),
            TraceEvent("gpu", 0.0, 4.0 * scale, "work", 0),
            TraceEvent("gpu", 5.0, 5.0 + scale, "work", 1),
            TraceEvent("gpu", 7.0, 8.0, "work", -1),
        ]
        return Timeline(10.0, tuple(events))

    found = segment_seconds([run(1.1), run(1.0), run(9.0)])
    assert found == {(0, "cpu"): pytest.approx(3.0), (0, "gpu"): pytest.approx(4.0), (1, "gpu"): pytest.approx(1.0)}
    assert segment_seconds([]) == {}


def test_plans_that_costs_do_not_decide_about_have_no_corrections():
    graph, costs = graphs.straight(3), graphs.costs()
    assert Corrections.of(graph, costs, Options()) is not None
    assert Corrections.of(graph, None, Options()) is None
    assert Corrections.of(graph, costs, check_options(ratio=0.5)) is None
    assert Corrections.of(graph, costs, check_options(strategy="layerwise")) is None
