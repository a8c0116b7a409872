"""What a plan must promise follows from the error of the costs, and from what they rest on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cost_models.test_coverage import CONVS, fitted
from tests.planner import graphs
from tvm_coexec.cost_models import Profile
from tvm_coexec.planner import make_plan, margin_of
from tvm_coexec.planner.margin import DEFAULT_MIN_GAIN, LARGEST, WEAK_ERROR, decision_margin


def test_the_margin_follows_the_error_of_the_costs():
    c = graphs.costs()
    assert margin_of(c) == DEFAULT_MIN_GAIN
    c.error = {"cpu": 0.06, "gpu": 0.08}
    assert margin_of(c) == pytest.approx(0.07)


def test_a_plan_must_promise_more_than_measured_plans_were_off():
    """The error of plans decides between a plan and one device; it does not change which chains are chosen."""
    g, c = graphs.straight(4), graphs.costs()
    c.error = {"cpu": 0.02, "gpu": 0.02}
    plan = make_plan(g, c)
    gain = 1 - plan.expected_s / make_plan(g, c, strategy="single").expected_s
    assert plan.chains and 0.02 < gain < LARGEST
    c.error = {"cpu": 0.02, "gpu": 0.02, "plans": gain - 0.01}
    assert decision_margin(c) == gain - 0.01 and margin_of(c) == 0.02
    assert make_plan(g, c).segments == plan.segments
    c.error = {"cpu": 0.02, "gpu": 0.02, "plans": gain + 0.01}
    assert not make_plan(g, c).chains
    assert make_plan(g, c, min_gain=0.0).chains  # a given margin is the only one


def test_what_rests_on_few_samples_widens_it():
    c = graphs.costs()
    c.error = {"cpu": 0.02, "gpu": 0.06}
    assert margin_of(c, {"cpu": 0.0, "gpu": 0.0}) == margin_of(c)  # exactly
    assert margin_of(c, {"cpu": 0.5, "gpu": 0.0}) == pytest.approx((0.5 * (0.02 + WEAK_ERROR) + 0.06) / 2)
    assert margin_of(c, {"cpu": 1.0, "gpu": 1.0}) == pytest.approx(WEAK_ERROR)
    c.error = {"cpu": 0.4, "gpu": 0.9}
    assert margin_of(c, {"cpu": 1.0, "gpu": 1.0}) == LARGEST  # never narrower than without


@pytest.mark.slow
def test_plans_of_a_network_that_is_hardly_known_must_promise_more():
    """The same times, known from many samples or from none: then a saving of a fifth is not enough."""
    g = graphs.straight(4)
    known = Profile({d: fitted(*CONVS) for d in ("cpu", "gpu")}, error={"cpu": 0.02, "gpu": 0.02})

    class Unknown(Profile):
        def samples_of(self, device, kernel):
            return "conv/direct", 0

    unknown = Unknown(known.devices, error=known.error)
    # copies so slow that some of the gain is lost
    slow = replace(known.upload, per_byte_s=1.5e-9)
    gains = []
    for costs in (known, unknown):
        costs = replace(costs, upload=slow, download=slow)
        plan = make_plan(g, costs)
        gains.append(any(s.device == "split" for s in plan.segments))
    assert gains == [True, False]
