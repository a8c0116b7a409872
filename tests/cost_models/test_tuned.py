"""Costs with tuned kernels: what was measured, what lies between, and their file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.planner.graphs import costs as made_up
from tests.planner.graphs import residual
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import (
    AnalyticCosts,
    KernelTime,
    Link,
    MeasuredCosts,
    Profile,
    TunedCosts,
    load_costs,
    shipped,
)
from tvm_coexec.cost_models.measured import WHOLE
from tvm_coexec.planner import CachedCosts, make_plan

GRAPH = residual()
KERNEL = next(k for k in GRAPH.kernels if k.is_heavy and k.axes)
AXIS = KERNEL.axes[0]
SIGNATURE = KERNEL.signature()


def tuned(base, *kernels):
    return TunedCosts(base, [KernelTime(d, SIGNATURE, s, dim, rows) for d, s, dim, rows in kernels])


def test_a_tuned_kernel_costs_what_was_measured_and_others_what_they_did():
    base = made_up()
    found = tuned(base, ("gpu", 1e-3, WHOLE, 0))
    assert found.whole_s("gpu", KERNEL) == pytest.approx(1e-3)
    assert found.whole_s("cpu", KERNEL) == base.whole_s("cpu", KERNEL)
    others = [k for k in GRAPH.kernels if k.signature() != SIGNATURE]
    np.testing.assert_array_equal(found.whole_of_many("gpu", others), base.whole_of_many("gpu", others))
    assert found.plan_factor == base.plan_factor and found.upload == base.upload


def test_within_a_network_a_measured_kernel_is_corrected_as_a_predicted_one():
    base = Profile.load(shipped.FOLDER / "test_bed.json")
    alone = float(base.in_network_s("cpu", np.array([2e-3]))[0])
    assert alone != 2e-3
    assert tuned(base, ("cpu", 2e-3, WHOLE, 0)).whole_s("cpu", KERNEL) == pytest.approx(alone)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_shares_between_measured_ones(device):
    base, half = made_up(), AXIS.extent // 2
    whole_s = base.whole_s(device, KERNEL)
    rows = np.array([(0, r) if device == "gpu" else (AXIS.extent - r, AXIS.extent) for r in range(AXIS.extent + 1)])
    before = base.shares_s(device, KERNEL, AXIS.dim, rows)
    found = tuned(base, (device, before[half] / 2, AXIS.dim, half), (device, whole_s / 4, WHOLE, 0))
    after = found.shares_s(device, KERNEL, AXIS.dim, rows)
    assert after[0] == 0.0 and after[half] == pytest.approx(before[half] / 2)
    np.testing.assert_allclose(after[1:half], before[1:half] / 2)
    np.testing.assert_allclose(after[-1], before[-1] / 4)
    ratios = after[half:] / before[half:]
    assert (np.diff(ratios) < 0).all()
    (many,) = found.shares_of_many(device, [(KERNEL, AXIS.dim, rows[1:])])
    np.testing.assert_allclose(many, after[1:])


def test_a_whole_network_is_faster_by_what_its_kernels_are():
    zero = Link(0.0, 0.0)
    base = MeasuredCosts(zero, zero, zero)
    base.add_network("cpu", GRAPH, 1.0)
    plain = base.whole_of_many("cpu", GRAPH.kernels).sum()
    found = tuned(base, ("cpu", 0.0, WHOLE, 0))
    saved = sum(base.whole_s("cpu", k) for k in GRAPH.kernels if k.signature() == SIGNATURE)
    assert found.alone_s("cpu", GRAPH) == pytest.approx(1.0 - saved / plain)
    assert found.alone_s("gpu", GRAPH) is None


@pytest.mark.parametrize("kind", ["profile", "measured"])
def test_a_file_gives_the_same_plan(tmp_path, kind):
    zero = Link(0.0, 0.0)
    base = Profile.load(shipped.FOLDER / "test_bed.json") if kind == "profile" else MeasuredCosts(zero, zero, zero)
    costs = tuned(base, ("gpu", 1e-5, WHOLE, 0), ("cpu", 3e-5, AXIS.dim, AXIS.extent // 2))
    path = tmp_path / "profile.json"
    costs.save(path)
    again = load_costs(path)
    assert isinstance(again, TunedCosts) and again.to_json() == costs.to_json()
    assert make_plan(GRAPH, again, min_gain=0.0).to_json() == make_plan(GRAPH, costs, min_gain=0.0).to_json()
    on_own_memory = CachedCosts(GRAPH, again.on_memory("shared"))
    assert on_own_memory.whole["gpu"][KERNEL.index] == pytest.approx(again.whole_s("gpu", KERNEL))


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda d: d.pop("kernels"), "it lacks 'kernels'"),
        (lambda d: d["kernels"][0].update(device="npu"), "device 'npu'"),
        (lambda d: d["kernels"][0].update(seconds="fast"), "could not convert"),
        (lambda d: d["base"].update(kind="guess"), "it lacks 'guess'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, words):
    path = tmp_path / "profile.json"
    tuned(Profile.load(shipped.FOLDER / "test_bed.json"), ("gpu", 1e-5, WHOLE, 0)).save(path)
    d = json.loads(path.read_text())
    damage(d)
    path.write_text(json.dumps(d))
    with pytest.raises(CoExecError, match=words) as caught:
        load_costs(path)
    assert str(path) in str(caught.value) and "tune again" in str(caught.value)


def test_costs_without_a_file_are_refused():
    with pytest.raises(
        CoExecError, match="costs of the class AnalyticCosts can't be written to a file: give a profile"
    ):
        tuned(AnalyticCosts()).to_json()
