"""Which plans are measured; what a plan and a report keep of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner import graphs
from tvm_coexec import CoExecError, Report
from tvm_coexec.core.plan import Plan, Segment, Verified
from tvm_coexec.measuring.verify import Verify, check_verify
from tvm_coexec.measuring.verify.candidates import propose_candidates
from tvm_coexec.partition_options import check_partition_options
from tvm_coexec.planner import Options, check_options, make_plan
from tvm_coexec.remote import Server


def test_each_device_alone_and_the_first_come_first():
    g, costs = graphs.residual(), graphs.costs()
    first = make_plan(g, costs)
    assert first.chains
    found = propose_candidates(g, costs, Options(), first, 9)
    assert [p.device for p in found[:2]] == ["cpu", "gpu"] and found[2] == first
    assert len({p.digest() for p in found}) == len(found) <= 9
    for plan in found:
        plan.check(g)
        assert plan.expected_s > 0 and plan.graph == g.fingerprint()
    assert propose_candidates(g, costs, Options(), first, 9) == found  # the same every time
    assert propose_candidates(g, costs, Options(), first, 3) == found[:3]


def test_a_first_that_is_a_single_device_is_not_measured_twice():
    g, costs = graphs.straight(3), graphs.costs(gpu_gflops=0.01)
    first = make_plan(g, costs)
    assert first.device == "cpu"
    found = propose_candidates(g, costs, Options(), first, 5)
    assert found[0] == first and [p.device for p in found].count("cpu") == 1


def test_what_the_search_would_not_take_is_measured_as_well():
    """A gain below the margin: measuring tells whether it is real. Who names a margin has it kept."""
    g, costs = graphs.straight(3), graphs.costs(gpu_gflops=0.8)
    first = make_plan(g, costs)
    assert first.device == "cpu"
    assert any(p.chains for p in propose_candidates(g, costs, Options(), first, 5))
    cautious = check_options(min_gain=0.1)
    assert not any(p.chains for p in propose_candidates(g, costs, cautious, first, 5))


def test_a_given_ratio_is_held_against_single_devices_only():
    g = graphs.straight(2)
    options = check_options(ratio=0.5)
    first = make_plan(g, ratio=0.5)
    found = propose_candidates(g, None, options, first, 5)
    assert [p.device for p in found] == ["cpu", "gpu", "both"] and found[2] == first


def test_another_strategy_is_held_against_single_devices_only():
    g, costs = graphs.straight(3), graphs.costs()
    first = make_plan(g, costs, strategy="mulayer")
    assert {p.strategy for p in propose_candidates(g, costs, check_options(strategy="mulayer"), first, 5)} == {
        "single",
        "mulayer",
    }


def test_options(monkeypatch):
    for name in ("TVM_TRACKER_HOST", "TVM_TRACKER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert check_verify(False) is None and check_verify(None) is None
    assert check_verify(True) == Verify() and check_verify(4).plans == 4
    assert check_verify(Verify(repeats=2)).repeats == 2
    for wrong, text in (
        (1, "at least 3 plans"),
        (0, "at least 3 plans"),
        ("yes", "must be True, a number of plans"),
        (Verify(repeats=0), "repeats of at least 1"),
        (Verify(tracker=("h", 1)), "needs key"),
        (Verify(tracker=("h", 1), key="k", address="h:1"), "not both"),
        (Verify(key="k", address="h:1"), "a key with a tracker, not with an address"),
        (Verify(key="k"), "needs tracker, where the device has that key"),
    ):
        with pytest.raises(CoExecError, match=f"verify .*{text}"):
            check_partition_options({"verify": wrong})


def test_the_tracker_of_the_environment(monkeypatch):
    monkeypatch.setenv("TVM_TRACKER_HOST", "h")
    monkeypatch.setenv("TVM_TRACKER_PORT", "1")
    assert check_verify(Verify(key="k")).server == Server(None, None, "k")
    assert check_verify(Verify(tracker=("other", 2), key="k")).server == Server(None, "other:2", "k")
    assert check_verify(Verify()).server is None


VERIFIED = (
    Verified("single", "aaa", "cpu", 0, 0.002, 0.0021),
    Verified("single", "bbb", "gpu", 0, 0.003, 0.0, "it crashed"),
    Verified("coexec", "ccc", "both", 2, 0.001, 0.0015),
)


def test_a_plan_keeps_what_was_measured():
    plan = Plan("abc", (Segment("cpu", (0,)),), verified=VERIFIED)
    again = Plan.from_json(plan.to_json())
    assert again == plan and again.to_json() == plan.to_json()
    assert '"verified"' not in replace(plan, verified=()).to_json()
    with pytest.raises(CoExecError, match="damaged"):
        Plan.from_json(plan.to_json().replace('"measured_s": 0.0021', '"measured_s": "soon"'))


def test_digest_and_device_tell_what_runs():
    plan = Plan("abc", (Segment("split", (0, 1), "h", 4), Segment("cpu", (2,))))
    timed = replace(plan, segments=(replace(plan.segments[0], expected_s={"total": 1.0}), plan.segments[1]))
    assert timed.digest() == plan.digest() and plan.device == "both"
    moved = replace(plan, segments=(replace(plan.segments[0], cut=5), plan.segments[1]))
    assert moved.digest() != plan.digest()
    assert Plan("abc", (Segment("gpu", (0,)), Segment("gpu", (1,)))).device == "gpu"
    assert Plan("abc", (Segment("split", (0,), "h", 4),)).device == "both"


def test_the_report_shows_what_was_measured():
    g = graphs.straight(2)
    plan = make_plan(g, ratio=0.5)
    assert "verified" not in Report(g, plan).to_text()
    verified = (*VERIFIED[:2], replace(VERIFIED[2], segments=plan.digest()))
    report = Report(g, replace(plan, verified=verified))
    assert report.summary().endswith("measured 1.500 ms, the fastest of 2 plans (alone: cpu 2.100 ms)")
    text = report.to_text()
    (kept,) = [line for line in text.splitlines() if line.strip().startswith("kept")]
    assert kept.split()[2:] == ["coexec", "2", "1.000", "ms", "1.500", "ms"]
    assert "it crashed" in text
