"""Tiles and cycles of this package's OpenCL convolutions on devices made of CPU cores.

The schedules choose the tile of a work-group by its cost in cycles (`opencl.schedules.windows_on_cores`). This cost is
not smooth: columns may or may not fill vectors, and for a prime number of channels, channels are vectorised instead.
Here the same choice is made with the same coefficients, but vectorised over convolutions and with tables, because the
planner needs thousands of shares in milliseconds. Tiles that are never much better are omitted; 93 to
99 % of the choices are the schedule's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .workload import Number, Workload

# The coefficients of `tvm_coexec.opencl.schedules.windows_on_cores`; a test compares them.
LANES = 8
FMA_REGISTERS, FMA_STRIDED, FMA_MEMORY, FMA_REMAINDER = 0.6, 14.0, 2.0, 7.0
FMA_PARTIAL = np.array((FMA_REGISTERS, 3.0, 8.0, 8.0, 1.5, 1.5, 1.5, 8.0), np.float32)
COPY_INPUT, COPY_WHOLE_INPUT, COPY_PADDED_INPUT = 0.8, 0.2, 1.5
COPY_WEIGHT, COPY_POINTWISE_WEIGHT, GATHER_WEIGHT = 0.8, 0.4, 0.75
PER_OUTPUT, PER_GROUP = 0.5, 200.0
MAX_STATEMENTS, MAX_ACCUMULATORS, MAX_PARTIAL_ACCUMULATORS, MAX_VTHREADS = 256, 24, 48, 56

_GUARDED = (4, 6, 8, 12, 16, 32, 64)  # tiles of channels that need not divide them
_MAX_CHANNELS, _MAX_EXTENT = 4096, 1024  # larger extents are clipped
_POSITIONS, _WIDTHS, _ROWS, _MAP_CHANNELS = 5, 2, (1, 2, 3, 4, 5, 7), 3
_UNUSABLE = np.float32(1e30)
BITS = np.array([i.bit_count() for i in range(LANES)], np.float32)
COLUMNS, MAPS, CHANNELS = 0, 1, 2


@dataclass(frozen=True)
class Tiles:
    """The tiles that the schedule chooses for n convolutions; arrays have shape (n,).

    Attributes
    ----------
    windows : Windows
        The convolutions.
    cycles : array
        Of the whole convolution, as the schedule estimates them.
    layout : array of int
        How a tile is vectorised: `COLUMNS`, `MAPS` (along the whole map of a 1x1 kernel) or `CHANNELS`.
    channels, rows, columns : array
        Extents of a tile.
    """

    windows: Windows
    cycles: np.ndarray
    layout: np.ndarray
    channels: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def choose_tiles(w: Workload) -> Tiles:
    """Choose the tiles of convolutions as the schedule does.

    Parameters
    ----------
    w : Workload
        Of kind ``conv`` or ``group_conv``; n convolutions.
    """
    x = Windows(w)
    best = _Best(len(x.at_c))
    _row_tiles(x, best)
    _whole_maps(x, best)
    _channel_tiles(x, best)
    return Tiles(x, best.cycles * x.repeated.astype(float), best.layout, best.channels, best.rows, best.columns)


class _Best:
    """The cheapest tiles found so far, shape (n,)."""

    def __init__(self, n: int):
        self.cycles = np.full(n, _UNUSABLE)
        self.layout = np.zeros(n, np.int8)
        self.channels, self.rows, self.columns = np.ones((3, n), np.float32)

    def take(self, cycles: np.ndarray, layout: int, channels: Number, rows: Number, columns: Number) -> None:
        """Take tiles where they are cheaper; arrays have shape (tiles, n) or (n,)."""
        if cycles.ndim == 2:
            at = cycles.argmin(axis=0)[None]
            cycles = np.take_along_axis(cycles, at, 0)[0]
            channels, rows, columns = (
                np.take_along_axis(v, at, 0)[0] if isinstance(v, np.ndarray) and v.ndim == 2 else v
                for v in (channels, rows, columns)
            )
        better = cycles < self.cycles
        if better.any():
            self.cycles = np.where(better, cycles, self.cycles)
            self.layout = np.where(better, np.int8(layout), self.layout)
            self.channels = np.where(better, channels, self.channels)
            self.rows = np.where(better, rows, self.rows)
            self.columns = np.where(better, columns, self.columns)


class Windows:
    """Extents of n convolutions, shape (n,): `repeated` is batch times groups, of which the other extents are one.

    Formulas broadcast them over tiles, shape (tiles, n): the long dimension last is what makes numpy fast.
    """

    def __init__(self, w: Workload):
        def column(value: Number) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, np.float32), (w.size,))

        self.repeated = column(w.batch) * column(w.groups)
        self.channels = np.clip(np.rint(column(w.oc) / column(w.groups)), 1, _MAX_CHANNELS - 1)
        self.reduce = np.maximum(1.0, column(w.ic) / column(w.groups))
        self.rows, self.columns = (np.clip(np.rint(column(v)), 1, _MAX_EXTENT - 1) for v in (w.oh, w.ow))
        self.sh, self.sw = column(w.sh), column(w.sw)
        self.beyond_h, self.beyond_w = column(w.kh) - self.sh, column(w.kw) - self.sw
        self.taps = column(w.kh) * column(w.kw)
        inside = (column(w.oh) - 1) * self.sh + column(w.kh) <= column(w.ih)
        inside = inside & ((column(w.ow) - 1) * self.sw + column(w.kw) <= column(w.iw))
        self.copy = np.where(inside, COPY_INPUT, COPY_PADDED_INPUT).astype(np.float32)
        self.exact = w.kind == "group_conv"  # its template has no guards
        self.at_c, self.at_h, self.at_w = (v.astype(int) for v in (self.channels, self.rows, self.columns))

    def count_inputs(self, h: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Count the inputs of each channel that a tile of `h` rows and `w` columns reads."""
        return (h * self.sh + self.beyond_h) * (w * self.sw + self.beyond_w)

    def count_cycles(
        self,
        lanes: np.ndarray,
        weights: np.ndarray,
        read: np.ndarray,
        outputs: np.ndarray,
        count: np.ndarray,
        usable: np.ndarray,
    ) -> np.ndarray:
        """Return the cycles of all work-groups with some tiles, of arrays of shape (tiles, n) or (n,).

        The start of a block of input channels is neglected: a few cycles in thousands.
        """
        per_channel = (lanes + weights) * self.taps + read
        cycles = (self.reduce * per_channel + (PER_GROUP + PER_OUTPUT * outputs)) * count
        return np.where(usable, cycles, _UNUSABLE)


