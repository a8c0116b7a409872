"""How much of a predicted time rests on classes with few samples."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cost_models.kernels import conv, elements, many, pool, seconds_of
from tests.planner import graphs
from tvm_coexec.cost_models import AnalyticModel, BoostedModel, Profile
from tvm_coexec.cost_models.coverage import FEW_SAMPLES, Coverage, find_coverage
from tvm_coexec.cost_models.models.analytic import MIN_SAMPLES
from tvm_coexec.planner import CachedCosts


def fitted(*kernels) -> AnalyticModel:
    return AnalyticModel(fallback=True).fit(list(kernels), seconds_of(list(kernels))).silence_warnings()


CONVS = [conv(size=s, algorithm=a) for s in range(6, 26) for a in ("nchwc.3x3", "direct.3x3")]


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Knows 3x3 convolutions only."""
    return Profile({d: fitted(*CONVS) for d in ("cpu", "gpu")}, error={"cpu": 0.02, "gpu": 0.06})


def test_samples_of_a_class():
    model = fitted(*CONVS, *[pool(8, s) for s in (14, 28, 56)])
    assert model.samples_of(CONVS[0]) == 20
    assert model.samples_of(replace(CONVS[0], algorithm="nchwc.3x3.int")) == 20, "a variant of a measured class"
    assert model.samples_of(pool()) == 3, "a kind with few samples"
    assert model.samples_of(elements()) == 0 and model.samples_of(conv(algorithm="winograd")) == 0
    assert FEW_SAMPLES == MIN_SAMPLES


def test_boosted_models_count_as_their_base():
    pytest.importorskip("xgboost")
    kernels = many()
    model = BoostedModel(trees=3, fallback=True).fit(kernels, seconds_of(kernels))
    assert model.samples_of(kernels[0]) == model.base_.samples_of(kernels[0]) > 0


@pytest.mark.slow
def test_sums(profile):
    g = graphs.residual()  # four convolutions and an addition
    tables = CachedCosts(g, profile)
    predicted = [(k, "gpu", s) for k, s in zip(g.kernels, tables.whole["gpu"], strict=True)]
    found = find_coverage(profile, predicted)
    assert found.total_s == pytest.approx(sum(tables.whole["gpu"]))
    assert found.weak_s == {"gpu injective/direct": tables.whole["gpu"][3]}
    assert (
        found.weak_fraction
        == tables.weak_fractions["gpu"]
        == pytest.approx(found.weak_s["gpu injective/direct"] / found.total_s)
    )
    assert "rests on kernel classes with fewer than 8 samples (gpu injective/direct " in found.to_text()
    assert CachedCosts(graphs.straight(3), profile).weak_fractions == {"cpu": 0.0, "gpu": 0.0}
    assert "measured well" in find_coverage(profile, predicted[:3]).to_text()


def test_costs_that_count_no_samples():
    g, costs = graphs.residual(), graphs.costs()
    found = find_coverage(costs, [(k, "cpu", 1.0) for k in g.kernels])
    assert (found.total_s, found.weak_fraction, found.to_text()) == (0.0, 0.0, "")
    assert CachedCosts(g, costs).weak_fractions == {"cpu": 0.0, "gpu": 0.0}


def test_classes_are_sorted():
    assert list(Coverage.of(10.0, {"b": 1.0, "c": 0.0, "a": 1.0, "d": 2.0}).weak_s) == ["d", "a", "b"]
