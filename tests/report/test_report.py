"""The report names every chain, axis, cut, device, expected time, and every kernel left whole with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cost_models.test_coverage import CONVS, fitted
from tests.planner import graphs
from tvm_coexec import Report
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.cost_models import Power, Profile
from tvm_coexec.cost_models.provenance import Provenance
from tvm_coexec.planner import CachedCosts, make_plan, simulate


def test_text_names_everything():
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (0,)), graphs.softmax_kernel(2, (1,)))
    report = Report(g, make_plan(g, graphs.costs(), ratio=0.5, axis="h"))
    text = report.to_text()
    assert "2 of 3 kernels split in 1 chains, 2 sync points, 1 whole on the cpu, expected " in text
    assert "strategy coexec; costs: test costs\nGPU runtime: this package's" in text
    blocking = Report(g, make_plan(g, graphs.costs(), ratio=0.5, axis="h", runtime="tvm")).to_text()
    assert "GPU runtime: TVM's own, whose copies wait for all of the GPU's work" in blocking
    (row,) = [line.split() for line in text.splitlines() if " split " in line and line.strip().startswith("0")]
    assert row[1:4] == ["split", "h", "16/32"]
    assert float(row[4]) > 0 and float(row[5]) > 0
    assert "  1 kernel: none of its axes can be divided (2 nn.softmax)" in text


def test_what_sync_points_cost_is_what_the_host_spends_on_them():
    """Copies, slices, joins and waits of the simulated run; a plan on the CPU has none."""
    g, costs = graphs.straight(3), graphs.costs()
    segments = (Segment("split", (0,), "oc", 16), Segment("gpu", (1, 2)))
    sim = simulate(g, CachedCosts(g, costs), segments)
    host = sorted((e for e in sim.events if e.lane == "cpu"), key=lambda e: e.start_s)
    copies = sum(e.end_s - e.start_s for e in host if e.what in ("upload", "download", "slice", "join"))
    busy = sum(e.end_s - e.start_s for e in host)
    assert sim.totals.meetings_s == pytest.approx(copies + sim.now_s - busy) and copies > 0
    assert simulate(g, CachedCosts(g, costs), [Segment("cpu", (0, 1, 2))]).totals.meetings_s == 0


def test_with_costs_it_shows_what_the_executor_does():
    """Meetings of whole kernels too, the output's way back, each device alone, and energy where power is known."""
    g, costs = graphs.straight(3), graphs.costs()
    plan = Plan(g.fingerprint(), (Segment("split", (0,), "oc", 16), Segment("gpu", (1, 2))))
    sim = simulate(g, CachedCosts(g, costs), plan.segments)
    report = Report(g, plan, costs=costs)
    assert (report.sync_points, report.expected_s) == (4, sim.now_s) and report.energy_j is None
    lines = report.to_text().splitlines()
    cost = f"4 sync points ({sim.totals.meetings_s * 1e3:.3f} ms)"
    assert f"1 chains, {cost}, 2 whole on the gpu, expected {sim.now_s * 1e3:.3f} ms" in lines[0]
    alone = {d: simulate(g, CachedCosts(g, costs), [Segment(d, (0, 1, 2))]).now_s for d in ("cpu", "gpu")}
    assert report.alone_s() == alone
    better = min(alone.values()) / sim.now_s
    assert lines[2] == "GPU runtime: this package's, which orders copies by the data that they need"
    assert lines[3] == "memory: tensors that cross between the devices are copied"
    assert lines[4] == (
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


def test_equal_reasons_are_one_line_with_a_count_and_examples():
    """The most frequent first; three operators, and three kernels of each, are shown."""
    long_name = "+".join(["add"] * 30)
    kernels = [graphs.softmax_kernel(i, (i - 1,)) for i in range(9)]
    kernels += [
        replace(
            graphs.softmax_kernel(9, (8,)),
            name=long_name,
            kinds=(OpKind.ELEMENTWISE,) * 30,
            reason="another reason",
        )
    ]
    kernels += [replace(graphs.softmax_kernel(i, (i - 1,)), name=f"op{i % 5}") for i in range(10, 20)]
    g = graphs.graph(*kernels)
    lines = Report(g, make_plan(g, ratio=0.5)).to_text().splitlines()
    first, second = lines[lines.index("left whole:") + 1 :]
    examples = "0,1,2,... (9) nn.softmax; 10,15 op0; 11,16 op1; ..."
    assert first == f"  19 kernels: none of its axes can be divided ({examples})"
    assert second.startswith("  1 kernel: another reason (9 add+add+") and second.endswith("+add+add)")
    assert "\u2026" in second and len(second) < 80


def test_the_kernels_that_carry_the_expected_time():
    """Whole and split ones, the largest first; equal ones are one entry; what takes no time is left out."""
    big, small = (graphs.conv_kernel(i, (i - 1,), flops=f) for i, f in ((0, 4e8), (1, 1e8)))
    twins = [replace(graphs.conv_kernel(i, (i - 1,)), attrs=small.attrs) for i in (2, 3)]
    idle = replace(graphs.softmax_kernel(4, (3,)), flops=0.0)
    g, costs = graphs.graph(big, small, *twins, idle), graphs.costs(10, 20)
    segments = (Segment("split", (0, 1), "h", 16), Segment("gpu", (2, 3)), Segment("cpu", (4,)))
    report = Report(g, Plan(g.fingerprint(), segments), costs=costs)
    rows = report.largest()
    shares = segments[0].shares(g)
    halves = {
        d: costs.shares_s(d, big, shares.dims[0], [getattr(shares, d)[0]])[0] for d in ("gpu", "cpu")
    }  # the first kernel of the chain computes rows of the halo twice
    assert [r["kernels"] for r in rows[:3]] == [[0], [2, 3], [1]]
    assert (rows[0]["device"], rows[1]["device"]) == ("split", "gpu")
    assert (rows[0]["gpu_s"], rows[0]["cpu_s"]) == pytest.approx((halves["gpu"], halves["cpu"]))
    assert rows[0]["fraction"] == pytest.approx(max(halves.values()) / report.expected_s)
    assert rows[1]["fraction"] == pytest.approx(2 * costs.whole_s("gpu", twins[0]) / report.expected_s)
    assert rows[1]["cpu_s"] is None and [r["kernels"] for r in report.largest(1)] == [[0]]
    lines = report.to_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("largest kernels"))
    assert lines[at + 3].split() == [
        f"{rows[0]['fraction']:.1%}", "split", f"{halves['gpu'] * 1e3:.3f}", f"{halves['cpu'] * 1e3:.3f}", "0:",
        "nn.conv2d+nn.relu",
    ]  # fmt: skip
    assert lines[at + 4].split()[-2:] == ["2,3:", "nn.conv2d+nn.relu"]
    many = graphs.graph(*(graphs.conv_kernel(i, (i - 1,), flops=(i + 1) * 1e7) for i in range(14)))
    found = Report(many, make_plan(many, graphs.costs()), costs=graphs.costs()).largest()
    assert [r["kernels"] for r in found] == [[k] for k in range(13, 3, -1)]
    assert Report(g, Plan(g.fingerprint(), segments)).largest() == []


