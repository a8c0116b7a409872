"""Sets of intervals, against sets of integers."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm.relay")

import numpy as np

from tvm_coexec.tracing.intervals import Interval, intersect, subtract, total_length, union

pytestmark = pytest.mark.llvm


def points(intervals: list[Interval]) -> set[int]:
    """The unit intervals that are covered, each of them once."""
    covered = [t for start, end in intervals for t in range(int(start), int(end))]
    assert len(covered) == len(set(covered)) == total_length(intervals)
    assert intervals == sorted(intervals)
    return set(covered)


def test_random_sets():
    rng = np.random.default_rng(0)
    for _ in range(300):
        drawn = [
            [(float(a), float(a + n)) for a, n in zip(rng.integers(0, 30, k), rng.integers(0, 9, k), strict=True)]
            for k in rng.integers(0, 6, 2)
        ]
        a, b = map(union, drawn)
        covered = [{t for start, end in d for t in range(int(start), int(end))} for d in drawn]
        assert [points(a), points(b)] == covered
        assert points(intersect(a, b)) == covered[0] & covered[1]
        assert points(subtract(a, b)) == covered[0] - covered[1]
