"""Costs corrected by recorded runs: what has a ratio is multiplied by it, everything else is as before."""

from __future__ import annotations

import numpy as np
import pytest

from tests.planner.graphs import costs as made_up
from tests.planner.graphs import residual
from tvm_coexec.cost_models import CorrectedCosts, Profile, ShareKey, shipped
from tvm_coexec.cost_models.corrected import LARGEST_RATIO
from tvm_coexec.cost_models.measured import WHOLE

GRAPH = residual()
KERNEL = next(k for k in GRAPH.kernels if k.is_heavy and k.axes)
SIGNATURE = KERNEL.signature()
AXIS = KERNEL.axes[0]


def whole(device: str) -> ShareKey:
    return ShareKey(device, SIGNATURE, WHOLE, 0)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("axis", KERNEL.axes, ids=lambda a: a.name)
def test_a_recorded_share_has_its_ratio_and_those_next_to_it_nearly(device, axis):
    base, half = Profile.load(shipped.FOLDER / "test_bed.json"), axis.extent // 2
    found = CorrectedCosts(base, {ShareKey(device, SIGNATURE, axis.dim, half): 1.44})
    other = "gpu" if device == "cpu" else "cpu"
    rows = [(0, n) if device == "gpu" else (axis.extent - n, axis.extent) for n in (1, half, half + 4, axis.extent)]
    before, after = (np.asarray(c.shares_s(device, KERNEL, axis.dim, rows)) for c in (base, found))
    ratios = after / before
    np.testing.assert_allclose(ratios[[0, 1, 3]], [1.44, 1.44, 1.2])  # of all rows, as elsewhere
    assert 1.2 < ratios[2] < 1.44
    np.testing.assert_allclose(found.shares_of_many(device, [(KERNEL, axis.dim, np.array(rows))])[0], after)
    assert found.whole_s(device, KERNEL) == pytest.approx(1.2 * base.whole_s(device, KERNEL))
    (elsewhere,) = [a for a in KERNEL.axes if a.dim != axis.dim]
    part = [(0, elsewhere.extent // 2)]
    for d, ratio in ((device, 1.2), (other, 1.0)):
        want = ratio * np.asarray(base.shares_s(d, KERNEL, elsewhere.dim, part))
        np.testing.assert_allclose(found.shares_s(d, KERNEL, elsewhere.dim, part), want)
    np.testing.assert_array_equal(
        found.shares_s(other, KERNEL, axis.dim, rows), base.shares_s(other, KERNEL, axis.dim, rows)
    )
    others = [k for k in GRAPH.kernels if k.signature() != SIGNATURE]
    assert others
    np.testing.assert_array_equal(found.whole_of_many(device, others), base.whole_of_many(device, others))


def test_between_recorded_shares_and_to_the_recorded_whole_the_ratio_is_interpolated():
    base, n = made_up(), AXIS.extent
    shares = {ShareKey("gpu", SIGNATURE, AXIS.dim, rows): value for rows, value in ((n // 4, 1.0), (n // 2, 2.0))}
    found = CorrectedCosts(base, {**shares, whole("gpu"): 3.0})
    rows = [(0, n // 4), (0, 3 * n // 8), (0, n // 2), (0, 3 * n // 4), (0, n)]
    before, after = (np.asarray(c.shares_s("gpu", KERNEL, AXIS.dim, rows)) for c in (base, found))
    np.testing.assert_allclose(after / before, [1.0, 1.5, 2.0, 2.5, 3.0])
    assert found.whole_s("gpu", KERNEL) == pytest.approx(3.0 * base.whole_s("gpu", KERNEL))


def test_a_ratio_that_can_not_be_is_limited():
    base = made_up()
    found = CorrectedCosts(base, {whole("cpu"): 1e3, whole("gpu"): 1e-3})
    assert found.whole_s("cpu", KERNEL) == pytest.approx(LARGEST_RATIO * base.whole_s("cpu", KERNEL))
    assert found.whole_s("gpu", KERNEL) == pytest.approx(base.whole_s("gpu", KERNEL) / LARGEST_RATIO)


def test_everything_else_is_that_of_the_other_costs():
    base = Profile.load(shipped.FOLDER / "test_bed.json")
    found = CorrectedCosts(base, {whole("cpu"): 2.0})
    for name in ("upload", "download", "host_copy", "plan_factor", "error", "power", "memory", "runtime", "start_s"):
        assert getattr(found, name) == getattr(base, name), name
    for device in ("cpu", "gpu"):
        assert found.slowdown(device) == base.slowdown(device)
        assert found.samples_of(device, KERNEL) == base.samples_of(device, KERNEL)
        assert found.has_failed(device, KERNEL) == base.has_failed(device, KERNEL)
    assert base.description in found.description and "recorded" in found.description


def test_a_whole_network_is_slower_by_what_its_kernels_are():
    base = made_up()
    found = CorrectedCosts(base, {whole("cpu"): 2.0})
    its = sum(base.whole_s("cpu", k) for k in GRAPH.kernels if k.signature() == SIGNATURE)
    assert found.network_s("cpu", GRAPH) == pytest.approx(base.network_s("cpu", GRAPH) + its)
    assert found.network_s("gpu", GRAPH) == pytest.approx(base.network_s("gpu", GRAPH))
