"""The report names every chain, axis, cut, device, expected time, and every kernel left whole with its reason."""

from __future__ import annotations

import pytest

from tests.planner import graphs
from tvm_coexec import Report
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.cost_models import Power
from tvm_coexec.planner import CachedCosts, make_plan, ran


def test_text_names_everything():
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (0,)), graphs.softmax_kernel(2, (1,)))
    report = Report(g, make_plan(g, graphs.costs(), ratio=0.5, axis="h"))
    text = report.to_text()
    assert (
        "2 of 3 kernels split in 1 chains, 2 sync points, 1 whole on the cpu, which the plan expected to take " in text
    )
    assert "strategy coexec; costs: test costs" in text
    (row,) = [line.split() for line in text.splitlines() if " split " in line and line.strip().startswith("0")]
    assert row[1:4] == ["split", "h", "16/32"]
    assert float(row[4]) > 0 and float(row[5]) > 0
    assert "2 nn.softmax: none of its axes can be divided" in text


def test_what_sync_points_cost_is_what_the_host_spends_on_them():
    """Copies, slices, joins and waits of the simulated run; a plan on the CPU has none."""
    g, costs = graphs.straight(3), graphs.costs()
    segments = (Segment("split", (0,), "oc", 16), Segment("gpu", (1, 2)))
    sim = ran(g, CachedCosts(g, costs), segments)
    host = sorted((e for e in sim.events if e.lane == "cpu"), key=lambda e: e.start_s)
    copies = sum(e.end_s - e.start_s for e in host if e.what in ("upload", "download", "slice", "join"))
    busy = sum(e.end_s - e.start_s for e in host)
    assert sim.totals.meetings_s == pytest.approx(copies + sim.now_s - busy) and copies > 0
    assert ran(g, CachedCosts(g, costs), [Segment("cpu", (0, 1, 2))]).totals.meetings_s == 0


def test_with_costs_it_tells_what_the_executor_does():
    """Meetings of whole kernels too, the output's way back, each device alone, and energy where power is known."""
    g, costs = graphs.straight(3), graphs.costs()
    plan = Plan(g.fingerprint(), (Segment("split", (0,), "oc", 16), Segment("gpu", (1, 2))))
    sim = ran(g, CachedCosts(g, costs), plan.segments)
    report = Report(g, plan, costs=costs)
    assert (report.sync_points, report.expected_s) == (4, sim.now_s) and report.energy_j is None
    lines = report.to_text().splitlines()
    cost = f"4 sync points ({sim.totals.meetings_s * 1e3:.3f} ms)"
    assert f"1 chains, {cost}, 2 whole on the gpu, expected {sim.now_s * 1e3:.3f} ms" in lines[0]
    alone = {d: ran(g, CachedCosts(g, costs), [Segment(d, (0, 1, 2))]).now_s for d in ("cpu", "gpu")}
    assert report.alone_s() == alone
    better = min(alone.values()) / sim.now_s
    assert lines[2] == (
        f"alone: cpu {alone['cpu'] * 1e3:.3f} ms, gpu {alone['gpu'] * 1e3:.3f} ms; "
        f"the better one takes {better:.2f}x as long"
    )
    costs.power = Power(0.5, {"cpu": 2.0, "gpu": 1.0})
    known = Report(g, plan, costs=costs)
    joules = 0.5 * sim.now_s + sum((2.0 if n.startswith("cpu") else 1.0) * s for n, s in sim.totals.busy_s.items())
    assert known.energy_j == pytest.approx(joules)
    assert known.summary().endswith(f"ms and {joules * 1e3:.3f} mJ")
    without = Report(g, plan)
    assert (without.sync_points, without.expected_s, without.alone_s()) == (known.sync_points, 0.0, {})
    assert "expected" not in without.summary()


def test_rows_hold_the_numbers():
    g = graphs.straight(1)
    (row,) = Report(g, make_plan(g, graphs.costs(), ratio=0.25, axis="oc")).segments()
    assert (row["axis"], row["cut"], row["extent"], row["ratio"]) == ("oc", 8, 32, 0.25)
    assert set(row["expected_s"]) == {"cpu", "gpu", "enqueue", "share_out", "join", "wait", "total"}


def test_equal_reasons_are_told_once():
    g = graphs.graph(*(graphs.softmax_kernel(i, (i - 1,)) for i in range(9)))
    text = Report(g, make_plan(g, ratio=0.5)).to_text()
    assert text.count("none of its axes can be divided") == 1
    assert "0,1,2,3,4,5,... (9) nn.softmax" in text


def test_model_left_alone():
    report = Report(KernelGraph((), (), (), "it loops"), None, "it loops")
    assert report.to_text() == "the model stays whole: it loops\n"
    assert report.segments() == [] and report.whole() == []
