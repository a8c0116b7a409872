"""A graph with a chain and a recording of it, made by hand."""

from __future__ import annotations

import json

from tvm_coexec.executor.annotations import with_metadata
from tvm_coexec.tracing.record import Recording
from tvm_coexec.tracing.segments import TracedGraph
from tvm_coexec.tracing.spans import Span, Spans

START = 1_000_000
US = 1000

# name, function, device, segment, role
NODES = [
    ("slice", "f_slice", 1, 0, "slice"),
    ("__copy", "__copy", 4, 0, "upload"),
    ("conv_gpu", "f_conv_gpu", 4, 0, "work"),
    ("flat", "__nop", 4, 0, "work"),
    ("conv_cpu", "f_conv_cpu", 1, 0, "work"),
    ("__copy_1", "__copy", 1, 0, "download"),
    ("join", "f_join", 1, 0, "join"),
    ("softmax", "f_softmax", 1, 1, "work"),
]
EXPECTED = {
    "total_ns": 90 * US,
    "bytes_moved": 96,
    "sync_points": 2,
    "events": [
        ["cpu", 0, 5 * US, "slice", 0],
        ["cpu", 5 * US, 10 * US, "upload", 0],
        ["gpu", 10 * US, 60 * US, "work", 0],
        ["cpu", 10 * US, 50 * US, "work", 0],
        ["cpu", 60 * US, 70 * US, "download", 0],
        ["cpu", 70 * US, 80 * US, "join", 0],
        ["cpu", 80 * US, 90 * US, "work", 1],
    ],
}


def graph_json(described: bool = True, nodes: list[tuple] = NODES) -> str:
    """The graph as an executor gets it."""
    count = len(nodes) + 1
    text = json.dumps(
        {
            "nodes": [{"op": "null", "name": "x", "inputs": []}]
            + [{"op": "tvm_op", "name": n, "attrs": {"func_name": f}, "inputs": []} for n, f, *_ in nodes],
            "arg_nodes": [0],
            "heads": [[count - 1, 0, 0]],
            "node_row_ptr": list(range(count + 1)),
            "attrs": {
                "device_index": ["list_int", [1, *(d for _, _, d, *_ in nodes)]],
                "shape": ["list_shape", [[4]] * count],
                "dltype": ["list_str", ["float32"] * count],
                "storage_id": ["list_int", list(range(count))],
            },
        }
    )
    if not described:
        return text
    segments = [{"device": "split", "chain": 0, "axis": "oc", "cut": 8, "extent": 16}, {"device": "cpu", "chain": -1}]
    plan = {"version": 1, "segments": segments, "nodes": {n: [s, r] for n, _, _, s, r in NODES}, "expected": EXPECTED}
    return with_metadata(text, {"coexec": plan})


def span(kind: str, begin: int, end: int, name="", call=-1, nbytes=0, device=-1, on_device=(0, 0), thread=0) -> Span:
    """A span; microseconds from the start of the run."""
    times = [START + t * US for t in (begin, end)]
    return Span(kind, name, call, thread, *times, nbytes, device, *(START + t * US if t else 0 for t in on_device))


def run_spans() -> list[Span]:
    """One run of `NODES`: two kernels of one node on the GPU, and a download that has to wait."""
    return [
        span("call", 2, 8, "f_slice", 0),
        span("upload", 9, 12, nbytes=64, device=0, on_device=(10, 14)),
        span("launch", 14, 16, "conv_kernel0", 1, device=0, on_device=(20, 50)),
        span("launch", 17, 19, "conv_kernel1", 1, device=0, on_device=(50, 80)),
        span("call", 13, 20, "f_conv_gpu", 1),
        span("call", 21, 61, "f_conv_cpu", 2),
        span("download", 62, 63, device=0),
        span("wait", 63, 81, device=0),
        span("download", 81, 85, nbytes=32, device=0, on_device=(82, 84)),
        span("call", 86, 90, "f_join", 3),
        span("call", 91, 99, "f_softmax", 4),
    ]


def recording(described: bool = True, dropped: int = 0) -> Recording:
    """Three runs, of which the middle one, the first, is recorded as above."""
    windows = ((START, START + 100 * US), (START + 200 * US, START + 420 * US), (START + 500 * US, START + 550 * US))
    spans = Spans(tuple(run_spans()), dropped, {0: 2 * US})
    return Recording(TracedGraph.from_json(graph_json(described)), windows, spans)