def _row_tiles(x: Windows, best: _Best) -> None:
    """Take tiles with vectorised columns, rows and channels unrolled."""
    widths = np.ascontiguousarray(_width_table()[x.at_w].T)
    over = widths.astype(int) % LANES
    vectors = widths // LANES + BITS[over]
    across = np.ceil(x.columns / widths)
    each = vectors * FMA_PARTIAL[over] * np.where(across * widths != x.columns, 4.0, 1.0)
    each = each * np.where(x.sw > 1, FMA_STRIDED, 1.0)
    limit = np.where(over > 0, MAX_PARTIAL_ACCUMULATORS, MAX_ACCUMULATORS) / vectors
    limit = np.minimum(limit, MAX_STATEMENTS / widths)
    weight = np.where(x.taps == 1, COPY_POINTWISE_WEIGHT, COPY_WEIGHT)
    for rows in _ROWS:
        down = np.ceil(x.rows / rows)
        h = np.ceil(x.rows / down)
        most = np.minimum(limit / h, 64).astype(int)
        slow = np.where((over > 0) & (h * widths < 2 * LANES), 2.0, 1.0) * np.where(
            np.ceil(x.rows / h) * h != x.rows, 1.1, 1.0
        )
        read, slow = x.count_inputs(h, widths) * x.copy, slow * each * h
        for divides in (True,) if x.exact else (True, False):
            c = _largest_tiles(divides)[x.at_c, most]
            usable = c >= 1
            c = np.maximum(c, 1)
            count = np.ceil(x.channels / c) * down * across
            lanes = c * slow if divides else c * slow * 1.3
            cycles = x.count_cycles(lanes, weight * c, read, c * h * widths, count, usable)
            best.take(cycles, COLUMNS, c, h, widths)


def _whole_maps(x: Windows, best: _Best) -> None:
    """Take tiles of 1x1 kernels whose whole map is one row."""
    places = x.rows * x.columns
    vectors = np.ceil(places / LANES)
    limit = np.where(x.columns % LANES > 0, MAX_PARTIAL_ACCUMULATORS, MAX_ACCUMULATORS)
    most = np.minimum(np.minimum(limit / vectors, MAX_STATEMENTS / places), 64).astype(int)
    usable = (x.taps == 1) & (x.sh == 1) & (x.sw == 1) & (most >= 1)
    for _ in range(_MAP_CHANNELS):  # the largest tile may not be the one whose channels together fill vectors
        c = np.maximum(1, _largest_tiles(True)[x.at_c, most])
        over = (c * places).astype(int) % LANES
        lanes = c * vectors * FMA_PARTIAL[np.where(over == 1, 0, over)]
        weights, read = COPY_POINTWISE_WEIGHT * c, COPY_WHOLE_INPUT * places
        cycles = x.count_cycles(lanes, weights, read, c * places, np.ceil(x.channels / c), usable)
        best.take(cycles, MAPS, c, x.rows, x.columns)
        most = np.maximum(c.astype(int) - 1, 0)
        usable = usable & (most >= 1)


