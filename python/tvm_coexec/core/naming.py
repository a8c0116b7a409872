"""Names that survive lowering: naming of functions and let bindings, and parsing them from a compiled graph.

TVM drops attributes and spans of let-bound expressions while it lowers a module, but keeps the names of variables. So a
name states the segment of a value and its role. `function_name` and `binding_name` write it, `parse_binding` reads it,
and nothing else depends on its spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "coexec"
# Name of the bindings that form the model's result.
RESULT = "result"
# What a let binding does. `work` is a segment's own computation; a `field` takes one tensor out of a tuple.
WORK, SLICE, UPLOAD, DOWNLOAD, JOIN, FIELD = "work", "slice", "upload", "download", "join", "field"

_SUFFIXES = {UPLOAD: "_to_gpu", DOWNLOAD: "_to_cpu", SLICE: "_slice", JOIN: "_join", FIELD: "_in"}
# These belong to the segment whose result they read, not to the segment that they are bound for.
_OF_THE_SOURCE = (DOWNLOAD, JOIN, FIELD)
# An optional number at the end makes names unique.
_NAME = re.compile(rf"(?:{PREFIX}_(?P<segment>\d+)_)?(?P<rest>.*?)(?:_\d+)?")


def function_name(segment: int, part: str) -> str:
    """Return the name of a segment's global function; ``part`` is ``cpu``, ``gpu``, ``split`` or ``join``."""
    return f"{PREFIX}_{segment}_{part}"


def binding_name(reader: str, role: str) -> str:
    """Return the name of a binding whose value a function (or `RESULT`) reads."""
    return reader + _SUFFIXES[role]


@dataclass(frozen=True)
class Binding:
    """The parsed name of a let binding.

    Attributes
    ----------
    segment : int or None
        Segment of the function that the value is bound for; `None` for the model's result.
    role : str
        One of this module's roles.
    of_source : bool
        Whether the value belongs to the segment whose result it reads, not to `segment`.
    """

    segment: int | None
    role: str
    of_source: bool


def parse_binding(name: str) -> Binding:
    """Parse a name from `function_name` or `binding_name`, with or without a number at its end."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    segment = None if match["segment"] is None else int(match["segment"])
    if segment is not None and match["rest"] == "join":
        return Binding(segment, JOIN, False)  # the function that follows a chain split along its reduction
    role = next((r for r, end in _SUFFIXES.items() if match["rest"].endswith(end)), WORK)
    return Binding(segment, role, role in _OF_THE_SOURCE)
