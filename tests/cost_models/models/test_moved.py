"""Models of a new device from those of others: what few samples tell, which to choose, files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cost_models.kernels import conv, many, product_of, seconds_of
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import AnalyticModel, Workload
from tvm_coexec.cost_models.features.tile_costs import CHANNELS, choose_tiles
from tvm_coexec.cost_models.features.workload import stack
from tvm_coexec.cost_models.models.adjust import refine_model, select_representative
from tvm_coexec.cost_models.models.moved import MovedModel, choose_informative
from tvm_coexec.cost_models.models.registry import load_model

KERNELS = many()
HERE = seconds_of(KERNELS)
BYTES = np.array([w.in_bytes + w.out_bytes + w.weight_bytes for w in KERNELS])
WORK = np.array([w.flops for w in KERNELS])


def device(arithmetic: float, memory: float, seed: int) -> np.ndarray:
    """Seconds on a device with other rates."""
    exact = 1e-6 + arithmetic * WORK / 3e10 + memory * BYTES / 1e10
    return exact * np.exp(0.02 * np.random.default_rng(seed).standard_normal(len(KERNELS)))


THERE = device(2.0, 0.7, 3)


@pytest.fixture(scope="module")
def donors() -> list[AnalyticModel]:
    return [AnalyticModel().fit(KERNELS, s) for s in (device(1.0, 1.0, 1), device(3.0, 0.5, 2))]


def moved(donors, rows) -> MovedModel:
    return MovedModel(donors).fit([KERNELS[i] for i in rows], THERE[rows])


def error(model) -> float:
    return float(np.mean(np.abs(np.log(model.predict(KERNELS) / THERE))))


@pytest.mark.slow
def test_two_donors_tell_more_than_one_and_more_samples_more_than_few(donors):
    few, many_ = choose_informative(KERNELS, 10, donors), choose_informative(KERNELS, 40, donors)
    assert many_[:10] == few  # so that measuring can be continued
    assert error(moved(donors, many_)) < error(moved(donors, few)) < 0.1
    assert error(moved(donors, few)) < min(error(moved([d], few)) for d in donors) < min(error(d) for d in donors) / 2


def test_chosen_samples_tell_more_than_others(donors):
    chosen = error(moved(donors, choose_informative(KERNELS, 15, donors)))
    dice = np.random.default_rng(0)
    random = [error(moved(donors, dice.permutation(len(KERNELS))[:15].tolist())) for _ in range(9)]
    assert chosen < np.median(random)


def test_choices_are_distinct_and_deterministic(donors):
    found = choose_informative(KERNELS, 30, donors)
    assert len(set(found)) == 30 and found == choose_informative(KERNELS, 30, donors)
    assert {KERNELS[i].kind for i in found} == {k.kind for k in KERNELS}
    assert choose_informative([], 5, donors) == []
    assert len(choose_informative(KERNELS[:3] * 4, 10, donors)) == 3  # of equal kernels one is enough
    assert choose_informative(stack(KERNELS[:5]), 2, donors) == choose_informative(KERNELS[:5], 2, donors)


def test_one_sample_scales_and_says_nothing_of_a_class_far_away(donors):
    before = np.exp(np.mean([np.log(d.predict(KERNELS)) for d in donors], axis=0))
    found = MovedModel(donors).fit([KERNELS[0]], 2 * before[:1]).predict(KERNELS)
    np.testing.assert_allclose(found / before, 2.0, rtol=0.01)


def test_number_and_array_are_the_same(donors):
    model = moved(donors, choose_informative(KERNELS, 20, donors))
    together = model.predict(KERNELS)
    np.testing.assert_allclose([model.predict(k)[0] for k in KERNELS[::11]], together[::11], rtol=1e-9)
    assert (together > 0).all() and np.isfinite(model.predict(conv(4096, 4096, 200, 9))).all()


def test_file_is_exact_and_refinement_adds_samples(donors, tmp_path):
    model = moved(donors, choose_informative(KERNELS, 20, donors))
    model.save(tmp_path / "moved.json")
    loaded = load_model(tmp_path / "moved.json")
    assert isinstance(loaded, MovedModel) and loaded.to_json() == model.to_json()
    np.testing.assert_allclose(loaded.predict(KERNELS), model.predict(KERNELS), rtol=1e-9)
    more = select_representative(KERNELS, 60)
    refined = refine_model(loaded, [KERNELS[i] for i in more], THERE[more])
    assert error(refined) < error(model) and len(refined.ratios_) == 20 + len(more)
    w = KERNELS[more[0]]
    assert refined.samples_of(w) > donors[0].samples_of(w)


def test_kernels_with_similar_tiles_are_alike(donors, tmp_path):
    """A compiler that is slow for tiles that are vectorised along channels, which extents hardly tell."""
    convs = [conv(48, c, size, 3) for c in (24, 40, 64, 96) for size in range(8, 60)]
    layouts = choose_tiles(stack(convs)).layout
    assert 40 < np.count_nonzero(layouts == CHANNELS) < 200
    seconds = donors[0].predict(convs) * np.where(layouts == CHANNELS, 3.0, 1.0)
    few = choose_informative(convs, 40, donors, work_groups=True)
    models = {
        known: MovedModel(donors, work_groups=known).fit([convs[i] for i in few], seconds[few])
        for known in (False, True)
    }
    missed = {known: np.abs(np.log(model.predict(convs) / seconds)).mean() for known, model in models.items()}
    assert missed[True] < 0.6 * missed[False]
    models[True].save(tmp_path / "moved.json")
    loaded = load_model(tmp_path / "moved.json")
    np.testing.assert_allclose(loaded.predict(convs), models[True].predict(convs), rtol=1e-9)
    refined = refine_model(loaded, convs, seconds)
    assert refined.work_groups and np.abs(np.log(refined.predict(convs) / seconds)).mean() < missed[True]


def test_a_measurement_that_others_contradict_does_not_decide(donors):
    """As of a compiler that makes one kernel five times slower than its neighbours."""
    few = choose_informative(KERNELS, 40, donors)
    clean = moved(donors, few)
    for spoilt in few[:30:6]:
        seconds = THERE.copy()
        seconds[spoilt] *= 5.0
        model = MovedModel(donors).fit([KERNELS[i] for i in few], seconds[few])
        others = [k for i, k in enumerate(KERNELS) if i != spoilt]
        change = np.abs(np.log(model.predict(others) / clean.predict(others)))
        assert change.mean() < 0.03 and change.max() < 0.3


def test_the_file_does_not_grow_without_bound(donors):
    model = MovedModel(donors).fit(KERNELS * 5, np.tile(THERE, 5))
    assert len(model.ratios_) == 500 and error(model) < 0.05
    assert len(refine_model(model, KERNELS, THERE).ratios_) == 500


def test_damaged_files(donors, tmp_path):
    state = json.loads(moved(donors, [0, 40, 80]).to_json())
    rows = state["measured"]
    for change in (
        {"donors": []},
        {"measured": [r[:-1] for r in rows]},
        {"measured": []},
        {"donors": [{"model": "x"}]},
    ):
        (tmp_path / "m.json").write_text(json.dumps({**state, **change}))
        with pytest.raises(CoExecError, match=r"m\.json"):
            load_model(tmp_path / "m.json")
    with pytest.raises(CoExecError, match="not fitted"):
        MovedModel(donors).predict(KERNELS[0])
    with pytest.raises(CoExecError, match="positive"):
        MovedModel(donors).fit(KERNELS[:1], np.array([-1.0]))


def test_unknown_class(donors):
    model = moved(donors, [0, 1])
    other = Workload("transposed_conv", ic=4, oc=4, oh=4, ow=4, kh=2, kw=2)
    assert model.knows(product_of()) and not model.knows(other)
    with pytest.raises(CoExecError, match=r"transposed_conv.*measure some"):
        model.predict(other)
