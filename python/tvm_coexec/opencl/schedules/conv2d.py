"""Two-dimensional convolutions of one group: direct, 1x1 and strided (template ``conv2d_nchw.cuda``)."""

from __future__ import annotations

from tvm.autotvm.task.space import ConfigEntity

from .device import DeviceTraits
from .tiles import config
from .window import Tile
from .windows import choose_tile
from .workloads import Workload, window_of


def conv2d_nchw(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, kernel, strides, padding, dilation, out_dtype)``."""
    window = window_of(workload)
    return direct(choose_tile(window, traits), window.kernel)


def direct(tile: Tile, kernel: tuple[int, ...]) -> ConfigEntity:
    """Return the knobs of the direct template, which holds the whole kernel window in local memory."""
    rows, columns = tile.spatial
    return config(
        tile.cost,
        tile_f=tile.channels,
        tile_y=rows,
        tile_x=columns,
        tile_rc=(tile.reduce,),
        tile_ry=(kernel[0],),
        tile_rx=(kernel[1],),
        auto_unroll_max_step=tile.unroll_steps,
        unroll_explicit=tile.unroll_explicit,
    )
