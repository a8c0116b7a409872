"""Geometry of windowed operators along one spatial axis.

A range of output rows reads the input rows under its windows, halo included. A share's padding is what remains of the
operator's padding at its end, so every element is computed exactly as in the whole operator.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.core.access import AccessMap, ClampedMap, Range

from .base import NotSplittable, int_list


def plain_layout(layout: str) -> str:
    """Return a layout with one letter per dimension; raise `NotSplittable` for packed layouts such as NCHW16c."""
    if not layout.isalpha() or not layout.isupper():
        raise NotSplittable(f"layout {layout} is packed")
    return layout


def spatial_letters(layout: str) -> list[str]:
    """Return the spatial letters of a data layout, outermost first (``NCHW`` gives ``['H', 'W']``)."""
    return [c for c in layout if c not in "NC"]


def expand_attr(values: object, n: int) -> list[int]:
    """Return an attribute's value for each of `n` spatial axes; a single value holds for all."""
    found = int_list(values)
    return found * n if len(found) == 1 else found


def split_padding(values: object, n: int) -> tuple[list[int], list[int]]:
    """Return the padding before and after each of `n` spatial axes; TVM writes 1, `n` or ``2 n`` values."""
    padding = expand_attr(values, n)
    return (list(padding), list(padding)) if len(padding) == n else (padding[:n], padding[n:])


def extend_to(r: Range, first: int, last: int) -> Range:
    """Widen a range so that it contains a row of `first..last`."""
    return (min(r[0], last), max(r[1], first + 1))


class Window:
    """One spatial axis of a windowed operator.

    Parameters
    ----------
    kernel, stride, dilation : int
        In rows.
    before, after : int
        Padding in rows.
    extent : int
        Rows of the input.
    """

    def __init__(self, kernel: int, stride: int, dilation: int, before: int, after: int, extent: int):
        self.reach = (kernel - 1) * dilation
        self.stride, self.before, self.after, self.extent = stride, before, after, extent
        # Output rows whose windows contain input rows; with padding wider than the kernel others read padding alone.
        self.first = max(0, -((self.reach - before) // stride))
        self.last = (extent - 1 + before) // stride

    @property
    def reads_input(self) -> bool:
        """Whether any window contains an input row."""
        return self.first <= self.last

    def access_map(self, rows: int) -> AccessMap:
        """Return the map to the rows under the windows, for an output of `rows` rows."""
        a, b, e = self.stride, -self.before, self.reach - self.before
        if self.first == 0 and self.last >= rows - 1:
            return AccessMap(a, b, e, 1, self.extent)
        return ClampedMap(a, b, e, 1, self.extent, self.first, self.last)

    def pad_share(self, r: Range, held: Range) -> WindowShare:
        """Return the padding with which the output rows `r` are computed from the input rows `held`."""
        computed = extend_to(r, self.first, self.last)
        start = computed[0] * self.stride - self.before
        end = (computed[1] - 1) * self.stride - self.before + self.reach + 1
        crop = (r[0] - computed[0], r[1] - computed[0])
        return WindowShare(held[0] - start, end - held[1], crop, computed[1] - computed[0])


@dataclass(frozen=True)
class WindowShare:
    """Padding of a share, and the range to crop from the `rows` rows that it computes."""

    before: int
    after: int
    crop: Range
    rows: int
