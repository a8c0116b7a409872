"""Special functions have a weight each, on both devices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.cost_models.kernels import elements, many, seconds_of
from tests.planner import graphs
from tvm_coexec.core.special_functions import INTEGER, SPECIAL_FUNCTIONS
from tvm_coexec.cost_models import AnalyticCosts, AnalyticModel, describe, describe_shares
from tvm_coexec.cost_models.features.special_functions import DEFAULT, WEIGHTS, special_flops


def test_every_function_has_a_weight():
    assert set(WEIGHTS) == SPECIAL_FUNCTIONS and set(INTEGER.values()) <= SPECIAL_FUNCTIONS
    assert all(w > 1 for weights in WEIGHTS.values() for w in weights)


def test_flops():
    assert special_flops((("erf", 10.0), ("divide", 2.0)), "cpu") == 10 * WEIGHTS["erf"][0] + 2 * WEIGHTS["divide"][0]
    assert special_flops((("erf", 10.0),), "gpu") == 10 * WEIGHTS["erf"][1]
    assert special_flops((), "cpu") == 0.0
    assert special_flops((("a user's own", 3.0),), "gpu") == 3 * DEFAULT[1]


def test_shares_and_a_roofline_count_them():
    plain = graphs.add_kernel(0, (-1, -1))
    kernel = replace(plain, functions=(("erf", 32 * 32 * 32.0),))
    whole = describe(kernel, "gpu")
    assert (whole.special, whole.special_on_cores) == (32**3 * WEIGHTS["erf"][1], 32**3 * WEIGHTS["erf"][2])
    assert describe(kernel, "cpu").special_on_cores == 0.0 and whole.flops == describe(plain, "gpu").flops
    shares = describe_shares(kernel, "gpu", 2, [(0, 8), (8, 32)])
    assert shares.special_on_cores.tolist() == [whole.special_on_cores / 4, whole.special_on_cores * 3 / 4]
    assert shares.special.tolist() == [whole.special / 4, whole.special * 3 / 4]
    costs = AnalyticCosts()
    more = costs.whole_s("gpu", kernel) - costs.devices["gpu"].launch_s
    assert more == pytest.approx((whole.flops + whole.special) / costs.devices["gpu"].flops_per_s)
    assert costs.whole_s("gpu", plain) < costs.whole_s("gpu", kernel)


def test_a_model_learns_their_rate():
    """Kernels alike in all but their functions: without the term no model could tell them apart."""
    plain = [elements(n) for n in range(2000, 60000, 2000)]
    costly = [replace(w, special=50 * w.flops) for w in plain]
    kernels, rate = [*plain, *costly], 2e-11
    seconds = seconds_of(kernels, noise=0.0)
    seconds[len(plain) :] += [rate * w.special for w in costly]
    model = AnalyticModel(fallback=True).fit(kernels, seconds)
    assert abs(model.predict(kernels) / seconds - 1).max() < 0.05
    assert model.classes_["injective/direct"].terms["special"] == pytest.approx(rate, rel=0.2)
    roofline = AnalyticModel(fallback=True).fit(costly, seconds[len(plain) :]).roofline_
    assert "flops.special" in roofline.terms


@pytest.mark.slow
def test_devices_of_cpu_cores_have_a_term_of_their_own():
    """There a sine takes thirty times as long as an exponential."""
    functions = [(name, n) for n in range(2000, 60000, 2000) for name in ("exp", "sin")]
    kernels = [
        replace(elements(n), special=special_flops([(f, n)], "gpu"), special_on_cores=special_flops([(f, n)], "cores"))
        for f, n in functions
    ]
    seconds = np.array([3e-6 + w.out_bytes / 1e10 + w.special_on_cores / 1e11 for w in kernels])
    errors = {}
    for work_groups in (False, True):
        model = AnalyticModel(fallback=True, work_groups=work_groups).fit(kernels, seconds)
        errors[work_groups] = abs(model.predict(kernels) / seconds - 1).mean()
    assert errors[True] < 0.03 < 0.2 < errors[False]
    assert "flops.special.cores" in model.roofline_.terms


def test_rooflines_of_earlier_releases_count_them():
    """A shipped profile that knows convolutions only: an erf takes its FLOPs' time."""
    fitted = AnalyticModel(fallback=True).fit(many(), seconds_of(many()))
    terms = dict(fitted.roofline_.terms)
    terms["flops"] = terms.pop("flops.special")
    roofline = {"terms": terms, "samples": fitted.roofline_.samples}  # in decimals, as then
    state = {"options": fitted.state()["options"], "roofline": roofline, "classes": {}}
    model = AnalyticModel.from_state(state).silence_warnings()
    plain = elements(50000)
    more = model.predict(replace(plain, special=1e6)) - model.predict(plain)
    assert more[0] == pytest.approx(1e6 * terms["flops"])


def test_without_them_models_are_as_they_were():
    """A column of zeros changes no coefficient, so profiles of samples without functions stay byte for byte."""
    kernels = many()
    terms = {n for c in AnalyticModel().fit(kernels, seconds_of(kernels)).classes_.values() for n in c.terms}
    assert "special" not in terms and "flops.special" not in terms
