"""Analytic terms: what the time of a kernel of each class may be a sum of.

A term is a function of the workload's extents with a meaning: multiply-adds, bytes, or multiply-adds of whole tiles or
waves, so that what a tile computes beside the output counts. `fit` finds how many seconds one unit of each costs, and
most get none. Terms are written with operators alone, so that one formula serves numbers and arrays.

Sources: ceilings over blocks and waves, and the three parts of Winograd and of packed GEMM: CoDL (MobiSys 2022, section
5.2); work and bytes by algorithm: Paleo (ICLR 2017, section 4); the bytes of each memory level: the roofline model
(Williams et al., CACM 2009).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from . import tile_costs as work_groups
from .workload import Number, Workload

Term = Callable[["Parts"], Number]


class Parts:
    """A workload and the products of its extents that many terms share."""

    __slots__ = ("_cycles", "depth", "depth4", "macs", "places", "rows", "w", "work")

    def __init__(self, w: Workload):
        self.w = w
        self.rows = w.batch * w.oh
        self.places = self.rows * w.ow
        self.depth = w.kh * w.kw * w.ic / w.groups  # multiply-adds behind one output
        self.depth4 = w.kh * w.kw * up(w.ic, 4) / w.groups
        self.work = w.oc * self.depth
        self.macs = self.work * self.places
        self._cycles: tuple[np.ndarray, np.ndarray] | None = None

    def cycles(self) -> tuple[np.ndarray, np.ndarray]:
        """See `work_groups.cycles`."""
        if self._cycles is None:
            self._cycles = work_groups.cycles(self.w)
        return self._cycles


def up(extent: Number, tile: int) -> Number:
    """``extent`` rounded up to whole tiles."""
    if isinstance(extent, np.ndarray):
        return np.ceil(extent / tile) * tile
    return -(-extent // tile) * tile


_DIVISORS_TO = 4096


def divisor(extent: Number, most: int) -> Number:
    """The largest divisor up to ``most``: how TVM's fallback configurations block an extent."""
    if isinstance(extent, np.ndarray):
        inside = np.minimum(extent, _DIVISORS_TO - 1).astype(np.int64)
        found = _divisors(most)[inside]
        large = extent >= _DIVISORS_TO
        if large.any():
            found = found.copy()
            for candidate in range(1, most + 1):
                found[large & (extent % candidate == 0)] = candidate
        return found
    for candidate in range(most, 1, -1):
        if extent % candidate == 0:
            return candidate
    return 1


@lru_cache(maxsize=8)
def _divisors(most: int) -> np.ndarray:
    table = np.ones(_DIVISORS_TO)
    for candidate in range(2, most + 1):
        table[::candidate] = candidate
    return table


def least(value: Number, limit: int) -> Number:
    """The smaller of the two."""
    return np.minimum(value, limit) if isinstance(value, np.ndarray) else min(value, limit)


COMMON: dict[str, Term] = {
    "one": lambda p: 1.0,
    "in": lambda p: p.w.in_bytes,
    "out": lambda p: p.w.out_bytes,
    "weights": lambda p: p.w.weight_bytes,
    "flops": lambda p: p.w.flops,
    "epilogue": lambda p: p.w.fused * p.w.out_bytes,
}


def _beyond(cache: int) -> Term:
    """Bytes that are read and written beyond what a cache of that size holds."""

    def term(p: Parts) -> Number:
        moved = p.w.in_bytes + p.w.out_bytes + p.w.weight_bytes
        return moved - least(moved, cache)

    return term


# For kernels that are made of bytes rather than of arithmetic.
_CACHES: dict[str, Term] = {f"beyond{size >> 10}k": _beyond(size) for size in (1 << 18, 1 << 21, 1 << 24)}

# What waits for one output's chain of additions; input that im2col or packing writes; accumulators that are stored.
_CONVOLUTION: dict[str, Term] = {
    "macs": lambda p: p.macs,
    "depth": lambda p: p.depth,
    "rows": lambda p: p.w.oc * p.rows,
    "columns": lambda p: p.places * p.depth * p.w.groups,
    "accumulate": lambda p: p.w.oc * p.places * p.w.ic / p.w.groups,
    "weights.rows": lambda p: p.w.weight_bytes * p.rows,
    "in.oc32": lambda p: p.w.in_bytes * up(p.w.oc, 32) / 32,
    "oc4.place4": lambda p: up(p.w.oc, 4) * p.depth * up(p.places, 4),
    "oc8.ow8": lambda p: up(p.w.oc, 8) * p.depth * p.rows * up(p.w.ow, 8),
}


