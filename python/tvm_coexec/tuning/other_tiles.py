"""Cost of convolution tiles that this package's schedules never choose, on OpenCL devices made of CPU cores.

Tuners try everything that a template has: work-groups of several work-items, which the device runs as iterations of a
loop, loops within virtual threads, tiles with more accumulators than registers. `opencl.schedules.windows.tile_cost`
does not know them. Units and terms are the same, cycles. Which loop the compiler vectorises, and what that costs, are
medians over some 1000 random and searched tiles of convolutions with pocl on AVX-512.
"""

from __future__ import annotations

from math import prod

from tvm_coexec.opencl.schedules.tiles import ceil_div
from tvm_coexec.opencl.schedules.window import Window

Split = tuple[int, int, int]  # virtual threads, work-items, loop

_LANES = 8
_MOST_ACCUMULATORS = 48  # vectors
# Cycles per multiply-add of a vector.
_CHANNELS, _CHANNELS_OF_ITEMS = 2.0, 3.0  # whole vectors of channels, alone in the innermost loops
_CHANNELS_AND_ROWS = 4.5  # the same with a loop over rows
_COLUMNS = 3.5  # at least a vector of columns
_FEW_COLUMNS = 4.5
_ITEMS_WITHOUT_CHANNELS, _ITEMS_WITHOUT_ROWS = 1.5, 1.3  # factors of several work-items
_STRIDED_COLUMNS = 20.0  # few columns of each of several work-items of a row
_NO_LOOP, _PARTS, _PARTS_OF_ITEMS = 5.0, 8.0, 14.0  # single outputs, and channels that are no whole vectors
_MOST_COPIES = 16  # virtual threads, each with loops over columns of its own
_COPY_INPUT, _COPY_PADDED_INPUT, _COPY_WEIGHT = 0.8, 1.5, 0.75
_PER_REDUCE_BLOCK, _PER_OUTPUT, _PER_GROUP = 60.0, 0.5, 200.0
_CHANNELS_LEFT_OVER, _POSITIONS_LEFT_OVER = 4.0, 2.5  # tiles at the edge are guarded by conditions in the inner loops


def is_other_tile(channels: Split, spatial: tuple[Split, ...]) -> bool:
    """Return whether a tile is none of the two kinds that the schedules choose.

    Those are unrolled rows of columns in registers, and virtual threads of positions with a loop over channels.
    """
    if max(channels[1], *(split[1] for split in spatial)) > 1 or channels[0] > 1:
        return True
    if any(split[0] > 1 for split in spatial):
        return any(split[2] > 1 for split in spatial)
    rows = prod(prod(split) for split in spatial[:-1])
    return prod(channels) * rows * ceil_div(prod(spatial[-1]), _LANES) > _MOST_ACCUMULATORS


def other_tile_cost(window: Window, channels: Split, spatial: tuple[Split, ...], reduce: int) -> float:
    """Return the cost of such a tile.

    Parameters
    ----------
    window : Window
    channels, spatial, reduce
        See `opencl.schedules.window.Tile`.
    """
    extents = tuple(map(prod, spatial))
    outputs = prod(channels) * prod(extents)
    copy = _COPY_PADDED_INPUT if window.padded else _COPY_INPUT
    loads = window.region(extents) * copy + _COPY_WEIGHT * prod(channels) * window.taps
    per_vector = _per_vector(channels, spatial, window.stride[-1])
    per_vector *= _CHANNELS_LEFT_OVER if window.channels % prod(channels) else 1.0
    per_vector *= _POSITIONS_LEFT_OVER if any(o % t for o, t in zip(window.out, extents, strict=True)) else 1.0
    per_channel = per_vector * outputs / _LANES * window.taps + loads
    blocks = ceil_div(window.reduce, reduce) * _PER_REDUCE_BLOCK
    per_group = window.reduce * per_channel + blocks + _PER_GROUP + _PER_OUTPUT * outputs
    groups = ceil_div(window.channels, prod(channels)) * prod(
        ceil_div(o, t) for o, t in zip(window.out, extents, strict=True)
    )
    return window.batch * window.groups * groups * per_group


def _per_vector(channels: Split, spatial: tuple[Split, ...], stride: int) -> float:
    """Cycles of a vector's multiply-add, by the innermost loops of a work-item: channels, rows, columns."""
    inner, columns, rows = channels[2], spatial[-1][2], prod(split[2] for split in spatial[:-1])
    items = channels[1] * prod(split[1] for split in spatial)
    whole = inner % _LANES == 0
    if columns == 1:
        if whole and rows == 1 and channels[1] == 1:
            return _CHANNELS if items == 1 else _CHANNELS_OF_ITEMS
        if whole:
            return _CHANNELS_AND_ROWS
        if items == 1:
            return _NO_LOOP if inner == 1 else _PARTS
        return _PARTS_OF_ITEMS
    if spatial[-1][1] > 1 and rows == 1 and columns < _LANES:
        return _STRIDED_COLUMNS
    copies = channels[0] * prod(split[0] for split in spatial)
    if stride > 1 or (inner == 1 and (rows == 1 or copies > _MOST_COPIES)):
        return _PARTS_OF_ITEMS
    slower = 1.0
    if items > 1:
        slower = _ITEMS_WITHOUT_CHANNELS if inner == 1 else _ITEMS_WITHOUT_ROWS if rows == 1 else 1.0
    full = max(columns, _LANES)
    return (_COLUMNS if columns >= _LANES else _FEW_COLUMNS) * slower * ceil_div(columns, _LANES) * _LANES / full
