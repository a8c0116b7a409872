"""A run as a picture: the plan's lanes above the measured ones, on one axis."""

from __future__ import annotations

from tvm_coexec.core.texts import shorten
from tvm_coexec.drawing import Bar, Drawing, Lane, timelines

from .record import Recording
from .segments import TracedGraph
from .timeline import Event, Timeline

WIDTH = 1280.0
_LONGEST_TIP = 80  # characters of a line
_LANES = {"cpu": "CPU", "gpu": "GPU"}


def draw_run(recording: Recording, name: str = "the model", width: float = WIDTH) -> Drawing:
    """Draw the chosen run beside what the plan expected."""
    title = f"{name}: {recording.measured.total_s * 1e3:.3f} ms measured"
    lanes: list[Lane] = []
    if recording.expected is not None:
        title += f", {recording.expected.total_s * 1e3:.3f} ms expected"
        lanes += lanes_of(recording.graph, recording.expected, "plan")
    lanes += lanes_of(recording.graph, recording.measured, "run")
    return Drawing(title, (("Timelines", timelines(lanes, title, width)),))


def lanes_of(graph: TracedGraph, timeline: Timeline, suffix: str) -> list[Lane]:
    """The host's and the GPU's lane."""
    return [
        Lane(f"{title} {suffix}", device, _bars(graph, timeline.lane(device)))
        for device, title in _LANES.items()
        if device == "cpu" or timeline.lane(device)
    ]


def _bars(graph: TracedGraph, events: list[Event]) -> tuple[Bar, ...]:
    """Bars that don't overlap: on two queues kernels may."""
    bars: list[Bar] = []
    at = 0.0
    for e in sorted(events, key=lambda e: e.start_s):
        start = max(e.start_s, at)
        if e.end_s <= start:
            continue
        at = e.end_s
        tip = "\n".join(t for t in (shorten(e.name, _LONGEST_TIP), f"{e.nbytes} bytes" if e.nbytes else "") if t)
        bars.append(Bar(start, e.end_s, e.what, e.segment, graph.chain_of(e.segment), tip))
    return tuple(bars)
