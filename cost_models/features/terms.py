"""Analytic terms: the quantities of which a kernel's time is modelled as a weighted sum.

A term is a function of the workload's extents with a physical meaning: multiply-adds, bytes, or multiply-adds rounded
up to tiles or waves. Fitting finds the seconds per unit of each, which are 0 for most. Terms use operators only, so
that one formula serves numbers and arrays.

Sources: ceilings over blocks and waves, and the three parts of Winograd and of packed GEMM: CoDL (MobiSys 2022, section
5.2); work and bytes by algorithm: Paleo (ICLR 2017, section 4); the bytes of each memory level: the roofline model
(Williams et al., CACM 2009).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .tile_costs import CHANNELS, Tiles, choose_tiles
from .tile_parts import KINDS as TILED
from .tile_parts import PARTS, count_parts
from .workload import Number, Workload

Term = Callable[["Parts"], Number]


class Parts:
    """A workload, and the products of its extents that several terms use."""

    __slots__ = ("_tile_parts", "_tiles", "depth", "depth4", "macs", "positions", "rows", "w", "work")

    def __init__(self, w: Workload):
        self.w = w
        self.rows = w.batch * w.oh
        self.positions = self.rows * w.ow
        self.depth = w.kh * w.kw * w.ic / w.groups  # multiply-adds per output
        self.depth4 = w.kh * w.kw * round_up(w.ic, 4) / w.groups
        self.work = w.oc * self.depth
        self.macs = self.work * self.positions
        self._tiles: Tiles | None = None
        self._tile_parts: dict[str, np.ndarray] | None = None

    def tiles(self) -> Tiles:
        """Return the tiles that this package's OpenCL schedules choose on CPU cores; worked out once."""
        if self._tiles is None:
            self._tiles = choose_tiles(self.w)
        return self._tiles

    def tile_parts(self) -> dict[str, np.ndarray]:
        """Return what those tiles consist of; counted once."""
        if self._tile_parts is None:
            self._tile_parts = count_parts(self.tiles())
        return self._tile_parts


