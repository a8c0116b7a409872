"""Choose tiles for windowed operators (convolutions of any rank) by their estimated cost on a device.

The templates of TVM's GPU schedules compute a tile of outputs per work-group: they copy the inputs and weights that the
tile needs into local memory, a block of input channels at a time, and accumulate in private memory. The best tile
depends on the shape. It is chosen among a few hundred candidates by a small cost model, so that odd extents (a share of
13 channels, 55 columns, 23 rows with a halo) get tiles that fit them.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from .device import DeviceTraits
from .window import Tile, Window
from .windows_on_cores import core_cost, core_tiles
from .windows_on_gpus import gpu_cost, gpu_tiles


@lru_cache(maxsize=1024)
def choose_tile(window: Window, traits: DeviceTraits, exact_channels: bool = False) -> Tile:
    """Return the cheapest tile for a device.

    Parameters
    ----------
    window : Window
    traits : DeviceTraits
    exact_channels : bool
        Whether the tile of channels must divide their number (not every template guards that edge).

    Returns
    -------
    Tile
    """
    candidates = (
        core_tiles(window, traits, exact_channels) if traits.is_cpu else gpu_tiles(window, traits, exact_channels)
    )
    return min(candidates, key=lambda tile: tile.cost)


def tile_cost(
    window: Window,
    traits: DeviceTraits,
    channels: tuple[int, int, int],
    spatial: tuple[tuple[int, int, int], ...],
    reduce: int,
) -> float:
    """Return the estimated cost of any tile, such as one from a tuning record.

    Parameters
    ----------
    window : Window
    traits : DeviceTraits
    channels, spatial, reduce
        As in `Tile`. On CPU cores virtual threads, work-items and loops of a channel or axis count alike, except that a
        tile with virtual threads along an axis is taken to be vectorised along channels.
    """
    if traits.is_cpu:
        extents, columns = tuple(map(prod, spatial)), all(split[0] == 1 for split in spatial)
        return core_cost(window, prod(channels), extents, reduce, columns)
    merged = tuple((thread, virtual * inner) for virtual, thread, inner in spatial)
    return gpu_cost(window, traits, channels[1], channels[0] * channels[2], merged)
