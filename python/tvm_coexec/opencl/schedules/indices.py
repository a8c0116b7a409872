"""Indices of 64 bits for OpenCL devices that are made of CPU cores.

TVM computes where a work-item reads and writes in ``int``. Pointers have 64 bits there, and a compiler that joins
work-items to vectors must know that an index does not wrap before it takes neighbours at once: with ``int`` it often
does not, unless an extent is a power of two. On pocl a dense layer of one row is six to ten times faster with ``long``,
and convolutions of odd extents up to four times. GPUs are left alone: 64-bit arithmetic is slow there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import tvm
from tvm.target import Target

from .device import device_traits

NAME = "tvm_callback_opencl_postproc"
_ID = re.compile(r"\bconvert_int\((get_(?:local|group)_id\()")
# Built-in functions of OpenCL take arguments of one type only; an `int` beside an index of 64 bits is ambiguous.
_STRICT_CALL = re.compile(r"\b(?:min|max|clamp|select|abs|mad24|mul24|rotate)\s*\(")


def with_long_indices(source: str) -> str:
    """The same kernel with positions of work-items and work-groups of 64 bits.

    Parameters
    ----------
    source : str
        OpenCL C of one function, as TVM writes it. Where a position is an argument of a function that takes one type
        only, the source stays as it is.
    """
    for call in _STRICT_CALL.finditer(source):
        if _ID.search(_arguments(source, call.end())):
            return source
    return _ID.sub(r"convert_long(\1", source)


def _arguments(source: str, start: int) -> str:
    """From behind an opening parenthesis to the one that closes it."""
    depth = 1
    for at in range(start, len(source)):
        depth += {"(": 1, ")": -1}.get(source[at], 0)
        if not depth:
            return source[start:at]
    return source[start:]


class LongIndices:
    """What TVM calls with the source of every OpenCL kernel that it has written.

    Parameters
    ----------
    before : callable or None
        What it called before; it still comes first.
    """

    def __init__(self, before: Callable[[str, Target], str] | None):
        self.before = before

    def __call__(self, source: str, target: Target) -> str:
        if self.before is not None:
            source = self.before(source, target)
        return with_long_indices(source) if device_traits(target).is_cpu else source


_registered: list[LongIndices] = []


def install() -> None:
    """Register the hook; a second call changes nothing."""
    if not _registered:
        _registered.append(LongIndices(tvm.get_global_func(NAME, allow_missing=True)))
        tvm.register_func(NAME, _registered[0].__call__, override=True)


def uninstall() -> None:
    """Take the hook away again, and put back what was there before."""
    if _registered:
        before = _registered.pop().before
        if before is not None:
            tvm.register_func(NAME, before, override=True)
        else:
            tvm._ffi.registry.remove_global_func(NAME)
