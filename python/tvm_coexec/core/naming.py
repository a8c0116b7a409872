"""Names that survive lowering: how the passes name functions and let bindings, and how a compiled graph is read back.

TVM drops attributes and spans of let-bound expressions while it lowers a module, but keeps the names of variables. So a
name says which segment a value belongs to and what it is for. It is written by `function_name` and `binding_name` and
read by `parse_binding`; nothing else depends on how it is spelled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "coexec"
# The name of the bindings that make the model's result.
RESULT = "result"
# What a let binding does. `work` is a segment's own computation; a `field` takes one tensor out of a tuple.
WORK, SLICE, UPLOAD, DOWNLOAD, JOIN, FIELD = "work", "slice", "upload", "download", "join", "field"

_SUFFIXES = {UPLOAD: "_to_gpu", DOWNLOAD: "_to_cpu", SLICE: "_slice", JOIN: "_join", FIELD: "_in"}
# These belong to the segment whose result they take, not to the one that reads it.
_OF_THE_SOURCE = (DOWNLOAD, JOIN, FIELD)
# An optional number at the end keeps names unique.
_NAME = re.compile(rf"(?:{PREFIX}_(?P<segment>\d+)_)?(?P<rest>.*?)(?:_\d+)?")


def function_name(segment: int, part: str) -> str:
    """Name of a segment's global function; ``part`` is ``cpu``, ``gpu``, ``split`` or ``join``."""
    return f"{PREFIX}_{segment}_{part}"


def binding_name(reader: str, role: str) -> str:
    """Name of what is bound for a function (or for `RESULT`) that reads it."""
    return reader + _SUFFIXES[role]


@dataclass(frozen=True)
class Binding:
    """What the name of a let binding says.

    Attributes
    ----------
    segment : int or None
        Segment of the function that the value is bound for; `None` for the model's result.
    role : str
        One of this module's roles.
    of_source : bool
        Whether the value belongs to the segment whose result it takes, not to `segment`.
    """

    segment: int | None
    role: str
    of_source: bool


def parse_binding(name: str) -> Binding:
    """Read a name that `function_name` or `binding_name` made, with or without a number at its end."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    segment = None if match["segment"] is None else int(match["segment"])
    if segment is not None and match["rest"] == "join":
        return Binding(segment, JOIN, False)  # the function that follows a chain split along its reduction
    role = next((r for r, end in _SUFFIXES.items() if match["rest"].endswith(end)), WORK)
    return Binding(segment, role, role in _OF_THE_SOURCE)
