"""Grouped two-dimensional convolutions (template ``group_conv2d_nchw.cuda``)."""

from __future__ import annotations

from tvm.autotvm.task.space import ConfigEntity

from .device import DeviceTraits
from .tiles import config
from .windows import choose_tile
from .workloads import Workload, window_of


def group_conv2d_nchw(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, kernel, strides, padding, dilation, groups, out_dtype)``."""
    window = window_of(workload, groups=int(workload[6]))
    # The template cannot guard a channel tile that does not divide a group's channels: TVM then drops a block index.
    tile = choose_tile(window, traits, exact_channels=True)
    rows, columns = tile.spatial
    return config(
        tile.cost,
        tile_n=(1, 1, 1),
        tile_g=(1,),
        tile_f=tile.channels,
        tile_y=rows,
        tile_x=columns,
        tile_rc=(tile.reduce,),
        # The template splits kernel rows by tile_rx and kernel columns by tile_ry.
        tile_ry=(window.kernel[1],),
        tile_rx=(window.kernel[0],),
        fuse_yx=0,
        auto_unroll_max_step=tile.unroll_steps,
        unroll_explicit=tile.unroll_explicit,
    )