def _tiled(tile: int, extent: str) -> Term:
    """Multiply-adds with one extent rounded up to tiles."""
    if extent == "oc":
        return lambda p: up(p.w.oc, tile) * p.depth * p.places
    if extent == "ow":
        return lambda p: p.work * p.rows * up(p.w.ow, tile)
    return lambda p: p.work * up(p.places, tile)


def _group(channels: int, columns: int, rows: int) -> Term:
    """Multiply-adds of whole work-groups, each of so many outputs; input channels are read four at a time.

    With no rows given, rows and columns of the map are one axis.
    """
    return lambda p: _outputs(p, channels, columns, rows) * p.depth4


def _wave(channels: int, columns: int, rows: int, groups: int) -> Term:
    """The same for whole waves of so many work-groups."""
    tile = channels * columns * max(1, rows)
    return lambda p: up(_outputs(p, channels, columns, rows) / tile, groups) * tile * p.depth4


def _outputs(p: Parts, channels: int, columns: int, rows: int) -> Number:
    w = p.w
    if not rows:
        return up(w.oc, channels) * up(w.ow * w.oh, columns) * w.batch
    return up(w.oc, channels) * up(w.ow, columns) * up(w.oh, rows) * w.batch


def _threads(wave: int) -> Term:
    """Whole waves of threads that compute four channels each."""
    return lambda p: up(up(p.w.oc, 4) / 4 * p.places, wave) * p.depth


_AT_ONCE = (8, 32)  # work-groups that a device has in flight
_GROUPS = ((4, 2, 2), (8, 2, 2), (4, 8, 4), (8, 16, 4), (4, 16, 8), (16, 8, 2), (8, 32, 2))
_FLAT_GROUPS = ((4, 32, 0), (8, 64, 0), (4, 128, 0), (8, 256, 0))

_CONVOLUTION |= {f"oc{t}": _tiled(t, "oc") for t in (4, 8, 16, 32)}
_CONVOLUTION |= {f"ow{t}": _tiled(t, "ow") for t in (2, 4, 8)}
_CONVOLUTION |= {f"place{t}": _tiled(t, "place") for t in (4, 16, 64)}
_CONVOLUTION |= {f"wave{t}": _threads(t) for t in (64, 256, 1024)}
for _shape in _GROUPS + _FLAT_GROUPS:
    _name = "tile" + "x".join(str(e) for e in _shape if e)
    _CONVOLUTION[_name] = _group(*_shape)
    _CONVOLUTION |= {f"{_name}.wave{n}": _wave(*_shape, n) for n in _AT_ONCE}


def _winograd_tiles(p: Parts, tile: int) -> Number:
    """Elements of all transformed tiles of one channel."""
    return p.w.batch * up(p.w.oh, tile) * up(p.w.ow, tile) * ((tile + 2) ** 2 / tile**2)


# For convolutions that may be computed by Winograd's algorithm: 3x3 kernels of stride one.
_WINOGRAD: dict[str, Term] = {
    "winograd2": lambda p: _winograd_tiles(p, 2) * p.w.ic * p.w.oc / p.w.groups,
    "winograd2.in": lambda p: _winograd_tiles(p, 2) * p.w.ic,
    "winograd2.out": lambda p: _winograd_tiles(p, 2) * p.w.oc,
    "winograd4": lambda p: _winograd_tiles(p, 4) * p.w.ic * p.w.oc / p.w.groups,
    "winograd4.in": lambda p: _winograd_tiles(p, 4) * p.w.ic,
    "winograd4.out": lambda p: _winograd_tiles(p, 4) * p.w.oc,
}

# TVM's NCHWc schedules block channels and columns by their divisors: a prime extent is computed one by one.
_BLOCKED: dict[str, Term] = {
    "vector4": lambda p: p.macs / least(divisor(p.w.oc, 16), 4),
    "vector8": lambda p: p.macs / least(divisor(p.w.oc, 16), 8),
    "broadcast": lambda p: p.macs / divisor(p.w.oc, 16),
    "vector.register": lambda p: p.macs / (divisor(p.w.oc, 16) * divisor(p.w.ow, 28)),
}

# `dilated`: as a convolution of the input with zeros between its rows and columns, which is how TVM computes it.
_TRANSPOSED: dict[str, Term] = {
    "macs": lambda p: p.w.macs,
    "dilated": lambda p: p.macs,
    "columns": lambda p: p.places * p.w.ic * p.w.kh * p.w.kw,
    "depth": lambda p: p.depth,
    "oc4": _tiled(4, "oc"),
    "oc8": _tiled(8, "oc"),
    "oc16": _tiled(16, "oc"),
    "ow8": _tiled(8, "ow"),
}

