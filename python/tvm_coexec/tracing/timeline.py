"""What happened in one run, as events on lanes: the host's, the GPU's, and what copies do on the device.

The host is at one thing at a time, so what is inside of something else is cut out of it: a wait inside a copy, a copy
inside a function.
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
class Event:
    """Something on a timeline; seconds from the start of the run.

    Attributes
    ----------
    lane : str
        ``cpu`` (the host), ``gpu``, or ``transfers``: commands that copy, on the device's side.
    start_s, end_s : float
    what : str
        ``work``, ``slice``, ``join``, ``enqueue``, ``upload``, ``download``, ``hand-over``, ``device copy``, ``wait``.
    segment : int
        Of the plan; -1 where that isn't known.
    name : str
        Of the function, kernel or node.
    nbytes : int
    to : str
        Of a copy: the device that gets the data.
    launched_s : float, optional
        Of a kernel: when the host handed it to the driver.
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

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Timeline:
    """One run, measured or expected.

    Attributes
    ----------
    total_s : float
    events : tuple of Event
        Lane by lane, in order.
    uncertainty_s : float
        How far the GPU's times may be off against the host's.
    sync_points : int or None
        Where one device takes what the other one has made, also where that needs no copy; `None` if only the events
        tell.
    """

    total_s: float
    events: tuple[Event, ...]
    uncertainty_s: float = 0.0
    sync_points: int | None = None

    def lane(self, name: str) -> list[Event]:
        """Events of one lane."""
        return [e for e in self.events if e.lane == name]


def expected_timeline(graph: TracedGraph) -> Timeline:
    """What a plan expected; where it has the host at nothing, the host waits for the GPU."""
    told = graph.expected
    assert told is not None
    total_s = told["total_ns"] / 1e9
    events = [Event(lane, a / 1e9, b / 1e9, what, segment) for lane, a, b, what, segment in told["events"]]
    host = sorted((e for e in events if e.lane == "cpu"), key=lambda e: e.start_s)
    at, segment = 0.0, -1
    for e in [*host, Event("cpu", total_s, total_s, "end")]:
        if e.start_s - at > 1e-9:
            # a chain's join follows what the chain waits for
            events.append(Event("cpu", at, e.start_s, "wait", e.segment if e.segment >= 0 else segment))
        at, segment = max(at, e.end_s), e.segment
    return Timeline(total_s, tuple(sorted(events, key=lambda e: (e.lane, e.start_s))))


def measured_timeline(graph: TracedGraph, spans: Spans, window: tuple[int, int]) -> Timeline:
    """What was recorded between two times of the host's clock."""
    inside = [s for s in spans.spans if s.begin_ns >= window[0] and s.end_ns <= window[1]]
    return Timeline(
        (window[1] - window[0]) / 1e9,
        tuple(sorted(_Reader(graph, inside, window[0]).events(), key=lambda e: (e.lane, e.start_s))),
        max((spans.uncertainty_ns or {}).values(), default=0) / 1e9,
        graph.sync_points if graph.described else None,
    )


class _Reader:
    """Reads the spans of one run."""

    def __init__(self, graph: TracedGraph, spans: Sequence[Span], begin_ns: int):
        self.graph, self.spans, self.begin_ns = graph, spans, begin_ns
        threads = Counter(s.thread for s in spans if s.kind == "call") or Counter(s.thread for s in spans)
        self.host = threads.most_common(1)[0][0] if threads else -1
        self.nodes = self._nodes()

    def events(self) -> Iterable[Event]:
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

    def _on_host(self) -> Iterable[Event]:
        """Calls, and what happens between and inside of them; launches are a part of their calls."""
        own = [s for s in self.spans if s.thread == self.host and s.kind != "launch"]
        calls = [s for s in own if s.kind == "call"]
        others = sorted((s for s in own if s.kind != "call"), key=lambda s: s.begin_ns)
        yield from (self._event("cpu", s.begin_ns, s.end_ns, s.kind, s) for s in others)
        next_other = 0
        for call in sorted(calls, key=lambda s: s.begin_ns):
            what, at = self._of_call(call), call.begin_ns
            while next_other < len(others) and others[next_other].begin_ns < call.end_ns:
                inner = others[next_other]
                next_other += 1
                if inner.begin_ns >= call.begin_ns:
                    if inner.begin_ns > at:
                        yield self._event("cpu", at, inner.begin_ns, what, call)
                    at = inner.end_ns
            yield self._event("cpu", at, call.end_ns, what, call)

    def _of_call(self, call: Span) -> str:
        node = self._node(call)
        if node is None:
            return "work"
        return node.role if node.device == "cpu" and node.role in COMPUTING else "enqueue"

    def _event(self, lane: str, begin_ns: int, end_ns: int, what: str, span: Span) -> Event:
        node = self._node(span)
        to = ""
        if what in COPIES:
            to = node.device if node is not None else "cpu" if what == "download" else "gpu"
        return Event(
            lane,
            self._seconds(begin_ns),
            self._seconds(end_ns),
            what,
            -1 if node is None else node.segment,
            span.name or ("" if node is None else node.name),
            span.nbytes,
            to,
        )

    def _on_device(self, span: Span, lane: str, what: str) -> Event:
        event = self._event(lane, span.device_begin_ns, span.device_end_ns, what, span)
        return Event(**{**vars(event), "launched_s": self._seconds(span.begin_ns)})

    def _seconds(self, ns: int) -> float:
        return (ns - self.begin_ns) / 1e9

    def _nodes(self) -> dict[int, int]:
        """The node of each span, by identity: that of its call, or of the copy between two calls, in their order."""
        calls = self.graph.calls
        found: dict[int, int] = {}
        at = 0  # the node that may come next
        waiting: list[Span] = []  # pieces of the copy whose last piece is still to come
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
        """The copy that the executor makes next: no node that calls a function may come before it."""
        for index in range(at, len(self.graph.nodes)):
            node = self.graph.nodes[index]
            if node.function == COPY:
                return index
            if node.called:
                return None
        return None
