"""Geometry of operators that slide a window over rows.

Along a spatial axis a range of output rows needs the rows under its windows (the halo included). The share's own
padding is what is left of the operator's padding at that end, so the arithmetic of every element stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.core.access import AccessMap, ClampedMap, Range

from .base import Refusal, ints


def plain_layout(layout: str) -> str:
    """The layout when it has one letter per dimension; raises `Refusal` for packed ones such as NCHW16c."""
    if not layout.isalpha() or not layout.isupper():
        raise Refusal(f"layout {layout} is packed")
    return layout


def spatial_letters(layout: str) -> list[str]:
    """The spatial letters of a data layout, outermost first (``NCHW`` -> ``['H', 'W']``)."""
    return [c for c in layout if c not in "NC"]


def each(values: object, n: int) -> list[int]:
    """An attribute with one value for each of `n` spatial axes, or one for all."""
    found = ints(values)
    return found * n if len(found) == 1 else found


def pads(values: object, n: int) -> tuple[list[int], list[int]]:
    """Padding before and after each of `n` spatial axes, from any of TVM's spellings."""
    p = each(values, n)
    return (list(p), list(p)) if len(p) == n else (p[:n], p[n:])


def touch(r: Range, first: int, last: int) -> Range:
    """The range widened to a row of `first..last` when it has none."""
    return (min(r[0], last), max(r[1], first + 1))


class Window:
    """One spatial axis of a windowed operator.

    Parameters
    ----------
    kernel, stride, dilation : int
    before, after : int
        Padding in rows.
    extent : int
        Rows of the input.
    """

    def __init__(self, kernel: int, stride: int, dilation: int, before: int, after: int, extent: int):
        self.reach = (kernel - 1) * dilation
        self.stride, self.before, self.after, self.extent = stride, before, after, extent
        # Output rows whose windows touch the input; others are made of padding alone (padding wider than the kernel).
        self.first = max(0, -((self.reach - before) // stride))
        self.last = (extent - 1 + before) // stride

    def ok(self) -> bool:
        """Whether any window touches the input."""
        return self.first <= self.last

    def access_map(self, rows: int) -> AccessMap:
        """Rows under the windows of an output range, of an output with that many rows."""
        a, b, e = self.stride, -self.before, self.reach - self.before
        if self.first == 0 and self.last >= rows - 1:
            return AccessMap(a, b, e, 1, self.extent)
        return ClampedMap(a, b, e, 1, self.extent, self.first, self.last)

    def share(self, r: Range, got: Range) -> WindowShare:
        """How to compute output rows `r` from input rows `got`."""
        made = touch(r, self.first, self.last)
        start = made[0] * self.stride - self.before
        end = (made[1] - 1) * self.stride - self.before + self.reach + 1
        return WindowShare(got[0] - start, end - got[1], (r[0] - made[0], r[1] - made[0]), made[1] - made[0])


@dataclass(frozen=True)
class WindowShare:
    """A share's padding, and where among the `rows` that it then makes the wanted ones are."""

    before: int
    after: int
    at: Range
    rows: int