def _channel_tiles(x: Windows, best: _Best) -> None:
    """Take tiles with vectorised channels, positions unrolled, accumulators in memory."""
    heights, widths = (np.ascontiguousarray(_position_table()[at].T) for at in (x.at_h, x.at_w))
    across = np.ceil(x.columns / widths)
    ragged = across * widths != x.columns
    for h in heights:
        down = np.ceil(x.rows / h)
        tails = ragged | (down * h != x.rows)
        outputs = h * widths
        worse = np.where(tails, np.where(h == 1, 1.25, 2.5), 1.0) * outputs
        read, count, usable = x.count_inputs(h, widths) * x.copy, across * down, outputs <= MAX_VTHREADS
        for c in np.ascontiguousarray(_channel_table(x.exact)[x.at_c].T):
            lanes = FMA_MEMORY * (c // LANES) + FMA_REMAINDER * (c % LANES)
            lanes = lanes * np.where(x.channels % c > 0, 4.0, 1.0)
            groups = count * np.ceil(x.channels / c)
            cycles = x.count_cycles(lanes * worse, GATHER_WEIGHT * c, read, c * outputs, groups, usable)
            best.take(cycles, CHANNELS, c, h, widths)


def _divisors(n: int, most: int) -> list[int]:
    return [d for d in range(1, min(n, most) + 1) if n % d == 0]


def _even_tile(extent: int, most: int) -> int:
    return -(-extent // -(-extent // most))


def _pad_list(values: list[int], count: int) -> list[int]:
    return (values + values[-1:] * count)[:count]


@lru_cache(maxsize=1)
def _width_table() -> np.ndarray:
    """Return, for each number of columns, the tile widths with the least waste."""
    table = np.ones((_MAX_EXTENT, _WIDTHS), np.float32)
    for extent in range(1, _MAX_EXTENT):
        sizes = [s for s in range(4, 33) if extent % s == 0] or [min(LANES, extent)]
        table[extent] = _pad_list(sorted(sizes, key=_width_cost), _WIDTHS)
    return table


def _width_cost(size: int) -> float:
    """Return cycles per column."""
    over = size % LANES
    small = 2.0 if over and size < 2 * LANES else 1.0
    return (size // LANES + over.bit_count()) * float(FMA_PARTIAL[over]) / size * small


@lru_cache(maxsize=1)
def _position_table() -> np.ndarray:
    """Return tiles of positions for each extent: the largest divisors, and tiles of nearly equal size."""
    table = np.ones((_MAX_EXTENT, _POSITIONS), np.float32)
    for extent in range(1, _MAX_EXTENT):
        # a tile has at most 56 positions: four rows of up to 14
        sizes = {*_divisors(extent, 15)[-3:], _even_tile(extent, 8), 4 if extent % 4 == 0 else _even_tile(extent, 12)}
        table[extent] = _pad_list(sorted(sizes), _POSITIONS)  # of equally good tiles the schedule takes the first
    return table


@lru_cache(maxsize=2)
def _channel_table(exact: bool) -> np.ndarray:
    """Return two tiles for each number of channels: with the fullest vectors, and with fewer copies of the input."""
    table = np.ones((_MAX_CHANNELS, 2), np.float32)
    for extent in range(1, _MAX_CHANNELS):
        possible = set(_divisors(extent, 64)) | (set() if exact else {s for s in _GUARDED if s < extent})
        sizes = sorted(s for s in possible if s >= min(LANES, extent)) or [1]
        costs = [[_channels_cost(extent, s, copied) for s in sizes] for copied in (0.5, 3.0)]
        table[extent] = [sizes[c.index(min(c))] for c in costs]
    return table


def _channels_cost(extent: int, size: int, copied: float) -> float:
    """Return cycles per channel, if copying the input takes `copied` cycles per tile."""
    lanes = FMA_MEMORY * (size // LANES) + FMA_REMAINDER * (size % LANES)
    return (lanes * (4.0 if extent % size else 1.0) + copied) * -(-extent // size) / extent


@lru_cache(maxsize=2)
def _largest_tiles(divides: bool) -> np.ndarray:
    """Return the largest tile for each number of channels and limit: a divisor, or a guarded tile (0: none)."""
    table = np.zeros((_MAX_CHANNELS, 65), np.float32)
    for extent in range(1, _MAX_CHANNELS):
        for size in _divisors(extent, 64) if divides else [s for s in _GUARDED if s < extent and extent % s]:
            table[extent, size:] = size
    return table
