"""Seeing a run: what both devices did when, beside what the plan expected.

Read it in this order: `graph` (what a module says of its nodes), `record` (running it under the C++ recorder), `spans`
(what that gives), `timeline` (the same as bars), and what is made of them: `table`, `chrome`, `pictures`. `load` opens
the files of models.
"""

from __future__ import annotations

from .chrome import chrome_trace, write_chrome
from .pictures import draw_run
from .record import Recording, Tracer, record
from .segments import TracedGraph, TracedNode
from .table import numbers, table
from .timeline import Event, Timeline

__all__ = [
    "Event",
    "Recording",
    "Timeline",
    "TracedGraph",
    "TracedNode",
    "Tracer",
    "chrome_trace",
    "draw_run",
    "numbers",
    "record",
    "table",
    "write_chrome",
]
