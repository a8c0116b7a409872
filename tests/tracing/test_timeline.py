"""Spans as events: their nodes, and the activity of the host."""

from __future__ import annotations

from itertools import pairwise

import pytest

pytest.importorskip("tvm.relay")

from tests.tracing import made
from tvm_coexec.tracing.segments import TracedGraph
from tvm_coexec.tracing.spans import Spans
from tvm_coexec.tracing.timeline import TraceEvent, expected_timeline, measured_timeline

pytestmark = pytest.mark.llvm

WINDOW = (made.START, made.START + 100 * made.US)


def events(graph: TracedGraph, spans, lane: str) -> list[tuple]:
    timeline = measured_timeline(graph, Spans(tuple(spans)), WINDOW)
    return [(round(e.start_s * 1e6, 3), round(e.end_s * 1e6, 3), e.what, e.segment) for e in timeline.lane(lane)]


def test_every_span_becomes_an_event():
    graph = TracedGraph.from_json(made.graph_json())
    assert events(graph, made.run_spans(), "cpu") == [
        (2, 8, "slice", 0),
        (9, 12, "upload", 0),
        (13, 20, "enqueue", 0),
        (21, 61, "work", 0),
        (62, 63, "download", 0),
        (63, 81, "wait", 0),
        (81, 85, "download", 0),
        (86, 90, "join", 0),
        (91, 99, "work", 1),
    ]
    assert events(graph, made.run_spans(), "gpu") == [(20, 50, "work", 0), (50, 80, "work", 0)]
    assert events(graph, made.run_spans(), "transfers") == [(10, 14, "upload", 0), (82, 84, "download", 0)]


def test_kernels_know_when_they_were_launched_and_copies_where_they_go():
    timeline = measured_timeline(TracedGraph.from_json(made.graph_json()), Spans(tuple(made.run_spans())), WINDOW)
    assert [(e.name, round(e.launched_s * 1e6)) for e in timeline.lane("gpu")] == [
        ("conv_kernel0", 14),
        ("conv_kernel1", 17),
    ]
    assert [(e.to, e.nbytes, e.name) for e in timeline.lane("cpu") if e.nbytes] == [
        ("gpu", 64, "__copy"),
        ("cpu", 32, "__copy_1"),
    ]


def test_a_graph_without_annotations_has_kinds():
    found = events(TracedGraph.from_json(made.graph_json(described=False)), made.run_spans(), "cpu")
    assert [what for _, _, what, _ in found] == [
        *("work", "upload", "enqueue", "work", "download", "wait", "download", "work", "work"),
    ]
    assert {segment for *_, segment in found} == {-1}


def test_a_rewritten_graph_keeps_its_annotations():
    """Copies may be gone, joins may write in place, and helpers may wait or copy inside of a call."""
    nodes = [
        ("slice", "f_slice", 1),
        ("__copy", "__nop", 4),
        ("conv_gpu", "f_conv_gpu", 4),
        ("early", "coexec_start_download", 1),
        ("conv_cpu", "f_conv_cpu", 1),
        ("__copy_1", "__copy", 1),
        ("join", "coexec_join", 1),
        ("softmax", "f_softmax", 1),
    ]
    spans = [
        made.span("call", 2, 8, "f_slice", 0),
        made.span("call", 13, 20, "f_conv_gpu", 1),
        made.span("download", 22, 24, "", 2, nbytes=32, device=0),
        made.span("call", 21, 26, "coexec_start_download", 2),
        made.span("call", 27, 61, "f_conv_cpu", 3),
        made.span("elided copy", 62, 63, device=0),
        made.span("wait", 63, 81, device=0),
        made.span("elided copy", 81, 82, nbytes=32, device=0),
        made.span("call", 86, 90, "coexec_join", 4),
        made.span("call", 91, 99, "f_softmax", 5),
    ]
    graph = TracedGraph.from_json(made.graph_json(nodes=nodes))
    assert graph.calls == (0, 2, 3, 4, 6, 7)
    assert events(graph, spans, "cpu") == [
        (2, 8, "slice", 0),
        (13, 20, "enqueue", 0),
        (21, 22, "enqueue", 0),  # the helper's segment is that of what follows it
        (22, 24, "download", 0),
        (24, 26, "enqueue", 0),
        (27, 61, "work", 0),
        (62, 63, "elided copy", 0),
        (63, 81, "wait", 0),
        (81, 82, "elided copy", 0),
        (86, 90, "join", 0),
        (91, 99, "work", 1),
    ]


def test_copies_without_a_node_have_no_segment():
    """An executor's own reads and writes, between calls."""
    spans = [*made.run_spans()[:1], made.span("download", 9, 10, nbytes=8, device=0), *made.run_spans()[4:6]]
    nodes = [made.NODES[0], *made.NODES[2:]]
    found = events(TracedGraph.from_json(made.graph_json(nodes=nodes)), spans, "cpu")
    assert found[1] == (9, 10, "download", -1)


def test_other_threads_and_other_runs_are_not_the_host():
    spans = [
        *made.run_spans(),
        made.span("upload", 30, 40, nbytes=5, thread=3),
        made.span("call", 120, 130, "f_slice", 0),
    ]
    graph = TracedGraph.from_json(made.graph_json())
    assert events(graph, spans, "cpu") == events(graph, made.run_spans(), "cpu")
    assert (30, 40, "upload", -1) in events(graph, spans, "transfers")


def test_an_idle_host_waits_in_the_expected_timeline():
    timeline = expected_timeline(TracedGraph.from_json(made.graph_json()))
    assert timeline.total_s == pytest.approx(90e-6)
    waits = [e for e in timeline.lane("cpu") if e.what == "wait"]
    assert [(e.segment, round(e.start_s * 1e6), round(e.end_s * 1e6)) for e in waits] == [(0, 50, 60)]
    host = timeline.lane("cpu")
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in pairwise(host))
    assert isinstance(host[0], TraceEvent)
