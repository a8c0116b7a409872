"""Costs corrected by recorded runs: what has a ratio is multiplied by it, everything else is as before."""

from __future__ import annotations

import numpy as np
import pytest

from tests.planner.graphs import costs as made_up
from tests.planner.graphs import residual
from tvm_coexec.cost_models import CorrectedCosts, Profile, shipped
from tvm_coexec.cost_models.corrected import LARGEST_RATIO

GRAPH = residual()
KERNEL = next(k for k in GRAPH.kernels if k.is_heavy and k.axes)
SIGNATURE = KERNEL.signature()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("axis", KERNEL.axes, ids=lambda a: a.name)
def test_shares_and_the_whole_kernel_have_the_ratio_of_their_device(device, axis):
    base = Profile.load(shipped.FOLDER / "test_bed.json")
    found = CorrectedCosts(base, {(device, SIGNATURE): 1.5})
    other = "gpu" if device == "cpu" else "cpu"
    rows = np.array([(0, 0), (0, 1), (0, axis.extent // 2), (0, axis.extent)])
    for d, ratio in ((device, 1.5), (other, 1.0)):
        assert found.whole_s(d, KERNEL) == pytest.approx(ratio * base.whole_s(d, KERNEL))
        want = ratio * np.asarray(base.shares_s(d, KERNEL, axis.dim, rows))
        np.testing.assert_allclose(found.shares_s(d, KERNEL, axis.dim, rows), want)
        (many,) = found.shares_of_many(d, [(KERNEL, axis.dim, rows)])
        np.testing.assert_allclose(many, ratio * base.shares_of_many(d, [(KERNEL, axis.dim, rows)])[0])
    others = [k for k in GRAPH.kernels if k.signature() != SIGNATURE]
    assert others
    np.testing.assert_array_equal(found.whole_of_many(device, others), base.whole_of_many(device, others))


def test_a_ratio_that_can_not_be_is_limited():
    base = made_up()
    found = CorrectedCosts(base, {("cpu", SIGNATURE): 1e3, ("gpu", SIGNATURE): 1e-3})
    assert found.whole_s("cpu", KERNEL) == pytest.approx(LARGEST_RATIO * base.whole_s("cpu", KERNEL))
    assert found.whole_s("gpu", KERNEL) == pytest.approx(base.whole_s("gpu", KERNEL) / LARGEST_RATIO)


def test_everything_else_is_that_of_the_other_costs():
    base = Profile.load(shipped.FOLDER / "test_bed.json")
    found = CorrectedCosts(base, {("cpu", SIGNATURE): 2.0})
    for name in ("upload", "download", "host_copy", "plan_factor", "error", "power", "memory", "runtime", "start_s"):
        assert getattr(found, name) == getattr(base, name), name
    for device in ("cpu", "gpu"):
        assert found.slowdown(device) == base.slowdown(device)
        assert found.samples_of(device, KERNEL) == base.samples_of(device, KERNEL)
        assert found.has_failed(device, KERNEL) == base.has_failed(device, KERNEL)
    assert base.description in found.description and "recorded" in found.description


def test_a_whole_network_is_slower_by_what_its_kernels_are():
    base = made_up()
    found = CorrectedCosts(base, {("cpu", SIGNATURE): 2.0})
    its = sum(base.whole_s("cpu", k) for k in GRAPH.kernels if k.signature() == SIGNATURE)
    assert found.network_s("cpu", GRAPH) == pytest.approx(base.network_s("cpu", GRAPH) + its)
    assert found.network_s("gpu", GRAPH) == pytest.approx(base.network_s("gpu", GRAPH))
