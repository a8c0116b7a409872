"""Co-run slowdown by what both devices need of memory bandwidth."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

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


@pytest.mark.parametrize("count", range(1, LEAST_PAIRS))
def test_few_pairs_of_another_device_move_the_constant(count):
    """What demands do is then taken from the device before."""
    before = CoRun(1.3, 1.2, TRUE.per_other, TRUE.per_pair)
    found = fit_co_run(pairs()[:count], before)
    assert found.constant == pytest.approx(TRUE.constant, rel=1e-3)
    assert (found.per_other, found.per_pair) == (TRUE.per_other, TRUE.per_pair)
    assert found.typical == fit_co_run(pairs()[:count]).typical != before.typical
    assert not fit_co_run(pairs()[:count], CoRun(1.3)).depends_on_demand
    assert fit_co_run(pairs(), before) == fit_co_run(pairs())


def with_dense(bandwidth: float) -> list[dict]:
    """`pairs`, and some of two kernels that read weights: 10 and 25 GB/s, and what memory gives to both."""
    made = pairs()
    for own, other in itertools.product((10.0, 25.0), repeat=2):
        work = [Workload("dense", weight_bytes=speed * 1e6).to_json() for speed in (own, other)]
        slow = max(TRUE.slowdown(own * 1e9, other * 1e9), (own + other) / bandwidth)
        made.append(
            {"workload": work[0], "alone_s": 1e-3, "together_s": 1e-3 * slow, "other": work[1], "other_s": 1e-3}
        )
    return made


def test_weights_share_what_memory_gives():
    found = fit_co_run(with_dense(12.0))
    assert found.bandwidth == pytest.approx(12.0, rel=1e-3) and found.constant == pytest.approx(1.02, rel=0.02)
    assert (found.per_other, found.per_pair) == pytest.approx((0.01, 0.004), rel=0.02)
    assert found.slowdown(20e9, 20e9, 48e9) == pytest.approx(4.0, rel=0.01)
    # less than it, or other data than weights, changes nothing
    below = replace(found, bandwidth=math.inf)
    assert found.slowdown(5e9, 5e9, 10e9) == below.slowdown(5e9, 5e9) == found.slowdown(5e9, 5e9)
    assert found.slowdown(30e9, 30e9) == below.slowdown(30e9, 30e9)
    both = found.slowdown(np.array([5e9, 20e9]), np.array([5e9, 20e9]), np.array([10e9, 48e9]))
    assert both.tolist() == [found.slowdown(5e9, 5e9, 10e9), found.slowdown(20e9, 20e9, 48e9)]


def test_no_bandwidth_without_pairs_that_exceed_it():
    assert math.isinf(fit_co_run(pairs()).bandwidth) and math.isinf(fit_co_run(pairs(noise=0.02)).bandwidth)
    assert math.isinf(fit_co_run(with_dense(1000.0)).bandwidth)


def test_pairs_of_earlier_files_leave_what_demands_do():
    earlier = [{n: p[n] for n in ("workload", "alone_s", "together_s")} for p in pairs()]
    assert fit_co_run(earlier, TRUE) == CoRun(fit_co_run(earlier).typical, *TRUE.to_json()[1:])


@pytest.mark.parametrize("co_run", [CoRun(), CoRun(1.25), TRUE, replace(TRUE, bandwidth=31.5)])
def test_json(co_run):
    assert CoRun.from_json(co_run.to_json()) == co_run


@pytest.mark.parametrize("value", [[1.0, 1.0], "fast", [1.0, -1.0, 0.0, 0.0], float("nan"), None])
def test_other_values_are_refused(value):
    with pytest.raises((TypeError, ValueError)):
        CoRun.from_json(value)
