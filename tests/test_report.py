"""The report names every chain, axis, cut, device, expected time, and every kernel left whole with its reason."""

from __future__ import annotations

from tests.planner import graphs
from tvm_coexec import Report
from tvm_coexec.kernel_graph import KernelGraph
from tvm_coexec.planner import make_plan


def test_text_names_everything():
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (0,)), graphs.softmax_kernel(2, (1,)))
    report = Report(g, make_plan(g, graphs.costs(), ratio=0.5, axis="h"))
    text = report.to_text()
    assert "2 of 3 kernels split in 1 chains, 2 sync points, 1 whole on the cpu, expected" in text
    assert "strategy coexec; costs: test costs" in text
    (row,) = [line.split() for line in text.splitlines() if " split " in line and line.strip().startswith("0")]
    assert row[1:4] == ["split", "h", "16/32"]
    assert float(row[4]) > 0 and float(row[5]) > 0
    assert "2 nn.softmax: none of its axes can be divided" in text


def test_rows_hold_the_numbers():
    g = graphs.straight(1)
    (row,) = Report(g, make_plan(g, graphs.costs(), ratio=0.25, axis="oc")).segments()
    assert (row["axis"], row["cut"], row["extent"], row["ratio"]) == ("oc", 8, 32, 0.25)
    assert set(row["expected_s"]) == {"cpu", "gpu", "share_out", "join", "total"}


def test_equal_reasons_are_told_once():
    g = graphs.graph(*(graphs.softmax_kernel(i, (i - 1,)) for i in range(9)))
    text = Report(g, make_plan(g, ratio=0.5)).to_text()
    assert text.count("none of its axes can be divided") == 1
    assert "0,1,2,3,4,5,... (9) nn.softmax" in text


def test_model_left_alone():
    report = Report(KernelGraph((), (), (), "it loops"), None, "it loops")
    assert report.to_text() == "the model stays whole: it loops\n"
    assert report.segments() == [] and report.whole() == []
