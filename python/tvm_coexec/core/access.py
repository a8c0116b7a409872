"""Access maps: the range of an input that a range of an output needs, and backward propagation of ranges.

A range is a pair ``lo, hi`` for the rows ``[lo, hi)``, two integers or two integer arrays of one shape (one range for
each cut). A range with ``lo >= hi`` is empty; functions here return ``0, 0`` for empty ranges.

A new kind of map is one subclass of `AccessMap` in this module: it overrides `AccessMap.bounds`, which serves integers
and arrays, and has a name in `AccessMap.kind`, which saved graphs use.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, ClassVar, NamedTuple

import numpy as np

Range = tuple[int, int]
# An integer or an integer array.
Bound = Any

_FAR = 1 << 40


class _Integers:
    """Counterparts of numpy's functions for single integers, on which numpy is slow."""

    minimum, maximum = staticmethod(min), staticmethod(max)

    @staticmethod
    def where(condition: bool, x: int, y: int) -> int:
        return x if condition else y


def namespace(bound: Bound) -> Any:
    """Return the namespace of ``minimum``, ``maximum`` and ``where`` for this bound: numpy, or `_Integers`."""
    return np if isinstance(bound, np.ndarray) else _Integers


def _affine_bounds(xp: Any, numbers: Sequence[Bound], lo: Bound, hi: Bound) -> tuple[Bound, Bound]:
    """Return what an `AccessMap` of these numbers reads; they may be arrays, too: one map for each range."""
    a, b, e, c, extent = numbers
    return xp.maximum(0, (lo * a + b) // c), xp.minimum(extent, ((hi - 1) * a + e) // c + 1)


@dataclass(frozen=True)
class AccessMap:
    """A map from a range of an operator's output to the range of an input that it reads: linear, rounded and clipped.

    ``lower = (lo * a + b) // c``, ``upper = ((hi - 1) * a + e) // c + 1``, both clipped to ``[0, extent]``. A strided
    convolution is ``a = stride, b = -pad, e = (k - 1) * dilation - pad, c = 1``; an upsampling has ``c = scale``; an
    operand of a concatenation is a shift. The result may be empty (an operand outside the range).

    Attributes
    ----------
    a, b, e, c : int
    extent : int
        Rows of the input.
    kind : str
        Name of the class in saved graphs.
    """

    a: int
    b: int
    e: int
    c: int
    extent: int

    kind: ClassVar[str] = "affine"

    def apply(self, lo: Bound, hi: Bound) -> tuple[Bound, Bound]:
        """Return the input range for the output range ``[lo, hi)``; ``0, 0`` if nothing is read."""
        low, high = self.bounds(namespace(lo), lo, hi)
        some = (lo < hi) & (low < high)
        return low * some, high * some

    def bounds(self, xp: Any, lo: Bound, hi: Bound) -> tuple[Bound, Bound]:
        """Return the input range for a non-empty output range, using the functions of `xp` (see `namespace`)."""
        if self.a == self.c == 1:  # most often: a few steps less, which searches take by the thousand
            return (lo if self.b == 0 else xp.maximum(0, lo + self.b)), xp.minimum(self.extent, hi + self.e)
        return _affine_bounds(xp, (self.a, self.b, self.e, self.c, self.extent), lo, hi)

    def to_list(self) -> list:
        """Return the kind and the numbers, for JSON."""
        return [self.kind, *(getattr(self, f.name) for f in fields(self))]


@dataclass(frozen=True)
class ClampedMap(AccessMap):
    """A map where only output rows `first..last` read the input; a range without such a row reads for the nearest one.

    A share of padding alone then still has a row of input to compute from.
    """

    first: int
    last: int

    kind: ClassVar[str] = "clamped"

    def bounds(self, xp: Any, lo: Bound, hi: Bound) -> tuple[Bound, Bound]:
        """Return a range that is never empty."""
        return super().bounds(xp, xp.minimum(lo, self.last), xp.maximum(hi, self.first + 1))


@dataclass(frozen=True)
class NonEmptyMap(AccessMap):
    """A map that reads at least one row: the operator still writes the output rows (zeros) outside every window."""

    kind: ClassVar[str] = "nonempty"

    def bounds(self, xp: Any, lo: Bound, hi: Bound) -> tuple[Bound, Bound]:
        """Return a range that is never empty."""
        low, high = super().bounds(xp, lo, hi)
        row = xp.minimum(xp.maximum((lo + self.e) // self.c, 0), self.extent - 1)
        some = low < high
        return xp.where(some, low, row), xp.where(some, high, row + 1)


@dataclass(frozen=True)
class MirroredMap(AccessMap):
    """A shift by `-b` rows with mirrored ends: about the last row (`pivot` 1) or about the edge (`pivot` 0)."""

    pivot: int

    kind: ClassVar[str] = "mirrored"

    def bounds(self, xp: Any, lo: Bound, hi: Bound) -> tuple[Bound, Bound]:
        """Return the rows of the input that are shifted or mirrored into the range."""
        before, n = -self.b, self.extent
        low, high = xp.maximum(0, lo - before), xp.minimum(n, hi - before)
        front, back = lo < before, hi > before + n
        # Output row `before - 1` shows input row `pivot`.
        high = xp.where(front, xp.maximum(high, before - lo + self.pivot), high)
        low = xp.where(front, 0, low)
        low = xp.where(back, xp.minimum(low, 2 * n + before - hi - self.pivot), low)
        return low, xp.where(back, n, high)


MAP_KINDS: dict[str, type[AccessMap]] = {cls.kind: cls for cls in (AccessMap, ClampedMap, NonEmptyMap, MirroredMap)}


def map_from_list(data: Sequence) -> AccessMap:
    """Read a map from `AccessMap.to_list`; raise `ValueError` for an unknown kind or a wrong number of integers."""
    kind, *numbers = data
    cls = MAP_KINDS.get(kind)
    if cls is None:
        raise ValueError(f"unknown kind of access map {kind!r} (known: {', '.join(MAP_KINDS)})")
    if len(numbers) != len(fields(cls)) or not all(type(n) is int for n in numbers):
        raise ValueError(f"an access map of kind {kind!r} has {len(fields(cls))} integers, not {numbers}")
    return cls(*numbers)


def identity(extent: int) -> AccessMap:
    """Return the map of an operator that reads exactly the rows it writes."""
    return AccessMap(1, 0, 0, 1, extent)


def is_same(a: tuple[Bound, Bound], b: tuple[Bound, Bound]) -> bool:
    """Whether two arrays of ranges are equal; ranges of integers may be and are not compared."""
    return (
        isinstance(a[0], np.ndarray)
        and isinstance(b[0], np.ndarray)
        and a[0].tobytes() == b[0].tobytes()  # a tenth of the time of numpy's comparison of arrays that are so short
        and a[1].tobytes() == b[1].tobytes()
    )


def union(a: tuple[Bound, Bound], b: tuple[Bound, Bound]) -> tuple[Bound, Bound]:
    """Return the smallest range that contains both; an empty range adds nothing."""
    if is_same(a, b):  # most often in networks that repeat, and a third of the steps
        some = a[0] < a[1]
        return a[0] * some, a[1] * some
    xp = namespace(a[0])
    some_a, some_b = a[0] < a[1], b[0] < b[1]
    lo = xp.minimum(xp.where(some_a, a[0], _FAR), xp.where(some_b, b[0], _FAR))
    hi = xp.maximum(a[1] * some_a, b[1] * some_b)
    return xp.where(lo == _FAR, 0, lo), hi


def round_to_multiple(lo: Bound, hi: Bound, multiple: int, extent: int) -> tuple[Bound, Bound]:
    """Widen a range to multiples of `multiple` (a group of a grouped convolution can't be divided)."""
    if multiple == 1:
        return lo, hi
    some = lo < hi
    high = namespace(lo).minimum(extent, -(-hi // multiple) * multiple)
    return lo // multiple * multiple * some, high * some


def _follow(path: Sequence[AccessMap], lo: Bound, hi: Bound) -> tuple[Bound, Bound]:
    for step in path:
        lo, hi = step.apply(lo, hi)
    return lo, hi


@dataclass(frozen=True)
class InputAccess:
    """The range of one input, along dimension `dim`, that a range of a kernel's output needs, by one or more paths.

    Each path is a sequence of maps from the kernel's output back to the input; the result is the union over all paths.
    Without a path neither share reads the input.

    Attributes
    ----------
    dim : int
        Dimension of the input.
    paths : tuple of tuple of AccessMap
    after_join : bool
        Whether the CPU reads all of the input after the join, for any range: a bias or residual that is added to the
        sum of a kernel split along its reduction. Such an input can't come out of the same chain.
    """

    dim: int
    paths: tuple[tuple[AccessMap, ...], ...]
    after_join: bool = False

    def apply(self, lo: Bound, hi: Bound) -> tuple[Bound, Bound]:
        """Return the range of the input that the output range ``[lo, hi)`` needs."""
        if len(self.paths) == 1:
            return _follow(self.paths[0], lo, hi)
        if not self.paths:
            return 0 * lo, 0 * lo
        return reduce(union, (_follow(path, lo, hi) for path in self.paths))

    @property
    def reads(self) -> bool:
        """Whether a share reads anything of the input."""
        return bool(self.paths)


def count_rows(accesses: Sequence[InputAccess], sizes: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Return how many rows of an input each range reads, for many accesses at once.

    Parameters
    ----------
    accesses : sequence of InputAccess
    sizes : array of int
        How many of the ranges are read through each access: those of one follow those of another.
    lo, hi : array of int, shape (sum of sizes,)
        Non-empty ranges.
    """
    rows = hi - lo
    plain = [_plain_map(access) for access in accesses]  # most are, or read the rows that they write
    found = [m for m in plain if m is not None]
    if found:
        is_plain = np.array([m is not None for m in plain])
        numbers = np.repeat([(m.a, m.b, m.e, m.c, m.extent) for m in found], sizes[is_plain], axis=0).T
        here = np.repeat(is_plain, sizes)
        low, high = _affine_bounds(np, tuple(numbers), lo[here], hi[here])
        rows[here] = np.maximum(high - low, 0)
    for access, m, size, end in zip(accesses, plain, sizes, np.cumsum(sizes), strict=True):
        if m is None and access.paths != ((),):
            low, high = access.apply(lo[end - size : end], hi[end - size : end])
            rows[end - size : end] = high - low
    return rows


def _plain_map(access: InputAccess) -> AccessMap | None:
    """Return the map of an access that is no more than one `AccessMap`."""
    if len(access.paths) == 1 and len(access.paths[0]) == 1 and type(access.paths[0][0]) is AccessMap:
        return access.paths[0][0]
    return None


class Region(NamedTuple):
    """The part of a value that is computed or read: the rows ``[lo, hi)`` of dimension `dim`.

    With `dim` None it is the whole value: ``0, 1`` if it is read, ``0, 0`` if not.
    """

    dim: int | None
    lo: Bound
    hi: Bound

    @property
    def range(self) -> tuple[Bound, Bound]:
        """The rows without the dimension."""
        return self.lo, self.hi

    @property
    def is_empty(self) -> bool:
        """Whether nothing is read, at any cut."""
        return not np.any(self.lo < self.hi)


def read_region(access: Any, lo: Bound, hi: Bound) -> Region:
    """Return the region of an input that a range of an output reads; without `access` it is the whole input."""
    if access is None:
        return Region(None, 0 * lo, 1 * (lo < hi))
    return Region(access.dim, *access.apply(lo, hi))


def unite(a: Region, b: Region) -> Region:
    """Return the smallest region that contains both; regions along different dimensions give the whole value."""
    if a.dim == b.dim:
        return Region(a.dim, *union(a.range, b.range))
    if a.is_empty or b.is_empty:
        return b if a.is_empty else a
    some = (a.lo < a.hi) | (b.lo < b.hi)
    return Region(None, 0 * a.lo, 1 * some)


class Node(NamedTuple):
    """A kernel or operator of a chain, divided along one of its dimensions.

    Attributes
    ----------
    key : hashable
        Identifies its value among the regions.
    granule, extent : int
        Ranges are widened to multiples of `granule`, up to `extent`.
    reads : sequence of (hashable, access or None)
        Keys of its inputs, and its access to each (see `read_region`).
    """

    key: Hashable
    granule: int
    extent: int
    reads: Sequence[tuple[Any, Any]]


def propagate(nodes: Iterable[Node], regions: dict[Any, Region]) -> None:
    """Propagate ranges backwards through a chain.

    Parameters
    ----------
    nodes : iterable of Node
        In reverse topological order: each node before those whose values it reads.
    regions : dict of hashable to Region
        In: the regions wanted of the chain's live-outs. Out: also the region that each node computes (including halo
        rows and whole groups) and the region read of each live-in.
    """
    for node in nodes:
        if node.key in regions:
            propagate_node(node, regions)


def propagate_node(node: Node, regions: dict[Any, Region]) -> list[tuple[Any, Region]]:
    """Do one step of `propagate`; return the regions of its inputs that the node reads."""
    dim, lo, hi = regions[node.key]
    lo, hi = round_to_multiple(lo, hi, node.granule, node.extent)
    regions[node.key] = Region(dim, lo, hi)
    found = [(key, read_region(access, lo, hi)) for key, access in node.reads]
    for key, region in found:
        known = regions.get(key)
        regions[key] = region if known is None else unite(known, region)
    return found
