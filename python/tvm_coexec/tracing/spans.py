"""The records of the C++ recorder."""

from __future__ import annotations

from dataclasses import dataclass

COPIES = ("upload", "download", "device copy", "elided copy")


@dataclass(frozen=True)
class Span:
    """One recorded interval, in nanoseconds of `time.monotonic_ns`.

    Attributes
    ----------
    kind : str
        ``call``, ``launch``, ``wait``, ``variant`` (a run of an adaptive module), or one of `COPIES`.
    name : str
        Name of the function, kernel or variant; empty for others.
    call : int
        Index of the traced call in which it happened; -1 outside of calls.
    thread : int
        Threads are numbered in the order of their first spans.
    begin_ns, end_ns : int
        Start and end on the host.
    nbytes : int
        Bytes of a copy. A copy that had to wait is in several spans, of which the last has the bytes and the others 0.
    device : int
        ``tvm.opencl(device)``, or ``tvm.vulkan(device - 32)`` from 32 on; -1 for none.
    device_begin_ns, device_end_ns : int
        Start and end on the device; 0 if unknown.
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
    """All spans of a recording.

    Attributes
    ----------
    spans : tuple of Span
        Sorted by end.
    dropped : int
        Number of older spans that did not fit into the recorder.
    uncertainty_ns : dict of int to int
        By device: the error bound of its times on the host's clock.
    """

    spans: tuple[Span, ...]
    dropped: int = 0
    uncertainty_ns: dict[int, int] | None = None


def parse_spans(taken: dict) -> Spans:
    """Parse the record that `runtime.trace_take` returned.

    Parameters
    ----------
    taken : dict

    Returns
    -------
    Spans
    """
    names = taken["names"]
    spans = tuple(Span(kind, names[name] if name >= 0 else "", *rest) for kind, name, *rest in taken["spans"])
    return Spans(spans, taken["dropped"], {c["device"]: c["uncertainty_ns"] for c in taken["clocks"]})
