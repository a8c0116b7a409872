"""Reasons are kinds with data; nothing depends on their texts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner import graphs
from tvm_coexec.core.reasons import Why, own_reason, reason
from tvm_coexec.planner import make_plan
from tvm_coexec.planner.strategies.ratio import unprofitable_reason, whole_reason


def test_every_kind_has_its_own_text():
    assert len({w.value for w in Why}) == len(Why)


def test_texts_have_the_data():
    assert str(reason(Why.LITTLE_GAIN, gain=0.1)) == "dividing it is not expected to save 10%"
    assert str(reason(Why.NO_AXIS, axis="h", axes="n, ic")) == "no axis 'h'; it has n, ic"
    assert str(reason(Why.INDIVISIBLE, rule="{braces} stay")) == "{braces} stay"


def test_kind_by_kernel_and_axis():
    conv, softmax, add = graphs.conv_kernel(0, (-1,)), graphs.softmax_kernel(0, (-1,)), graphs.add_kernel(0, (-1,))
    refused = replace(conv, axes=conv.axes[:1], refused=(("h", "the compiler gives up"),))
    found = {
        (conv, "auto"): Why.NO_CUT,
        (softmax, "auto"): Why.INDIVISIBLE,
        (add, "auto"): Why.NOT_HEAVY,
        (conv, "batch"): Why.NO_AXIS,
        (refused, "h"): Why.GPU_REFUSES,
    }
    for (kernel, axis), why in found.items():
        assert whole_reason(kernel, axis).why is why
        by_cost = unprofitable_reason(kernel, axis, 0.25)
        assert by_cost.why is (Why.LITTLE_GAIN if why is Why.NO_CUT else why)
    assert own_reason(conv) is None and str(own_reason(softmax)) == softmax.reason


@pytest.mark.parametrize("strategy", ["coexec", "codl"])
def test_a_reason_that_happens_to_speak_of_a_ratio_is_kept(strategy):
    """An operator's own text (here with "iteration") is not taken for another kind of reason."""
    text = "it needs one iteration after the other, whatever the ratio"
    whole = replace(graphs.conv_kernel(1, (0,)), axes=(), reason=text)
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), whole, graphs.conv_kernel(2, (1,)))
    plan = make_plan(g, graphs.costs(), strategy=strategy, min_gain=0.0)
    assert plan.chains and plan.notes["1"] == text
