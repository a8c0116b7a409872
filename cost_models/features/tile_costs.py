"""What the work-groups of our OpenCL convolutions cost, on devices made of CPU cores.

Our schedules choose the tile of a work-group by its cost in cycles (`opencl.schedules.windows`), and that cost
jumps: columns fill vectors or don't, a prime number of channels has no good tile, and then the schedule turns to
vectors of channels. The same choice is made here, by the same coefficients, for many convolutions at once and from
tables, since a planner asks for thousands of shares in milliseconds. Tiles that are never much better are left out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .workload import Number, Workload

# The coefficients of `tvm_coexec.opencl.schedules.windows`, which a test holds them against.
LANES = 8
FMA_REGISTERS, FMA_STRIDED, FMA_MEMORY, FMA_LEFT_OVER = 0.6, 14.0, 2.0, 7.0
FMA_PARTIAL = np.array((FMA_REGISTERS, 3.0, 8.0, 8.0, 1.5, 1.5, 1.5, 8.0), np.float32)
COPY_INPUT, COPY_WHOLE_INPUT, COPY_PADDED_INPUT = 0.8, 0.2, 1.5
COPY_WEIGHT, COPY_POINTWISE_WEIGHT, GATHER_WEIGHT = 0.8, 0.4, 0.75
PER_OUTPUT, PER_GROUP = 0.5, 200.0
MAX_STATEMENTS, MAX_ACCUMULATORS, MAX_PARTIAL_ACCUMULATORS, MAX_VTHREADS = 256, 24, 48, 56

_GUARDED = (4, 6, 8, 12, 16, 32, 64)  # tiles of channels that need not divide them
_CHANNELS_TO, _EXTENTS_TO = 4096, 1024  # beyond, extents are taken as these
_POSITIONS, _WIDTHS, _ROWS = 4, 2, (1, 2, 3, 7)
_NONE = np.float32(1e30)
_BITS = np.array([i.bit_count() for i in range(LANES)], np.float32)


def cycles(w: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of convolutions by what the lanes of their tiles are.

    Parameters
    ----------
    w : Workload
        Of kind ``conv`` or ``group_conv``, for n convolutions.

    Returns
    -------
    tuple of array
        Columns as lanes, and channels as lanes, shape (n,) each: 0 where the schedule chooses the other.
    """
    x = _Windows(w)
    columns, channels = np.minimum(_row_tiles(x), _whole_maps(x)).astype(float), _channel_tiles(x).astype(float)
    return np.where(columns <= channels, columns, 0.0), np.where(columns <= channels, 0.0, channels)


