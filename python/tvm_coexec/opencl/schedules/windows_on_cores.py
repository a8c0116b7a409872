"""Tiles of windowed operators for devices that run work-groups as loops on CPU cores, by their estimated cost.

Terms of the cost, per input channel and work-group: multiply-adds of the tile (including those wasted at the edges),
copying the input region, copying the weights. The coefficients are cycles, fitted to pocl on AVX-512; only their ratios
matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

from .device import DeviceTraits
from .tiles import ceil_div, divisors, even_tile
from .window import Tile, Window, choose_reduce_block

# Cycles per multiply-add of 8 floats, per copied input element and per copied weight.
_FMA_REGISTERS = 0.6  # columns as lanes: accumulators stay in registers
# The same by the remainder of a row modulo the vector width: the remainder is computed in smaller vectors, at best.
_FMA_PARTIAL = (_FMA_REGISTERS, 3.0, 8.0, 8.0, 1.5, 1.5, 1.5, 8.0)
_FMA_STRIDED = 14.0  # factor if neighbouring outputs do not read neighbouring inputs
_FMA_MEMORY = 2.0  # channels as lanes: load, multiply-add, store
_FMA_LEFT_OVER = 7.0  # the same for a channel that does not fill a vector
_COPY_INPUT = 0.8
_COPY_WHOLE_INPUT = 0.2  # whole channels are contiguous
_COPY_PADDED_INPUT = 1.5
_COPY_WEIGHT = 0.8
_COPY_POINTWISE_WEIGHT = 0.4
_GATHER_WEIGHT = 0.75
_PER_REDUCE_BLOCK = 60.0
_PER_OUTPUT = 0.5
_PER_GROUP = 200.0

_LANES = 8
_MAX_STATEMENTS = 256  # of an unrolled tile: with more, pocl's compiler takes seconds
_MAX_ACCUMULATORS = 24  # vector registers that an unrolled tile may take
_MAX_PARTIAL_ACCUMULATORS = 48  # the same for partly filled vectors: copying less input outweighs spilling
_MAX_VTHREAD = 15  # TVM unrolls no more virtual threads than this
_MAX_VTHREADS = 56
_MAX_ROWS = 7  # of an unrolled tile, except for whole channels
_PER_TAP_REDUCE = 4, 16  # input channels at a time if each tap copies them; lanes are columns, or channels


def core_tiles(window: Window, traits: DeviceTraits, exact: bool) -> Iterator[Tile]:
    """One work-item per work-group, vectorised along columns or along channels.

    Columns: TVM unrolls the whole tile; the compiler keeps it in registers and vectorises neighbours. Fast if the
    columns are contiguous in the input (stride 1) and a multiple of the vector width.
    Channels: the innermost loop runs over channels, positions are unrolled as virtual threads. The accumulators stay in
    memory, but any width and stride is fast enough.
    """
    for channels in _channel_tiles(window.channels, exact, 1):
        for spatial in _column_tiles(window):
            statements = channels * prod(spatial)
            limit = _MAX_PARTIAL_ACCUMULATORS if spatial[-1] % _LANES else _MAX_ACCUMULATORS
            if statements <= _MAX_STATEMENTS and channels * _vectors(window, spatial) <= limit:
                most = _PER_TAP_REDUCE[0] if window.per_tap else window.reduce
                reduce = choose_reduce_block(window, channels, spatial, traits.local_bytes, most)
                cost = core_cost(window, channels, spatial, reduce, columns=True)
                split = tuple((1, 1, t) for t in spatial)
                yield Tile((1, 1, channels), split, reduce, statements, 1, cost)
    for channels in _channel_tiles(window.channels, exact, min(_LANES, window.channels)):
        for spatial in _position_tiles(window):
            most = _PER_TAP_REDUCE[1] if window.per_tap else window.reduce
            reduce = choose_reduce_block(window, channels, spatial, traits.local_bytes, most)
            cost = core_cost(window, channels, spatial, reduce, columns=False)
            split = tuple((t, 1, 1) for t in spatial)
            yield Tile((1, 1, channels), split, reduce, 0, 0, cost)


def _channel_tiles(channels: int, exact: bool, least: int) -> list[int]:
    sizes = {d for d in divisors(channels) if d <= 64}
    if not exact:
        sizes |= {c for c in (4, 6, 8, 12, 16, 32, 64) if c < channels}
    return sorted(c for c in sizes if c >= least) or [1]


def _column_tiles(window: Window) -> list[tuple[int, ...]]:
    *outer, width = window.out
    widths = [w for w in (8, 16, 24, 32) if width % w == 0] + [w for w in divisors(width) if 4 <= w <= 32]
    rows = [sorted({even_tile(o, n) for n in range(1, _MAX_ROWS + 1)}) for o in outer[-1:]]
    ones = [[1]] * (len(outer) - len(rows))
    tiles = list(product(*ones, *rows, sorted(set(widths or [min(8, width)]))))
    return [*tiles, window.out] if _is_whole(window, window.out) else tiles


def _position_tiles(window: Window) -> list[tuple[int, ...]]:
    def sizes(extent: int) -> list[int]:
        return sorted(
            {d for d in divisors(extent) if d <= _MAX_VTHREAD} | {even_tile(extent, n) for n in (4, 6, 8, 12)}
        )

    *outer, width = window.out
    ones = [[1]] * max(0, len(outer) - 1)
    tiles = product(*ones, *(sizes(o) for o in outer[-1:]), sizes(width))
    return [t for t in tiles if prod(t) <= _MAX_VTHREADS]


def _vectors(window: Window, spatial: tuple[int, ...]) -> int:
    """Return the number of vectors of a tile's columns, for one channel."""
    if _is_whole(window, spatial):
        return ceil_div(prod(spatial), _LANES)
    return prod(spatial[:-1]) * (spatial[-1] // _LANES + (spatial[-1] % _LANES).bit_count())


def _is_whole(window: Window, spatial: tuple[int, ...]) -> bool:
    """Return whether a tile is whole channels of a 1x1 kernel, which are one long row, also across channels."""
    return window.taps == 1 and spatial == window.out and prod(window.stride) == 1 and not window.padded


def core_cost(window: Window, channels: int, spatial: tuple[int, ...], reduce: int, columns: bool) -> float:
    """Return the cycles of the whole operator with a tile whose lanes are columns, or channels."""
    tails = [o % t != 0 for o, t in zip(window.out, spatial, strict=True)]
    channel_tail = window.channels % channels != 0
    if columns:
        whole = _is_whole(window, spatial)
        over = (channels * prod(spatial) if whole else spatial[-1]) % _LANES
        fma = channels * _vectors(window, spatial) * _FMA_PARTIAL[0 if whole and over == 1 else over]
        fma *= 2.0 if over and not whole and prod(spatial) < 2 * _LANES else 1.0
        fma *= (_FMA_STRIDED if window.stride[-1] > 1 else 1.0) * (4.0 if tails[-1] else 1.0)
        fma *= (1.1 if any(tails[:-1]) else 1.0) * (1.3 if channel_tail else 1.0)
        weight = _COPY_POINTWISE_WEIGHT if window.taps == 1 else _COPY_WEIGHT
    else:
        lanes = _FMA_MEMORY * (channels // _LANES) + _FMA_LEFT_OVER * (channels % _LANES)
        fma = lanes * prod(spatial)
        if any(tails):
            fma *= 1.25 if prod(spatial[:-1]) == 1 else 2.5
        fma *= 4.0 if channel_tail else 1.0
        weight = _GATHER_WEIGHT
    copy = _COPY_PADDED_INPUT if window.padded else _COPY_INPUT
    copy = _COPY_WHOLE_INPUT if columns and _is_whole(window, spatial) else copy
    loads = window.region(spatial) * copy * (window.taps if window.per_tap else 1)
    per_channel = fma * window.taps + loads + weight * channels * window.taps
    blocks = ceil_div(window.reduce, reduce) * (window.taps if window.per_tap else 1)
    per_group = window.reduce * per_channel + blocks * _PER_REDUCE_BLOCK + _PER_GROUP
    per_group += _PER_OUTPUT * channels * prod(spatial)
    groups = ceil_div(window.channels, channels) * prod(
        ceil_div(o, t) for o, t in zip(window.out, spatial, strict=True)
    )
    return window.batch * window.groups * groups * per_group
