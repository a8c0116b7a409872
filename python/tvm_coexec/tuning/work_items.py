"""Cost of convolution tiles that this package's schedules never choose, on OpenCL devices made of CPU cores.

Tuners try work-groups of several work-items, which the device runs as iterations of a loop, and tiles with more
accumulators than registers. `opencl.schedules.windows.tile_cost` does not know them. Units and terms are the same:
cycles, fitted to pocl on AVX-512.
"""

from __future__ import annotations

from math import prod

from tvm_coexec.opencl.schedules.tiles import ceil_div
from tvm_coexec.opencl.schedules.windows import Window

Split = tuple[int, int, int]  # virtual threads, work-items, loop

_LANES = 8
_MOST_ACCUMULATORS = 48  # vectors
# Cycles per multiply-add of a vector; accumulators are in memory, since they live across barriers.
_BY_ITEMS = 2.0  # the loop over the work-items of a row is vectorised
_BY_COLUMNS = 3.0  # the loop over a work-item's columns
_BY_NOTHING = 8.0
_COPY_INPUT, _COPY_PADDED_INPUT, _COPY_WEIGHT = 0.8, 1.5, 0.75
_PER_REDUCE_BLOCK, _PER_OUTPUT, _PER_GROUP = 60.0, 0.5, 200.0


def needs_items_cost(channels: Split, spatial: tuple[Split, ...]) -> bool:
    """Return whether a tile has several work-items, or unrolled rows that do not fit into registers."""
    if max(channels[1], *(split[1] for split in spatial)) > 1:
        return True
    rows = prod(prod(split) for split in spatial[:-1])
    vectors = prod(channels) * rows * ceil_div(prod(spatial[-1]), _LANES)
    return all(split[0] == 1 for split in spatial) and vectors > _MOST_ACCUMULATORS


def items_cost(window: Window, channels: Split, spatial: tuple[Split, ...], reduce: int) -> float:
    """Return the cost of such a tile.

    Parameters
    ----------
    window : Window
    channels, spatial, reduce
        See `opencl.schedules.windows.Tile`.
    """
    extents = tuple(map(prod, spatial))
    outputs = prod(channels) * prod(extents)
    (_, items, columns), rows = spatial[-1], prod(split[2] for split in spatial[:-1])
    per_vector = _BY_NOTHING
    if window.stride[-1] == 1 and items > 1 and columns == rows == channels[1] == 1:
        per_vector = _BY_ITEMS * ceil_div(items, _LANES) * _LANES / items
    elif window.stride[-1] == 1 and items == 1 and columns >= _LANES:
        per_vector = _BY_COLUMNS * ceil_div(columns, _LANES) * _LANES / columns
    copy = _COPY_PADDED_INPUT if window.padded else _COPY_INPUT
    loads = window.region(extents) * copy + _COPY_WEIGHT * prod(channels) * window.taps
    per_channel = per_vector * outputs / _LANES * window.taps + loads
    blocks = ceil_div(window.reduce, reduce) * _PER_REDUCE_BLOCK
    per_group = window.reduce * per_channel + blocks + _PER_GROUP + _PER_OUTPUT * outputs
    groups = ceil_div(window.channels, prod(channels)) * prod(
        ceil_div(o, t) for o, t in zip(window.out, extents, strict=True)
    )
    return window.batch * window.groups * groups * per_group