class _Windows:
    """The extents of many convolutions, shape (n, 1): formulas add a column for each tile."""

    def __init__(self, w: Workload):
        def column(value: Number) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, np.float32), (w.size,))[:, None]

        self.repeated = column(w.batch) * column(w.groups)
        self.channels = np.clip(np.rint(column(w.oc) / column(w.groups)), 1, _CHANNELS_TO - 1)
        self.reduce = np.maximum(1.0, column(w.ic) / column(w.groups))
        self.rows, self.columns = (np.clip(np.rint(column(v)), 1, _EXTENTS_TO - 1) for v in (w.oh, w.ow))
        self.sh, self.sw = column(w.sh), column(w.sw)
        self.beyond_h, self.beyond_w = column(w.kh) - self.sh, column(w.kw) - self.sw
        self.taps = column(w.kh) * column(w.kw)
        inside = (column(w.oh) - 1) * self.sh + column(w.kh) <= column(w.ih)
        inside = inside & ((column(w.ow) - 1) * self.sw + column(w.kw) <= column(w.iw))
        self.copy = np.where(inside, COPY_INPUT, COPY_PADDED_INPUT).astype(np.float32)
        self.exact = w.kind == "group_conv"  # its template guards no edge
        self.at_c, self.at_h, self.at_w = (v[:, 0].astype(int) for v in (self.channels, self.rows, self.columns))

    def read(self, h: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Inputs that a tile of rows and columns reads of each channel."""
        return (h * self.sh + self.beyond_h) * (w * self.sw + self.beyond_w)

    def best(
        self,
        lanes: np.ndarray,
        weights: np.ndarray,
        read: np.ndarray,
        outputs: np.ndarray,
        count: np.ndarray,
        usable: np.ndarray,
    ) -> np.ndarray:
        """Cycles of all work-groups with the cheapest of some tiles, shape (n,).

        What it takes to begin a block of input channels is left out: it is some cycles in thousands.
        """
        per_channel = (lanes + weights) * self.taps + read
        cycles = (self.reduce * per_channel + (PER_GROUP + PER_OUTPUT * outputs)) * count
        return np.where(usable, cycles, _NONE).min(axis=1)


def _row_tiles(x: _Windows) -> np.ndarray:
    """Columns as lanes, some rows and channels unrolled."""
    found = np.full(len(x.at_c), _NONE)
    widths = _widths()[x.at_w]
    over = widths.astype(int) % LANES
    vectors = widths // LANES + _BITS[over]
    each = vectors * FMA_PARTIAL[over] * np.where(x.columns % widths > 0, 4.0, 1.0)
    each = each * np.where(x.sw > 1, FMA_STRIDED, 1.0)
    limit = np.where(over > 0, MAX_PARTIAL_ACCUMULATORS, MAX_ACCUMULATORS) / vectors
    limit = np.minimum(limit, MAX_STATEMENTS / widths)
    across = np.ceil(x.columns / widths)
    weight = np.where(x.taps == 1, COPY_POINTWISE_WEIGHT, COPY_WEIGHT)
    for rows in _ROWS:
        down = np.ceil(x.rows / rows)
        h = np.ceil(x.rows / down)
        most = np.minimum(limit / h, 64).astype(int)
        slow = np.where((over > 0) & (h * widths < 2 * LANES), 2.0, 1.0) * np.where(x.rows % h > 0, 1.1, 1.0)
        read, slow = x.read(h, widths) * x.copy, slow * each * h
        for divides in (True,) if x.exact else (True, False):
            c = _largest(divides)[x.at_c[:, None], most]
            usable = c >= 1
            c = np.maximum(c, 1)
            count = np.ceil(x.channels / c) * down * across
            lanes = c * slow if divides else c * slow * 1.3
            found = np.minimum(found, x.best(lanes, weight * c, read, c * h * widths, count, usable))
    return found * x.repeated[:, 0]


def _whole_maps(x: _Windows) -> np.ndarray:
    """Maps that are taken whole under a 1x1 kernel: one long row."""
    places = x.rows * x.columns
    vectors = np.ceil(places / LANES)
    limit = np.where(x.columns % LANES > 0, MAX_PARTIAL_ACCUMULATORS, MAX_ACCUMULATORS)
    most = np.minimum(np.minimum(limit / vectors, MAX_STATEMENTS / places), 64).astype(int)
    c = np.maximum(1, _largest(True)[x.at_c[:, None], most])
    over = (c * places).astype(int) % LANES
    lanes = c * vectors * FMA_PARTIAL[np.where(over == 1, 0, over)]
    usable = (x.taps == 1) & (x.sh == 1) & (x.sw == 1) & (most >= 1)
    count = np.ceil(x.channels / c)
    weights, read = COPY_POINTWISE_WEIGHT * c, COPY_WHOLE_INPUT * places
    return x.best(lanes, weights, read, c * places, count, usable) * x.repeated[:, 0]


def _channel_tiles(x: _Windows) -> np.ndarray:
    """Channels as lanes, positions unrolled; accumulators stay in memory."""
    found = np.full(len(x.at_c), _NONE)
    heights, widths = _positions()[x.at_h], _positions()[x.at_w]
    across, ragged = np.ceil(x.columns / widths), x.columns % widths > 0
    for j in range(_POSITIONS):
        h = heights[:, j : j + 1]
        tails = ragged | (x.rows % h > 0)
        outputs = h * widths
        worse = np.where(tails, np.where(h == 1, 1.25, 2.5), 1.0) * outputs
        read, count, usable = x.read(h, widths) * x.copy, across * np.ceil(x.rows / h), outputs <= MAX_VTHREADS
        for tile in np.moveaxis(_channels(x.exact)[x.at_c], 1, 0):
            c = tile[:, None]
            lanes = FMA_MEMORY * (c // LANES) + FMA_LEFT_OVER * (c % LANES)
            lanes = lanes * np.where(x.channels % c > 0, 4.0, 1.0)
            groups = count * np.ceil(x.channels / c)
            found = np.minimum(found, x.best(lanes * worse, GATHER_WEIGHT * c, read, c * outputs, groups, usable))
    return found * x.repeated[:, 0]


def _divisors(n: int, most: int) -> list[int]:
    return [d for d in range(1, min(n, most) + 1) if n % d == 0]


def _even(extent: int, most: int) -> int:
    return -(-extent // -(-extent // most))


def _filled(values: list[int], count: int) -> list[int]:
    return (values + values[-1:] * count)[:count]


@lru_cache(maxsize=1)
def _widths() -> np.ndarray:
    """Per number of columns the widths of tiles that waste least."""
    table = np.ones((_EXTENTS_TO, _WIDTHS), np.float32)
    for extent in range(1, _EXTENTS_TO):
        sizes = [s for s in range(4, 33) if extent % s == 0] or [min(LANES, extent)]
        table[extent] = _filled(sorted(sizes, key=_width_cost), _WIDTHS)
    return table


def _width_cost(size: int) -> float:
    """Cycles a column."""
    over = size % LANES
    small = 2.0 if over and size < 2 * LANES else 1.0
    return (size // LANES + over.bit_count()) * float(FMA_PARTIAL[over]) / size * small


@lru_cache(maxsize=1)
def _positions() -> np.ndarray:
    """Per extent some tiles of positions: the largest divisors, and even tiles."""
    table = np.ones((_EXTENTS_TO, _POSITIONS), np.float32)
    for extent in range(1, _EXTENTS_TO):
        sizes = dict.fromkeys([*_divisors(extent, 15)[::-1][:3], _even(extent, 8), _even(extent, 12)])
        table[extent] = _filled(list(sizes), _POSITIONS)
    return table


@lru_cache(maxsize=2)
def _channels(exact: bool) -> np.ndarray:
    """Per number of channels two tiles: the one with the fullest vectors, and one that copies less input."""
    table = np.ones((_CHANNELS_TO, 2), np.float32)
    for extent in range(1, _CHANNELS_TO):
        possible = set(_divisors(extent, 64)) | (set() if exact else {s for s in _GUARDED if s < extent})
        sizes = sorted(s for s in possible if s >= min(LANES, extent)) or [1]
        costs = [[_channels_cost(extent, s, copied) for s in sizes] for copied in (0.5, 3.0)]
        table[extent] = [sizes[c.index(min(c))] for c in costs]
    return table


def _channels_cost(extent: int, size: int, copied: float) -> float:
    """Cycles a channel, where copying the input takes so many for each tile."""
    lanes = FMA_MEMORY * (size // LANES) + FMA_LEFT_OVER * (size % LANES)
    return (lanes * (4.0 if extent % size else 1.0) + copied) * -(-extent // size) / extent


@lru_cache(maxsize=2)
def _largest(divides: bool) -> np.ndarray:
    """Per number of channels and limit the largest tile: a divisor, or one that is guarded (0 where there is none)."""
    table = np.zeros((_CHANNELS_TO, 65), np.float32)
    for extent in range(1, _CHANNELS_TO):
        for size in _divisors(extent, 64) if divides else [s for s in _GUARDED if s < extent and extent % s]:
            table[extent, size:] = size
    return table
