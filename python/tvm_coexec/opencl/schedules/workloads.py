"""Read AutoTVM workloads: ``(template, ("TENSOR", shape, dtype), ..., strides, padding, dilation, ...)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm

from .window import Window

Workload = Sequence[Any]


class NotStatic(Exception):
    """A shape or an attribute is not a constant, so no tile can be chosen."""


def integers(values: Any) -> tuple[int, ...]:
    """Return a shape or attribute as integers.

    Raises
    ------
    NotStatic
        If one of them is symbolic.
    """
    items = [values] if isinstance(values, int | tvm.tir.IntImm) else list(values)
    if not all(isinstance(v, int | tvm.tir.IntImm) for v in items):
        raise NotStatic(str(values))
    return tuple(int(v) for v in items)


def shape(workload: Workload, index: int) -> tuple[int, ...]:
    """Return the extents of a tensor argument of the workload."""
    return integers(workload[index][1])


def element_bytes(workload: Workload, index: int) -> int:
    """Return the bytes per element of a tensor argument of the workload."""
    return max(1, tvm.DataType(workload[index][2]).bits // 8)


def paddings(values: Any, kernel: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return the padding before and after each spatial axis, from any form that TOPI's convolutions accept."""
    rank = len(kernel)
    if isinstance(values, str):
        if values == "VALID":
            return ((0, 0),) * rank
        return tuple(((k - 1) // 2, k - 1 - (k - 1) // 2) for k in kernel)
    amounts = integers(values)
    if len(amounts) == 1:
        amounts *= rank
    before, after = amounts[:rank], amounts[-rank:]
    return tuple(zip(before, after, strict=True))


def repeated(values: Any, rank: int) -> tuple[int, ...]:
    """Return an attribute for each spatial axis; it may be one number for all of them."""
    amounts = integers(values)
    return amounts * rank if len(amounts) == 1 else amounts


def window_of(workload: Workload, groups: int = 1, channels_last: bool = False, per_tap: bool = False) -> Window:
    """Return the window of a convolution ``(data, kernel, strides, padding, dilation, ...)`` of any rank.

    Parameters
    ----------
    workload : Workload
        Data is N,C,spatial and the kernel O,I,spatial; with `channels_last` N,spatial,C and spatial,I,O.
    groups : int
    per_tap : bool
        See `Window`.

    Returns
    -------
    Window
    """
    data, kernel = shape(workload, 1), shape(workload, 2)
    if channels_last:
        data = (data[0], data[-1], *data[1:-1])
        kernel = (kernel[-1], kernel[-2], *kernel[:-2])
    extents, taps = data[2:], kernel[2:]
    stride, dilation = repeated(workload[3], len(taps)), repeated(workload[5], len(taps))
    pads = paddings(workload[4], tuple((k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True)))
    out = tuple(
        (e + sum(p) - (k - 1) * d - 1) // s + 1
        for e, p, k, d, s in zip(extents, pads, taps, dilation, stride, strict=True)
    )
    return Window(
        batch=data[0],
        groups=groups,
        channels=kernel[0] // groups,
        reduce=kernel[1],
        out=out,
        kernel=taps,
        stride=stride,
        dilation=dilation,
        padded=any(sum(p) for p in pads),
        element_bytes=element_bytes(workload, 1),
        per_tap=per_tap,
    )
