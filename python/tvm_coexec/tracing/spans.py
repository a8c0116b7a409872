"""What the C++ recorder gives, as it gives it."""

from __future__ import annotations

from dataclasses import dataclass

COPIES = ("upload", "download", "device copy", "hand-over")


@dataclass(frozen=True)
class Span:
    """Something that took time; nanoseconds of `time.monotonic_ns`.

    Attributes
    ----------
    kind : str
        ``call``, ``launch``, ``wait``, or one of `COPIES`.
    name : str
        Of the function or kernel, or empty.
    call : int
        Number of the traced call in which it happened, -1 outside of any.
    thread : int
    begin_ns, end_ns : int
        On the host.
    nbytes : int
        Of a copy; of one that had to wait the last piece has them, the others have none.
    device : int
        ``opencl(device)``, -1 for none.
    device_begin_ns, device_end_ns : int
        When the device was at it, 0 where that isn't known.
    """

    kind: str
    name: str
    call: int
    thread: int
    begin_ns: int
    end_ns: int
    nbytes: int
    device: int
    device_begin_ns: int
    device_end_ns: int


@dataclass(frozen=True)
class Spans:
    """All that was recorded.

    Attributes
    ----------
    spans : tuple of Span
        In the order of their ends.
    dropped : int
        How many older ones did not fit.
    uncertainty_ns : dict of int to int
        By device: how far its times may be off, against the host's clock.
    """

    spans: tuple[Span, ...]
    dropped: int = 0
    uncertainty_ns: dict[int, int] | None = None


def parse_spans(taken: dict) -> Spans:
    """Read what `runtime.trace_take` returned."""
    names = taken["names"]
    spans = tuple(Span(kind, names[name] if name >= 0 else "", *rest) for kind, name, *rest in taken["spans"])
    return Spans(spans, taken["dropped"], {c["device"]: c["uncertainty_ns"] for c in taken["clocks"]})