_PRODUCT: dict[str, Term] = _CACHES | {
    "macs": lambda p: p.macs,
    "depth": lambda p: p.w.ic,
    "pack": lambda p: p.w.batch * p.w.ic * (p.w.oc + p.w.ow),
    "outputs": lambda p: p.w.oc * p.places,
    "ic16": lambda p: p.w.oc * p.places * up(p.w.ic, 16),
    "oc16.rows4": lambda p: p.w.batch * up(p.w.oc, 16) * up(p.w.ow, 4) * p.w.ic,
    "broadcast": lambda p: p.macs / divisor(p.w.oc, 16),
    "by.rows": lambda p: p.macs / divisor(p.w.ow, 16),
    "by.both": lambda p: p.macs / (divisor(p.w.oc, 16) * divisor(p.w.ow, 16)),
}
_PRODUCT |= {f"oc{t}": _tiled(t, "oc") for t in (4, 8, 16, 32)}
_PRODUCT |= {f"rows{t}": _tiled(t, "ow") for t in (4, 8, 32)}


def _product_wave(wave: int) -> Term:
    """Whole waves of threads that compute one output each."""
    return lambda p: up(p.w.oc * p.places, wave) * p.w.ic


_PRODUCT |= {f"wave{t}": _product_wave(t) for t in (64, 256, 1024)}

_POOL: dict[str, Term] = _CACHES | {
    "macs": lambda p: p.w.macs,
    "ow4": lambda p: p.w.macs / p.w.ow * up(p.w.ow, 4),
    "ow8": lambda p: p.w.macs / p.w.ow * up(p.w.ow, 8),
    "oc8": lambda p: p.w.macs / p.w.oc * up(p.w.oc, 8),
    "rows": lambda p: p.w.oc * p.rows,
    "outputs": lambda p: p.w.oc * p.places,
    "depth": lambda p: p.w.kh * p.w.kw,
}

# TVM's GPU schedule of injective operators has at most 256 blocks of 256 threads; beyond that each thread loops, with
# a guard that is cheaper where the elements do not fill whole blocks.
_ALL_THREADS, _BLOCK = 65536, 256


def _looped(p: Parts) -> Number:
    """Elements, where each thread has more than one."""
    return p.w.ow * (p.w.ow > _ALL_THREADS)


def _looped_in_blocks(p: Parts) -> Number:
    """The same, where they fill whole blocks."""
    return _looped(p) * (np.rint(p.w.ow) % _BLOCK == 0)


_ELEMENTS: dict[str, Term] = _CACHES | {
    "elements": lambda p: p.w.ow,
    "reduced": lambda p: p.w.ow * p.w.kw,
    "wave1024": lambda p: up(p.w.ow, 1024),
    "wave65536": lambda p: up(p.w.ow, 65536),
    "looped": _looped,
    "looped.blocks": _looped_in_blocks,
}

# For our own schedules on devices made of CPU cores: cycles of the tile that they choose, by what its lanes are.
_WORK_GROUPS: dict[str, Term] = {
    "groups.columns": lambda p: p.cycles()[0],
    "groups.channels": lambda p: p.cycles()[1],
}

_BY_KIND = {
    "conv": _CONVOLUTION,
    "depthwise_conv": _CONVOLUTION,
    "group_conv": _CONVOLUTION,
    "transposed_conv": _TRANSPOSED,
    "dense": _PRODUCT,
    "batch_matmul": _PRODUCT,
    "pool": _POOL,
    "reduce": _ELEMENTS,
    "injective": _ELEMENTS,
    "other": _ELEMENTS,
}


@lru_cache(maxsize=256)
def terms_of(kind: str, algorithm: str, work_groups: bool = False) -> dict[str, Term]:
    """The terms of a class by name: functions of a workload's `Parts`, not negative.

    Parameters
    ----------
    kind, algorithm : str
    work_groups : bool
        Whether it runs by our own OpenCL schedules on CPU cores (see `work_groups`).
    """
    terms = COMMON | _BY_KIND[kind]
    if work_groups and kind in ("conv", "group_conv"):
        terms = terms | _WORK_GROUPS
    if kind in ("conv", "group_conv") and ("3x3" in algorithm or "winograd" in algorithm):
        terms = terms | _WINOGRAD
    return terms | _BLOCKED if algorithm.startswith("nchwc") else terms


def every_term(kind: str) -> dict[str, Term]:
    """All terms that any algorithm of a kind has."""
    return COMMON | _BY_KIND[kind] | _WINOGRAD | _BLOCKED | _WORK_GROUPS
