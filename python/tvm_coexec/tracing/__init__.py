"""Record a run: what both devices did when, next to what the plan expected.

Read the modules in this order: `segments` (the annotated graph), `record` (run a module under the C++ recorder),
`spans` (the recorder's output), `timeline` (spans as events on lanes), and the outputs: `table`, `chrome`, `pictures`.
`load` opens compiled models and their inputs.
"""

from __future__ import annotations

from .chrome import chrome_trace, write_chrome
from .pictures import draw_run
from .record import Recording, Tracer, record
from .segments import TracedGraph, TracedNode
from .table import numbers, table
from .timeline import Timeline, TraceEvent

__all__ = [
    "Recording",
    "Timeline",
    "TraceEvent",
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
