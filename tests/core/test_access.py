"""Access maps and range propagation: integers and arrays give the same, and that is what operators read."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from tvm_coexec.core.access import (
    MAP_KINDS,
    AccessMap,
    ClampedMap,
    InputAccess,
    MirroredMap,
    Node,
    NonEmptyMap,
    Region,
    count_rows,
    identity,
    map_from_list,
    propagate,
    round_to_multiple,
    union,
    unite,
)

# One or more of each kind, with the number of output rows that they are for.
MAPS = [
    (identity(12), 12),
    (AccessMap(2, -1, 1, 1, 14), 7),  # stride 2, kernel 3, padding 1
    (AccessMap(1, -8, -8, 1, 4), 20),  # channels 8..12 of a concatenation
    (AccessMap(1, 0, 0, 1, 4), 20),  # channels 0..4 of it
    (AccessMap(1, -2, 2, 2, 9), 18),  # upsampling by 2 with its neighbours
    (AccessMap(3, 0, 2, 1, 12), 4),
    (ClampedMap(1, -3, -3, 1, 5, 3, 7), 11),  # padding of 3 rows around 5
    (ClampedMap(2, -6, -4, 1, 4, 2, 4), 8),
    (NonEmptyMap(1, -1, 0, 3, 6), 18),  # a transposed convolution with stride 3, kernel 2
    (MirroredMap(1, -3, -3, 1, 5, 1), 11),
    (MirroredMap(1, -2, -2, 1, 5, 0), 9),
]
IDS = [f"{m.kind}-{n}" for n, (m, _) in enumerate(MAPS)]


def pairs(rows: int) -> list[tuple[int, int]]:
    return [(lo, hi) for lo in range(rows + 1) for hi in range(rows + 1)]


def test_strided_convolution():
    access = AccessMap(2, -1, 1, 1, 14)
    assert access.apply(0, 3) == (0, 6)
    assert access.apply(3, 7) == (5, 14)
    assert access.apply(3, 3) == (0, 0)


def test_operand_of_a_concatenation_may_not_be_read():
    access = AccessMap(1, -8, -8, 1, 4)
    assert access.apply(0, 8) == (0, 0)
    assert access.apply(0, 10) == (0, 2)
    assert access.apply(10, 20) == (2, 4)


def test_every_kind_is_tried():
    assert {m.kind for m, _ in MAPS} == set(MAP_KINDS)


@pytest.mark.parametrize(("access", "rows"), MAPS, ids=IDS)
def test_arrays_and_integers_agree(access, rows):
    ranges = pairs(rows)
    single = [access.apply(lo, hi) for lo, hi in ranges]
    assert all(type(bound) is int for r in single for bound in r)
    lo, hi = np.array(ranges).T
    assert [tuple(r) for r in np.stack(access.apply(lo, hi), 1).tolist()] == single
    stacked = access.apply(np.stack([lo, lo[::-1]]), np.stack([hi, hi[::-1]]))
    assert (stacked[0][1] == stacked[0][0][::-1]).all() and (stacked[1][1] == stacked[1][0][::-1]).all()


@pytest.mark.parametrize(("access", "rows"), MAPS, ids=IDS)
def test_a_range_reads_what_its_rows_read(access, rows):
    for lo, hi in pairs(rows):
        first, last = access.apply(lo, hi)
        assert 0 <= first <= last <= access.extent
        if lo >= hi:
            assert (first, last) == (0, 0)
            continue
        by_row = (0, 0)
        for row in range(lo, hi):
            by_row = union(by_row, access.apply(row, row + 1))
        if isinstance(access, NonEmptyMap):  # a row that reads none takes one along when it is alone
            assert union(by_row, (first, last)) == by_row and first < last
        else:
            assert by_row == (first, last)


def test_mirrored_rows():
    """Rows that numpy shows in the mirror are read, from the edge on: a share is padded there once more."""
    for pivot, mode in ((1, "reflect"), (0, "symmetric")):
        shown = np.pad(np.arange(5), 3, mode)
        access = MirroredMap(1, -3, -3, 1, 5, pivot)
        for lo, hi in pairs(11):
            if lo < hi:
                first, last = access.apply(lo, hi)
                assert first <= shown[lo:hi].min() and shown[lo:hi].max() < last
                assert (first == 0 or lo >= 3) and (last == 5 or hi <= 8)


@pytest.mark.parametrize(("access", "rows"), MAPS, ids=IDS)
def test_lists_restore_maps(access, rows):
    assert map_from_list(access.to_list()) == access


def test_damaged_lists_are_refused():
    with pytest.raises(ValueError, match="unknown kind of access map 'curved'"):
        map_from_list(["curved", 1, 2])
    for access, _ in MAPS:
        data = access.to_list()
        for bad in (data[:-1], [*data, 0], [*data[:-1], 1.5], [*data[:-1], None]):
            with pytest.raises(ValueError, match=f"{access.kind!r} has {len(fields(access))} integers"):
                map_from_list(bad)


def test_union_and_round_to_multiple():
    assert union((0, 0), (3, 5)) == (3, 5)
    assert union((2, 4), (3, 9)) == (2, 9)
    assert union((0, 2), (5, 5)) == (0, 2)
    assert round_to_multiple(3, 5, 4, 10) == (0, 8)
    assert round_to_multiple(9, 10, 4, 10) == (8, 10)
    assert round_to_multiple(5, 5, 4, 10) == (0, 0)


def test_paths_are_united():
    need = InputAccess(1, ((AccessMap(1, -1, 1, 1, 9),), (AccessMap(1, 2, 2, 1, 9), identity(9))))
    assert need.apply(0, 2) == (0, 4)
    lo, hi = need.apply(np.array([0, 5, 4]), np.array([2, 9, 4]))
    assert (lo.tolist(), hi.tolist()) == ([0, 4, 0], [4, 9, 0])
    after = InputAccess(0, (), after_join=True)
    assert not after.reads and after.apply(3, 5) == (0, 0)


def test_regions_along_two_dimensions_are_the_whole_value():
    assert unite(Region(1, 0, 3), Region(1, 5, 6)) == Region(1, 0, 6)
    assert unite(Region(1, 0, 3), Region(2, 5, 6)) == Region(None, 0, 1)
    assert unite(Region(1, 0, 0), Region(2, 5, 6)) == Region(2, 5, 6)
    assert unite(Region(1, 1, 2), Region(2, 5, 5)) == Region(1, 1, 2)
    assert unite(Region(1, 0, 3), Region(None, 0, 1)) == Region(None, 0, 1)
    both = unite(Region(1, np.array([0, 0]), np.array([3, 0])), Region(2, np.array([0, 0]), np.array([0, 0])))
    assert both.dim == 1


def test_propagation_of_integers_and_arrays():
    """A grouped producer, read with a halo by one reader and shifted by another, and a live-in read whole."""
    same = InputAccess(2, ((identity(12),),))
    halo, shift = InputAccess(2, ((AccessMap(1, -1, 1, 1, 12),),)), InputAccess(2, ((AccessMap(1, -3, -3, 1, 12),),))
    nodes = [
        Node(
            "sum", 1, 12, [("left", InputAccess(2, ((identity(12),),))), ("right", InputAccess(2, ((identity(12),),)))]
        ),
        Node("right", 1, 12, [("top", shift)]),
        Node("left", 1, 12, [("top", halo), ("weights", None)]),
        Node("top", 4, 12, [("x", same)]),
        Node("unread", 1, 12, [("y", None)]),
    ]

    def run(lo, hi) -> dict[str, Region]:
        regions = {"sum": Region(2, lo, hi)}
        propagate(nodes, regions)
        return regions

    assert run(5, 7) == {
        "sum": Region(2, 5, 7),
        "left": Region(2, 5, 7),
        "right": Region(2, 5, 7),
        "top": Region(2, 0, 8),  # 2..4 and 4..8, in whole groups
        "weights": Region(None, 0, 1),
        "x": Region(2, 0, 8),
    }
    ranges = pairs(12)
    together = run(*np.array(ranges).T)
    for n, (lo, hi) in enumerate(ranges):
        for key, region in run(lo, hi).items():
            array = together[key]
            assert (array.dim, array.lo[n], array.hi[n]) == region or (region.is_empty and array.lo[n] >= array.hi[n])


def test_rows_of_many_accesses_at_once_are_those_of_each() -> None:
    """Accesses of one map of each kind, of several in a row, of several parts, of the same rows, and of nothing."""
    cases = [(InputAccess(1, ((m,),)), n) for m, n in MAPS]
    cases += [(InputAccess(0, ((identity(12), AccessMap(2, -1, 1, 1, 24)),)), 12), (InputAccess(0, ((),)), 5)]
    cases += [(InputAccess(0, ((identity(12),), (AccessMap(1, 3, 3, 1, 16),))), 12), (InputAccess(0, ()), 5)]
    ranges = [[(a, b) for a in range(n) for b in range(a + 1, n + 1)] for _, n in cases]
    lo, hi = np.concatenate(ranges).T
    found = count_rows([access for access, _ in cases], np.array([len(r) for r in ranges]), lo, hi)
    expected = [access.apply(*r) for (access, _), rs in zip(cases, ranges, strict=True) for r in rs]
    assert found.tolist() == [last - first for first, last in expected]
