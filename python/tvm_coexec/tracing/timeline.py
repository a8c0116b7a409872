"""One run as events on lanes: the host's, the GPU's, and that of copies on the device.

Events of the host do not overlap: the time of a nested event (a wait inside a copy, a copy inside a function) is cut
out of the outer one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .segments import COPY, TracedGraph, TracedNode
from .spans import COPIES, Span, Spans

COMPUTING = ("work", "slice", "join")
TRANSFERS = "transfers"


@dataclass(frozen=True)
class TraceEvent:
    """One event of a timeline, in seconds from the start of the run.

    Attributes
    ----------
    lane : str
        ``cpu`` (the host), ``gpu``, or ``transfers`` (the device's copy commands).
    start_s, end_s : float
    what : str
        ``work``, ``slice``, ``join``, ``enqueue``, ``upload``, ``download``, ``elided copy`` (between arrays that share
        memory), ``device copy``, ``wait``.
    segment : int
        Index in the plan; -1 if unknown.
    name : str
        Name of the function, kernel or node.
    nbytes : int
        Bytes of a copy.
    to : str
        Destination device of a copy.
    launched_s : float, optional
        When the host launched a kernel.
    node : int
        Index in `TracedGraph.nodes`; -1 if unknown.
    """

    lane: str
    start_s: float
    end_s: float
    what: str
    segment: int = -1
    name: str = ""
    nbytes: int = 0
    to: str = ""
    launched_s: float | None = None
    node: int = -1

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.end_s - self.start_s

    @property
    def interval(self) -> tuple[float, float]:
        """Start and end."""
        return self.start_s, self.end_s


@dataclass(frozen=True)
class Timeline:
    """One run, measured or expected.

    Attributes
    ----------
    total_s : float
    events : tuple of TraceEvent
        Sorted by lane, then by start.
    uncertainty_s : float
        Error bound of the GPU's times on the host's clock.
    sync_points : int or None
        Number of sync points, including those without a copy; `None` if it has to be derived from the events.
    """

    total_s: float
    events: tuple[TraceEvent, ...]
    uncertainty_s: float = 0.0
    sync_points: int | None = None

    def lane(self, name: str) -> list[TraceEvent]:
        """Return the events of one lane."""
        return [e for e in self.events if e.lane == name]


def expected_timeline(graph: TracedGraph) -> Timeline:
    """Return the timeline that a plan expected, in which the host waits for the GPU whenever it has no other event.

    Parameters
    ----------
    graph : TracedGraph
        With `expected`.

    Returns
    -------
    Timeline
    """
    expected = graph.expected
    assert expected is not None
    total_s = expected["total_ns"] / 1e9
    events = [TraceEvent(lane, a / 1e9, b / 1e9, what, segment) for lane, a, b, what, segment in expected["events"]]
    host = sorted((e for e in events if e.lane == "cpu"), key=lambda e: e.start_s)
    at, segment = 0.0, -1
    for e in [*host, TraceEvent("cpu", total_s, total_s, "end")]:
        if e.start_s - at > 1e-9:
            # A chain waits before its join, so the wait belongs to the segment of the next event.
            events.append(TraceEvent("cpu", at, e.start_s, "wait", e.segment if e.segment >= 0 else segment))
        at, segment = max(at, e.end_s), e.segment
    return Timeline(total_s, tuple(sorted(events, key=lambda e: (e.lane, e.start_s))))


def measured_timeline(graph: TracedGraph, spans: Spans, window: tuple[int, int]) -> Timeline:
    """Return the timeline of a run from recorded spans.

    Parameters
    ----------
    graph : TracedGraph
    spans : Spans
    window : (int, int)
        Start and end of the run, in nanoseconds of the host's clock.

    Returns
    -------
    Timeline
    """
    inside = [s for s in spans.spans if s.begin_ns >= window[0] and s.end_ns <= window[1]]
    return Timeline(
        (window[1] - window[0]) / 1e9,
        tuple(sorted(_Reader(graph, inside, window[0]).events(), key=lambda e: (e.lane, e.start_s))),
        max((spans.uncertainty_ns or {}).values(), default=0) / 1e9,
        graph.sync_points if graph.is_annotated else None,
    )


class _Reader:
    """Converts the spans of one run to events."""

    def __init__(self, graph: TracedGraph, spans: Sequence[Span], begin_ns: int):
        self.graph, self.spans, self.begin_ns = graph, spans, begin_ns
        threads = Counter(s.thread for s in spans if s.kind == "call") or Counter(s.thread for s in spans)
        self.host = threads.most_common(1)[0][0] if threads else -1
        self.nodes = self._nodes()

    def events(self) -> Iterable[TraceEvent]:
        for span in self.spans:
            if span.kind == "launch":
                if span.device_end_ns:
                    yield self._on_device(span, "gpu", self._role(span))
            elif span.kind in COPIES and span.device_end_ns:
                yield self._on_device(span, "gpu" if span.kind == "device copy" else TRANSFERS, span.kind)
            elif span.thread != self.host and span.kind in COPIES:
                yield self._event(TRANSFERS, span.begin_ns, span.end_ns, span.kind, span)
        yield from self._on_host()

    def _node(self, span: Span) -> TracedNode | None:
        index = self.nodes.get(id(span))
        return None if index is None else self.graph.nodes[index]

    def _role(self, span: Span) -> str:
        node = self._node(span)
        return node.role if node is not None and node.role in COMPUTING else "work"

    def _on_host(self) -> Iterable[TraceEvent]:
        """Yield calls, and events between and inside of them; a launch is part of its call."""
        own = [s for s in self.spans if s.thread == self.host and s.kind not in ("launch", "variant")]
        calls = [s for s in own if s.kind == "call"]
        others = sorted((s for s in own if s.kind != "call"), key=lambda s: s.begin_ns)
        yield from (self._event("cpu", s.begin_ns, s.end_ns, s.kind, s) for s in others)
        next_other = 0
        for call in sorted(calls, key=lambda s: s.begin_ns):
            what, at = self._classify_call(call), call.begin_ns
            while next_other < len(others) and others[next_other].begin_ns < call.end_ns:
                inner = others[next_other]
                next_other += 1
                if inner.begin_ns >= call.begin_ns:
                    if inner.begin_ns > at:
                        yield self._event("cpu", at, inner.begin_ns, what, call)
                    at = inner.end_ns
            yield self._event("cpu", at, call.end_ns, what, call)

    def _classify_call(self, call: Span) -> str:
        node = self._node(call)
        if node is None:
            return "work"
        return node.role if node.device == "cpu" and node.role in COMPUTING else "enqueue"

    def _event(self, lane: str, begin_ns: int, end_ns: int, what: str, span: Span) -> TraceEvent:
        node = self._node(span)
        to = ""
        if what in COPIES:
            to = node.device if node is not None else "cpu" if what == "download" else "gpu"
        return TraceEvent(
            lane,
            self._seconds(begin_ns),
            self._seconds(end_ns),
            what,
            -1 if node is None else node.segment,
            span.name or ("" if node is None else node.name),
            span.nbytes,
            to,
            node=self.nodes.get(id(span), -1),
        )

    def _on_device(self, span: Span, lane: str, what: str) -> TraceEvent:
        event = self._event(lane, span.device_begin_ns, span.device_end_ns, what, span)
        return TraceEvent(**{**vars(event), "launched_s": self._seconds(span.begin_ns)})

    def _seconds(self, ns: int) -> float:
        return (ns - self.begin_ns) / 1e9

    def _nodes(self) -> dict[int, int]:
        """Return the node of each span, by `id`: the node of its call, or the next copy node between two calls."""
        calls = self.graph.calls
        found: dict[int, int] = {}
        at = 0  # first node that may come next
        waiting: list[Span] = []  # pieces of a copy whose last piece is still missing
        for span in sorted(self.spans, key=lambda s: (s.begin_ns, -s.end_ns)):
            if span.call >= 0 and span.call < len(calls):
                found[id(span)] = calls[span.call]
                at = max(at, calls[span.call] + 1)
            elif span.thread == self.host and (span.kind == "wait" or span.kind in COPIES):
                waiting.append(span)
                if not span.nbytes:
                    continue
                copy = self._next_copy(at)
                if copy is not None:
                    found |= {id(s): copy for s in waiting}
                    at = copy + 1
                waiting = []
        return found

    def _next_copy(self, at: int) -> int | None:
        """Return the executor's next copy node; `None` if a node that calls a function comes first."""
        for index in range(at, len(self.graph.nodes)):
            node = self.graph.nodes[index]
            if node.function == COPY:
                return index
            if node.is_call:
                return None
        return None
