"""What the tiles of this package's OpenCL convolutions on CPU cores take, in parts, and what tiles have in common.

The schedule's own estimate (`tile_costs`) has one coefficient for each part, for all devices. A model that is fitted to
a device has one of its own for each part and for each way to vectorise a tile.
"""

from __future__ import annotations

import numpy as np

from .tile_costs import BITS, CHANNELS, COLUMNS, LANES, MAPS, Tiles, choose_tiles
from .workload import Workload

# Of `count_parts`.
PARTS = (
    *("columns.vectors", "columns.partial", "columns.strided", "columns.ragged"),
    *("columns.inputs", "columns.weights", "columns.outputs"),
    *("maps.vectors", "maps.partial", "maps.inputs", "maps.weights", "maps.outputs"),
    *("channels.vectors", "channels.left", "channels.ragged"),
    *("channels.inputs", "channels.weights", "channels.outputs"),
)
KINDS = ("conv", "group_conv")  # of kernels with such tiles
# Numbers of `describe_tiles`, and how far apart they lie if tiles have nothing in common.
NUMBERS = 9
_SPREADS = np.array((0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0))


def count_parts(tiles: Tiles) -> dict[str, np.ndarray]:
    """Count what work-groups do, with what tiles at the edge waste.

    Returns
    -------
    dict of str to array, shape (n,)
        By layout of the tile, 0 for those of another: vectors multiplied (``vectors``; ``partial`` where the last one
        of a row is not full, ``strided`` and ``ragged`` in addition where inputs are apart or the last tile is smaller,
        ``left`` single elements beyond whole vectors), inputs and weights copied to local memory, and outputs.
    """
    x = tiles.windows
    c, h, w = (v.astype(float) for v in (tiles.channels, tiles.rows, tiles.columns))
    groups = x.repeated * np.ceil(x.channels / c) * np.ceil(x.rows / h) * np.ceil(x.columns / w)
    steps = groups * x.reduce
    left = steps * x.taps * h * w * (c % LANES) * (tiles.layout == CHANNELS)
    region = x.count_inputs(h, w)
    found: dict[str, np.ndarray] = {}
    for name, layout, across, inputs in (
        ("columns", COLUMNS, c * h * (w // LANES + BITS[w.astype(int) % LANES]), region),
        ("maps", MAPS, c * np.ceil(h * w / LANES), h * w),
        ("channels", CHANNELS, h * w * (c // LANES), region),
    ):
        here = tiles.layout == layout
        found[f"{name}.vectors"] = steps * x.taps * across * here
        found[f"{name}.inputs"] = steps * inputs * here
        found[f"{name}.weights"] = steps * x.taps * c * here
        found[f"{name}.outputs"] = groups * c * h * w * here
    columns, channels = found["columns.vectors"], found["channels.vectors"]
    found["columns.strided"] = columns * (x.sw > 1)
    found["columns.ragged"] = columns * (x.columns % w > 0)
    found["channels.left"] = left
    found["channels.ragged"] = (channels + left) * (x.channels % c > 0)
    for name, row in (("columns", w), ("maps", c * h * w)):
        every, is_partial = found[f"{name}.vectors"], row % LANES > 0
        found[f"{name}.vectors"], found[f"{name}.partial"] = every * ~is_partial, every * is_partial
    return found


def describe_tiles(w: Workload) -> np.ndarray:
    """Return numbers by which kernels whose tiles the compiler treats alike are near to each other.

    Parameters
    ----------
    w : Workload
        n kernels of one class.

    Returns
    -------
    array, shape (n, NUMBERS)
        First 1 for kernels with tiles, 0 for others, of which all numbers are 0.
    """
    if w.kind not in KINDS:
        return np.zeros((w.size, NUMBERS))
    tiles = choose_tiles(w)
    c, h, wide = (v.astype(float) for v in (tiles.channels, tiles.rows, tiles.columns))
    row = np.select([tiles.layout == COLUMNS, tiles.layout == MAPS], [wide, c * h * wide], c)
    numbers = (
        *(np.log(tiles.cycles / np.maximum(w.macs, 1.0)), tiles.layout == COLUMNS, tiles.layout == MAPS),
        *(np.log(c), np.log(h), np.log(wide), row % LANES > 0, tiles.windows.channels % c > 0),
    )
    table = np.stack([np.broadcast_to(np.asarray(v, float), (w.size,)) for v in numbers], 1) / _SPREADS
    return np.column_stack([np.ones(w.size), table])