def test_model_left_alone():
    report = Report(KernelGraph((), (), (), "it loops"), None, "it loops")
    assert report.to_text() == "the model stays whole: it loops\n"
    assert report.segments() == [] and report.whole() == []


def test_the_report_names_the_age_of_a_profile_and_what_it_knows_little_of():
    known = fitted(*CONVS)
    origin = Provenance("2026-11-20T08:30:00", "abcdef0123456789", "0.17", {"cpu": 1e-3})
    costs = Profile({"cpu": known, "gpu": known}, error={"cpu": 0.02, "gpu": 0.02}, provenance=origin)
    g = graphs.residual()
    report = Report(g, make_plan(g, costs), costs=costs)
    lines = report.to_text().splitlines()
    assert f"profile: {origin.to_text()}" in lines
    (line,) = [x for x in lines if x.startswith("coverage: ")]
    assert report.coverage.weak_fraction > 0 and f"{report.coverage.weak_fraction:.1%}" in line
    assert "injective/direct" in line
    straight = graphs.straight(3)
    covered = Report(straight, make_plan(straight, costs), costs=costs)
    assert covered.coverage.weak_fraction == 0 and "measured well" in covered.to_text()
    plain = Report(g, make_plan(g, graphs.costs()), costs=graphs.costs()).to_text()
    assert "coverage" not in plain and "profile:" not in plain  # costs that count nothing
    assert Report(g, make_plan(g, ratio=0.5)).coverage is None