def round_up(extent: Number, tile: int) -> Number:
    """Round an extent up to a multiple of `tile`."""
    if isinstance(extent, np.ndarray):
        return np.ceil(extent / tile) * tile
    return -(-extent // tile) * tile


_MAX_EXTENT = 4096


def largest_divisor(extent: Number, most: int) -> Number:
    """Return the largest divisor up to `most`, as TVM's fallback configurations block an extent."""
    if isinstance(extent, np.ndarray):
        inside = np.minimum(extent, _MAX_EXTENT - 1).astype(np.int64)
        found = _divisors(most)[inside]
        large = extent >= _MAX_EXTENT
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
    table = np.ones(_MAX_EXTENT)
    for candidate in range(2, most + 1):
        table[::candidate] = candidate
    return table


def minimum(value: Number, limit: int) -> Number:
    """Return the smaller of the two."""
    return np.minimum(value, limit) if isinstance(value, np.ndarray) else min(value, limit)


# `special`: FLOP equivalents of exponentials, divisions and the like (see `special_functions`).
COMMON: dict[str, Term] = {
    "one": lambda p: 1.0,
    "in": lambda p: p.w.in_bytes,
    "out": lambda p: p.w.out_bytes,
    "weights": lambda p: p.w.weight_bytes,
    "flops": lambda p: p.w.flops,
    "epilogue": lambda p: p.w.fused * p.w.out_bytes,
    "special": lambda p: p.w.special,
}
# Of the roofline over all classes only; in a class it would be the sum of two other terms.
ROOFLINE: dict[str, Term] = {
    "flops.special": lambda p: p.w.flops + p.w.special,
    "flops.special.cores": lambda p: p.w.flops + p.w.special_on_cores,
}


def _bytes_beyond(cache: int) -> Term:
    """Bytes moved in excess of a cache of `cache` bytes."""

    def term(p: Parts) -> Number:
        moved = p.w.traffic_bytes
        return moved - minimum(moved, cache)

    return term


# For memory-bound kernels.
_CACHES: dict[str, Term] = {f"beyond{size >> 10}k": _bytes_beyond(size) for size in (1 << 18, 1 << 21, 1 << 24)}

# Strides of so many bytes map to the same sets of a first-level cache of 64 lines per way, as almost all CPUs have.
_SETS_BYTES = 4096


def power_of_two_in(stride_bytes: Number) -> Number:
    """Return the largest power of two up to `_SETS_BYTES` that divides a stride in bytes."""
    return np.gcd(np.rint(stride_bytes).astype(np.int64), _SETS_BYTES)


def _strided_macs(least: int, channels: int, blocked: bool) -> Term:
    """Multiply-adds, if input channels are `least` bytes or a multiple apart, and more than a cache has ways.

    Parameters
    ----------
    least : int
        Power of two.
    channels : int
        Least number of channels, or of blocks of them, that one output reads.
    blocked : bool
        Whether channels are stored in blocks.
    """

    def term(p: Parts) -> Number:
        block = largest_divisor(p.w.ic, 16) if blocked else 1
        stride = np.asarray(4.0 * p.w.ih * p.w.iw * block)
        return p.macs * ((power_of_two_in(stride) >= least) & (p.w.ic / block >= channels))

    return term


def _far_input(size: int) -> Term:
    """Bytes of an input beyond `size` bytes that are read once for every sixteen output channels."""
    return lambda p: p.w.in_bytes * round_up(p.w.oc, 16) / 16 * (p.w.in_bytes > size)


def _far_weights(size: int) -> Term:
    """Bytes of weights beyond `size` bytes that are read once for every output row."""
    return lambda p: p.w.weight_bytes * p.rows * (p.w.weight_bytes > size)


def _strided_product(least: int) -> Term:
    """Multiply-adds of a product whose rows of weights are `least` bytes or a multiple apart."""
    return lambda p: p.macs * (power_of_two_in(np.asarray(4.0 * p.w.ic)) >= least)


# Includes the latency of one output's additions (`depth`), the input that im2col or packing writes (`columns`), and
# accumulators in memory (`accumulate`).
_CONVOLUTION: dict[str, Term] = {
    "macs": lambda p: p.macs,
    "depth": lambda p: p.depth,
    "rows": lambda p: p.w.oc * p.rows,
    "columns": lambda p: p.positions * p.depth * p.w.groups,
    "accumulate": lambda p: p.w.oc * p.positions * p.w.ic / p.w.groups,
    "weights.rows": lambda p: p.w.weight_bytes * p.rows,
    "in.oc32": lambda p: p.w.in_bytes * round_up(p.w.oc, 32) / 32,
    "oc4.place4": lambda p: round_up(p.w.oc, 4) * p.depth * round_up(p.positions, 4),
    "oc8.ow8": lambda p: round_up(p.w.oc, 8) * p.depth * p.rows * round_up(p.w.ow, 8),
}


def _tile_macs(tile: int, extent: str) -> Term:
    """Multiply-adds with one extent rounded up to tiles."""
    if extent == "oc":
        return lambda p: round_up(p.w.oc, tile) * p.depth * p.positions
    if extent == "ow":
        return lambda p: p.work * p.rows * round_up(p.w.ow, tile)
    return lambda p: p.work * round_up(p.positions, tile)


def _group_macs(channels: int, columns: int, rows: int) -> Term:
    """Multiply-adds of whole work-groups of that many outputs; input channels are read four at a time.

    With 0 rows, rows and columns of the map are one axis.
    """
    return lambda p: _padded_outputs(p, channels, columns, rows) * p.depth4


def _wave_macs(channels: int, columns: int, rows: int, groups: int) -> Term:
    """As `_group_macs`, for whole waves of `groups` work-groups."""
    tile = channels * columns * max(1, rows)
    return lambda p: round_up(_padded_outputs(p, channels, columns, rows) / tile, groups) * tile * p.depth4


def _padded_outputs(p: Parts, channels: int, columns: int, rows: int) -> Number:
    w = p.w
    if not rows:
        return round_up(w.oc, channels) * round_up(w.ow * w.oh, columns) * w.batch
    return round_up(w.oc, channels) * round_up(w.ow, columns) * round_up(w.oh, rows) * w.batch


def _thread_wave_macs(wave: int) -> Term:
    """Multiply-adds of whole waves of threads that compute four channels each."""
    return lambda p: round_up(round_up(p.w.oc, 4) / 4 * p.positions, wave) * p.depth


_CONCURRENT_GROUPS = (8, 32)  # work-groups that a device has in flight
_GROUPS = ((4, 2, 2), (8, 2, 2), (4, 8, 4), (8, 16, 4), (4, 16, 8), (16, 8, 2), (8, 32, 2))
_FLAT_GROUPS = ((4, 32, 0), (8, 64, 0), (4, 128, 0), (8, 256, 0))

_CONVOLUTION |= {f"far{size >> 10}k": _far_input(size) for size in (1 << 19, 1 << 20, 1 << 21, 1 << 22)}
_CONVOLUTION |= {f"weights.far{size >> 10}k": _far_weights(size) for size in (1 << 19, 1 << 20, 1 << 21)}
_CONVOLUTION |= {f"strided{n}": _strided_macs(n, 16, blocked=False) for n in (1024, 2048, _SETS_BYTES)}
_CONVOLUTION |= {f"oc{t}": _tile_macs(t, "oc") for t in (4, 8, 16, 32)}
_CONVOLUTION |= {f"ow{t}": _tile_macs(t, "ow") for t in (2, 4, 8)}
_CONVOLUTION |= {f"place{t}": _tile_macs(t, "place") for t in (4, 16, 64)}
_CONVOLUTION |= {f"wave{t}": _thread_wave_macs(t) for t in (64, 256, 1024)}
for _shape in _GROUPS + _FLAT_GROUPS:
    _name = "tile" + "x".join(str(e) for e in _shape if e)
    _CONVOLUTION[_name] = _group_macs(*_shape)
    _CONVOLUTION |= {f"{_name}.wave{n}": _wave_macs(*_shape, n) for n in _CONCURRENT_GROUPS}


def _winograd_tiles(p: Parts, tile: int) -> Number:
    """Return the elements of all transformed tiles of one channel."""
    return p.w.batch * round_up(p.w.oh, tile) * round_up(p.w.ow, tile) * ((tile + 2) ** 2 / tile**2)


# For convolutions that may be computed by Winograd's algorithm: 3x3 kernels of stride one.
_WINOGRAD: dict[str, Term] = {
    "winograd2": lambda p: _winograd_tiles(p, 2) * p.w.ic * p.w.oc / p.w.groups,
    "winograd2.in": lambda p: _winograd_tiles(p, 2) * p.w.ic,
    "winograd2.out": lambda p: _winograd_tiles(p, 2) * p.w.oc,
    "winograd4": lambda p: _winograd_tiles(p, 4) * p.w.ic * p.w.oc / p.w.groups,
    "winograd4.in": lambda p: _winograd_tiles(p, 4) * p.w.ic,
    "winograd4.out": lambda p: _winograd_tiles(p, 4) * p.w.oc,
}

# TVM's NCHWc schedules block channels and columns by their divisors: a prime extent has blocks of one.
_BLOCKED: dict[str, Term] = {
    "vector4": lambda p: p.macs / minimum(largest_divisor(p.w.oc, 16), 4),
    "vector8": lambda p: p.macs / minimum(largest_divisor(p.w.oc, 16), 8),
    "broadcast": lambda p: p.macs / largest_divisor(p.w.oc, 16),
    "vector.register": lambda p: p.macs / (largest_divisor(p.w.oc, 16) * largest_divisor(p.w.ow, 28)),
}

_BLOCKED |= {f"strided.blocks{n}": _strided_macs(_SETS_BYTES, n, blocked=True) for n in (4, 12, 24)}

# As those above, by the channels of one group, which are what grouped convolutions are blocked by.
_GROUPED: dict[str, Term] = {
    "group.broadcast": lambda p: p.macs / largest_divisor(p.w.oc / p.w.groups, 16),
    "group.vector4": lambda p: p.macs / minimum(largest_divisor(p.w.oc / p.w.groups, 16), 4),
    "group.reduced": lambda p: p.macs / largest_divisor(p.w.ic / p.w.groups, 16),
}

# `dilated`: TVM computes it as a convolution of the input with zeros between its rows and columns.
_TRANSPOSED: dict[str, Term] = {
    "macs": lambda p: p.w.macs,
    "dilated": lambda p: p.macs,
    "columns": lambda p: p.positions * p.w.ic * p.w.kh * p.w.kw,
    "depth": lambda p: p.depth,
    "oc4": _tile_macs(4, "oc"),
    "oc8": _tile_macs(8, "oc"),
    "oc16": _tile_macs(16, "oc"),
    "ow8": _tile_macs(8, "ow"),
}

_PRODUCT: dict[str, Term] = _CACHES | {
    "macs": lambda p: p.macs,
    "depth": lambda p: p.w.ic,
    "pack": lambda p: p.w.batch * p.w.ic * (p.w.oc + p.w.ow),
    "outputs": lambda p: p.w.oc * p.positions,
    "ic16": lambda p: p.w.oc * p.positions * round_up(p.w.ic, 16),
    "oc16.rows4": lambda p: p.w.batch * round_up(p.w.oc, 16) * round_up(p.w.ow, 4) * p.w.ic,
    "broadcast": lambda p: p.macs / largest_divisor(p.w.oc, 16),
    "by.rows": lambda p: p.macs / largest_divisor(p.w.ow, 16),
    "by.both": lambda p: p.macs / (largest_divisor(p.w.oc, 16) * largest_divisor(p.w.ow, 16)),
}
_PRODUCT |= {f"strided{n}": _strided_product(n) for n in (1024, 2048, _SETS_BYTES)}
_PRODUCT |= {f"oc{t}": _tile_macs(t, "oc") for t in (4, 8, 16, 32)}
_PRODUCT |= {f"rows{t}": _tile_macs(t, "ow") for t in (4, 8, 32)}


def _product_wave_macs(wave: int) -> Term:
    """Multiply-adds of whole waves of threads that compute one output each."""
    return lambda p: round_up(p.w.oc * p.positions, wave) * p.w.ic


_PRODUCT |= {f"wave{t}": _product_wave_macs(t) for t in (64, 256, 1024)}


def _padded_columns(p: Parts) -> Number:
    """Multiply-adds, if windows reach beyond the columns: each column is compared with the bounds."""
    return p.w.macs * ((p.w.ow - 1) * p.w.sw + p.w.kw > p.w.iw)


_POOL: dict[str, Term] = _CACHES | {
    "padded": _padded_columns,
    "padded.stride1": lambda p: _padded_columns(p) * (p.w.sw == 1),
    "macs": lambda p: p.w.macs,
    "ow4": lambda p: p.w.macs / p.w.ow * round_up(p.w.ow, 4),
    "ow8": lambda p: p.w.macs / p.w.ow * round_up(p.w.ow, 8),
    "oc8": lambda p: p.w.macs / p.w.oc * round_up(p.w.oc, 8),
    "rows": lambda p: p.w.oc * p.rows,
    "outputs": lambda p: p.w.oc * p.positions,
    "depth": lambda p: p.w.kh * p.w.kw,
}

# TVM's GPU schedule of injective operators has at most 256 blocks of 256 threads; for more elements each thread loops,
# with a guard that is cheaper if the elements do not fill whole blocks.
_ALL_THREADS, _BLOCK = 65536, 256


def _looped_elements(p: Parts) -> Number:
    """Elements, if threads loop."""
    return p.w.ow * (p.w.ow > _ALL_THREADS)


def _looped_block_elements(p: Parts) -> Number:
    """Elements, if threads loop and the elements fill whole blocks."""
    return _looped_elements(p) * (np.rint(p.w.ow) % _BLOCK == 0)


_ELEMENTS: dict[str, Term] = _CACHES | {
    "elements": lambda p: p.w.ow,
    "reduced": lambda p: p.w.ow * p.w.kw,
    "wave1024": lambda p: round_up(p.w.ow, 1024),
    "wave65536": lambda p: round_up(p.w.ow, 65536),
    "looped": _looped_elements,
    "looped.blocks": _looped_block_elements,
}

# For this package's schedules on devices made of CPU cores: cycles of the tiles that they choose, by vectorised axis,
# and what these tiles consist of.
_WORK_GROUPS: dict[str, Term] = {
    "groups.columns": lambda p: p.tiles().cycles * (p.tiles().layout != CHANNELS),
    "groups.channels": lambda p: p.tiles().cycles * (p.tiles().layout == CHANNELS),
}


def _tile_part(name: str) -> Term:
    return lambda p: p.tile_parts()[name]


_WORK_GROUPS |= {f"tiles.{name}": _tile_part(name) for name in PARTS}

_ON_CORES: dict[str, Term] = {"special.cores": lambda p: p.w.special_on_cores}

_BY_KIND = {
    "conv": _CONVOLUTION,
    "depthwise_conv": _CONVOLUTION,
    "group_conv": _CONVOLUTION | _GROUPED,
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
    """Return the terms of a class by name: non-negative functions of `Parts`.

    Parameters
    ----------
    kind, algorithm : str
    work_groups : bool
        Whether kernels have this package's OpenCL schedules on CPU cores (see `tile_costs`).
    """
    terms = COMMON | _BY_KIND[kind]
    if work_groups:
        terms = terms | _ON_CORES
    if work_groups and kind in TILED:
        terms = terms | _WORK_GROUPS
    if kind in ("conv", "group_conv") and ("3x3" in algorithm or "winograd" in algorithm):
        terms = terms | _WINOGRAD
    return terms | _BLOCKED if algorithm.startswith("nchwc") else terms


def all_terms(kind: str) -> dict[str, Term]:
    """Return the terms of all algorithms of a kind."""
    return COMMON | _BY_KIND[kind] | _WINOGRAD | _BLOCKED | _WORK_GROUPS | _ON_CORES | ROOFLINE
