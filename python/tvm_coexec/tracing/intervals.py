"""Sets of points in time, as sorted lists of disjoint intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Interval = tuple[float, float]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return what at least one of any intervals covers.

    Parameters
    ----------
    intervals : iterable of (float, float)
        In any order; they may overlap.

    Returns
    -------
    list of (float, float)
    """
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def intersect(a: Sequence[Interval], b: Sequence[Interval]) -> list[Interval]:
    """Return what two sets have in common.

    Parameters
    ----------
    a, b : sequence of (float, float)
        Sorted and disjoint, as `union` returns them.

    Returns
    -------
    list of (float, float)
    """
    found: list[Interval] = []
    i = j = 0
    while i < len(a) and j < len(b):
        start, end = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if start < end:
            found.append((start, end))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return found


def subtract(a: Sequence[Interval], b: Sequence[Interval]) -> list[Interval]:
    """Return what is in `a` and not in `b`.

    Parameters
    ----------
    a, b : sequence of (float, float)
        Sorted and disjoint, as `union` returns them.

    Returns
    -------
    list of (float, float)
    """
    if not a:
        return []
    ends = [a[0][0], *(t for interval in b for t in interval), a[-1][1]]
    return intersect(a, [(start, end) for start, end in zip(ends[::2], ends[1::2], strict=True) if start < end])


def total_length(intervals: Iterable[Interval]) -> float:
    """Return the sum of the lengths of disjoint intervals.

    Parameters
    ----------
    intervals : iterable of (float, float)

    Returns
    -------
    float
    """
    return sum(end - start for start, end in intervals)
