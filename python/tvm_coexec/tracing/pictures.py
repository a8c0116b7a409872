"""Draw a run: the plan's lanes above the measured ones, on one time axis."""

from __future__ import annotations

from tvm_coexec.core.texts import shorten
from tvm_coexec.drawing import Bar, Drawing, Lane, timelines

from .record import Recording
from .segments import TracedGraph
from .timeline import Timeline, TraceEvent

WIDTH = 1280.0
_LONGEST_TIP = 80  # characters per line
_LANES = {"cpu": "CPU", "gpu": "GPU"}


def draw_run(recording: Recording, name: str = "the model", width: float = WIDTH) -> Drawing:
    """Draw the shown run of a recording next to the plan's expectation.

    Parameters
    ----------
    recording : Recording
    name : str
        Name of the model.
    width : float
        Width of the picture, in pixels.

    Returns
    -------
    Drawing
    """
    title = f"{name}: {recording.measured.total_s * 1e3:.3f} ms measured"
    lanes: list[Lane] = []
    if recording.expected is not None:
        title += f", {recording.expected.total_s * 1e3:.3f} ms expected"
        lanes += _lanes(recording.graph, recording.expected, "plan")
    lanes += _lanes(recording.graph, recording.measured, "run")
    return Drawing(title, (("Timelines", timelines(lanes, title, width)),))


def _lanes(graph: TracedGraph, timeline: Timeline, suffix: str) -> list[Lane]:
    """Return the host's lane and, if it has events, the GPU's."""
    return [
        Lane(f"{title} {suffix}", device, _bars(graph, timeline.lane(device)))
        for device, title in _LANES.items()
        if device == "cpu" or timeline.lane(device)
    ]


def _bars(graph: TracedGraph, events: list[TraceEvent]) -> tuple[Bar, ...]:
    """Return bars that do not overlap, although kernels on two queues may."""
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
