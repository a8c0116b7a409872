"""Profiles moved to another device, and refined."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cost_models.kernels import conv, many, product_of, seconds_of
from tvm_coexec.cost_models import AnalyticModel
from tvm_coexec.cost_models.models.adjust import refine_model, select_representative
from tvm_coexec.cost_models.models.moved import MovedModel

KERNELS = many()
HERE = seconds_of(KERNELS)


def within(model, seconds, part=0.1) -> float:
    return float(np.mean(np.abs(model.predict(KERNELS) / seconds - 1) <= part))


@pytest.mark.parametrize("count", [10, 20, 50])
def test_another_device_from_few_kernels(count):
    """The other device is 2.5 times as slow at arithmetic, 1.2 times at bytes, and launches in no time."""
    rng = np.random.default_rng(3)
    data = np.array([w.in_bytes + w.out_bytes + w.weight_bytes for w in KERNELS])
    work = np.array([w.flops / w.oc * (-(-w.oc // 8) * 8) for w in KERNELS])
    there = (1e-6 + 2.5 * work / 3e10 + 1.2 * data / 1e10) * np.exp(0.03 * rng.standard_normal(len(KERNELS)))
    model = AnalyticModel().fit(KERNELS, HERE)
    before = model.to_json()
    few = select_representative(KERNELS, count)
    moved = MovedModel([model]).fit([KERNELS[i] for i in few], there[few])
    assert within(model, there) < 0.3
    assert within(moved, there) > {10: 0.4, 20: 0.5, 50: 0.75}[count]
    assert model.to_json() == before


def test_the_same_device_at_half_the_clock():
    model = AnalyticModel().fit(KERNELS, HERE)
    few = select_representative(KERNELS, 20)
    moved = MovedModel([model]).fit([KERNELS[i] for i in few], 2 * HERE[few])
    assert within(moved, 2 * HERE) > within(model, HERE) - 0.1


def test_representative_kernels():
    chosen = select_representative(KERNELS, 30)
    assert chosen == select_representative(KERNELS, 30) and len(set(chosen)) == len(chosen) <= 30
    assert {KERNELS[i].key for i in chosen} == {k.key for k in KERNELS}
    assert select_representative(KERNELS[:3], 10) == [0, 1, 2]
    assert select_representative([KERNELS[0]] * 5, 3)


def test_new_measurements_move_a_class_by_their_number():
    model = AnalyticModel().fit(KERNELS, HERE)
    convs = [k for k in KERNELS if k.kind == "conv"]
    before = model.predict(convs)
    slower = 1.5 * before
    little, much = refine_model(model, convs[:5], slower[:5]), refine_model(model, convs * 10, np.tile(slower, 10))
    a, b = little.predict(convs) / before, much.predict(convs) / before
    assert (a > 1.0).all() and (a < 1.1).all() and (b > 1.4).all() and (b <= 1.51).all()
    dense = product_of()
    assert little.predict(dense) == model.predict(dense)
    assert little.classes_["conv/nchwc"].samples == model.classes_["conv/nchwc"].samples + 5


def test_new_classes_are_taken_in():
    model = AnalyticModel().fit([k for k in KERNELS if k.kind != "dense"], HERE[[k.kind != "dense" for k in KERNELS]])
    dense = [k for k in KERNELS if k.kind == "dense"]
    seconds = seconds_of(dense)
    found = refine_model(model, dense, seconds)
    assert np.median(np.abs(found.predict(dense) / seconds - 1)) < 0.1
    assert found.predict(conv()) == model.predict(conv())
