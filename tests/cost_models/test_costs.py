"""Analytic and measured costs."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from tests.planner import graphs
from tvm_coexec import CoExecError
from tvm_coexec.core.kernel_graph import REDUCED
from tvm_coexec.cost_models import AnalyticCosts, Link, MeasuredCosts
from tvm_coexec.cost_models.measured import UNUSABLE_S, WHOLE

KERNEL = graphs.conv_kernel(0, (-1,))
LINK = Link(1e-5, 1e-10)


def measured() -> MeasuredCosts:
    costs = MeasuredCosts(LINK, LINK, LINK, description="a test", sync_s=3e-5, enqueue_s=2e-6)
    costs.add("cpu", KERNEL.signature(), WHOLE, 0, 8e-3)
    costs.add("cpu", KERNEL.signature(), 2, 16, 5e-3)
    return costs


def test_link_is_linear_and_nothing_is_free():
    assert LINK.seconds(0) == 0
    assert LINK.seconds(1000) == pytest.approx(1e-5 + 1e-7)
    assert LINK.seconds(np.array([0, 1000, 0])).tolist() == [0, LINK.seconds(1000), 0]


@pytest.mark.parametrize("costs", [AnalyticCosts(), measured()])
def test_shares_are_monotone_and_meet_the_whole(costs):
    times = costs.shares_s("cpu", KERNEL, 2, [(0, n) for n in range(0, 33)])
    assert times[0] == 0
    assert all(a <= b for a, b in itertools.pairwise(times))
    assert times[-1] == pytest.approx(costs.whole_s("cpu", KERNEL))


def test_measured_points_are_met_and_joined_by_lines():
    assert measured().shares_s("cpu", KERNEL, 2, [(8, 24), (0, 24)]) == pytest.approx([5e-3, 6.5e-3])


def test_unmeasured_kernels_are_reported():
    costs = measured()
    assert costs.whole_s("gpu", KERNEL) == costs.fallback.whole_s("gpu", KERNEL)
    assert costs.unmeasured == {KERNEL.name}


def test_file_round_trip_and_failures_left_out(tmp_path):
    costs = measured()
    costs.add("gpu", KERNEL.signature(), WHOLE, 0, UNUSABLE_S)
    path = str(tmp_path / "p.json")
    costs.save(path)
    loaded = MeasuredCosts.load(path)
    assert loaded.table == measured().table
    assert (loaded.upload, loaded.description) == (LINK, "a test")
    assert (loaded.sync_s, loaded.enqueue_s) == (3e-5, 2e-6)


def test_partial_sums_are_not_taken_for_whole_kernels(tmp_path):
    """Also in a file from when -1 stood for whole kernels."""
    costs = measured()
    costs.add("cpu", KERNEL.signature(), REDUCED, 16, 3e-3)
    path = tmp_path / "p.json"
    costs.save(str(path))
    path.write_text(path.read_text().replace(f'"dim": {WHOLE}', '"dim": -1'))
    loaded = MeasuredCosts.load(str(path))
    assert loaded.table == costs.table
    assert loaded.whole_s("cpu", KERNEL) == 8e-3


@pytest.mark.parametrize("damage", ["links", "entries", "description"])
def test_damaged_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "p.json"
    measured().save(str(path))
    content = json.loads(path.read_text())
    del content[damage]
    path.write_text(json.dumps(content))
    with pytest.raises(CoExecError, match=rf"{path} is damaged .*'{damage}'"):
        MeasuredCosts.load(str(path))


def test_unwritable_and_missing_paths_are_named(tmp_path):
    with pytest.raises(CoExecError, match=r"can.t write /nowhere/p\.json"):
        measured().save("/nowhere/p.json")
    with pytest.raises(CoExecError, match=r"can.t read profile /nowhere/p\.json"):
        MeasuredCosts.load("/nowhere/p.json")
