"""Co-run slowdown by what both devices need of memory bandwidth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tvm_coexec.cost_models.co_run import LEAST_PAIRS, CoRun, fit_co_run
from tvm_coexec.cost_models.features.workload import Workload

TRUE = CoRun(1.1, 1.02, 0.01, 0.004)


def kernel(nbytes: float) -> dict:
    return Workload("injective", in_bytes=nbytes / 2, out_bytes=nbytes / 4, weight_bytes=nbytes / 4).to_json()


def pairs(noise: float = 0.0) -> list[dict]:
    dice, made = np.random.default_rng(0), []
    for own, other in itertools.product((0.5, 2.0, 6.0, 10.0), (0.3, 3.0, 9.0)):  # GB/s
        alone_s, other_s = 1e-3, 2e-3
        slow = TRUE.slowdown(own * 1e9, other * 1e9) * (1 + noise * dice.standard_normal())
        made.append(
            {"workload": kernel(own * 1e6), "alone_s": alone_s, "together_s": alone_s * slow}
            | {"other": kernel(other * 2e6), "other_s": other_s}
        )
    return made


def test_what_was_measured_is_found_again():
    found = fit_co_run(pairs())
    assert (found.constant, found.per_other, found.per_pair) == pytest.approx((1.02, 0.01, 0.004), rel=0.02)
    assert found.typical == pytest.approx(np.median([p["together_s"] / p["alone_s"] for p in pairs()]), rel=1e-3)
    for p in pairs():
        own, other = (Workload.from_json(p[n]).traffic_bytes for n in ("workload", "other"))
        slow = found.slowdown(own / p["alone_s"], other / p["other_s"])
        assert slow == pytest.approx(p["together_s"] / p["alone_s"], rel=0.01)


def test_noise_makes_no_device_faster():
    found = fit_co_run(pairs(noise=0.05))
    assert found.constant >= 1 and found.per_other >= 0 and found.per_pair >= 0
    assert found.slowdown(1e9, np.array([0.0, 5e9, 1e10])).tolist() == sorted(
        found.slowdown(1e9, np.array([0.0, 5e9, 1e10])).tolist()
    )


def test_few_pairs_and_those_of_earlier_files_give_one_number():
    few = pairs()[: LEAST_PAIRS - 1]
    earlier = [{n: p[n] for n in ("workload", "alone_s", "together_s")} for p in pairs()]
    for measured in (few, earlier):
        found = fit_co_run(measured)
        assert not found.depends_on_demand and found.slowdown(1e9, 9e9) == found.typical
    assert fit_co_run([{"workload": {}, "alone_s": 2.0, "together_s": 1.9}]).typical == 1.0


@pytest.mark.parametrize("co_run", [CoRun(), CoRun(1.25), TRUE])
def test_json(co_run):
    assert CoRun.from_json(co_run.to_json()) == co_run


@pytest.mark.parametrize("value", [[1.0, 1.0], "fast", [1.0, -1.0, 0.0, 0.0], float("nan"), None])
def test_other_values_are_refused(value):
    with pytest.raises((TypeError, ValueError)):
        CoRun.from_json(value)
