"""64-bit indices for OpenCL devices that run on CPU cores.

TVM computes the indices of a work-item in ``int``. Pointers have 64 bits on such a device, and its compiler vectorises
across work-items only if it can prove that an index does not wrap: with ``int`` it often cannot, unless an extent is a
power of two. On pocl a dense layer of one row is six to ten times faster with ``long``, and convolutions of odd extents
are up to four times faster. Kernels for GPUs are left unchanged, because 64-bit arithmetic is slow there.
"""

from __future__ import annotations

import re

_ID = re.compile(r"\bconvert_int\((get_(?:local|group)_id\()")
# Built-in functions of OpenCL take arguments of one type only; an `int` next to a 64-bit index is ambiguous.
_STRICT_CALL = re.compile(r"\b(?:min|max|clamp|select|abs|mad24|mul24|rotate)\s*\(")


def with_long_indices(source: str) -> str:
    """Return a kernel with 64-bit indices of work-items and work-groups.

    Parameters
    ----------
    source : str
        OpenCL C of one function, as TVM writes it.

    Returns
    -------
    str
        The source is unchanged if an index is an argument of a function whose arguments must have one type.
    """
    for call in _STRICT_CALL.finditer(source):
        if _ID.search(_arguments(source, call.end())):
            return source
    return _ID.sub(r"convert_long(\1", source)


def _arguments(source: str, start: int) -> str:
    """Return the text between an opening parenthesis (before `start`) and the one that closes it."""
    depth = 1
    for at in range(start, len(source)):
        depth += {"(": 1, ")": -1}.get(source[at], 0)
        if not depth:
            return source[start:at]
    return source[start:]
