"""Three-dimensional convolutions (template ``conv3d_ncdhw.cuda``)."""

from __future__ import annotations

from tvm.autotvm.task.space import ConfigEntity

from .device import DeviceTraits
from .tiles import config
from .windows import choose_tile
from .workloads import Workload, integers, window_of


def conv3d_ncdhw(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, kernel, strides, padding, dilation, groups, out_dtype)``."""
    groups = integers(workload[6])[0]
    window = window_of(workload, groups=groups)
    tile = choose_tile(window, traits, exact_channels=groups > 1)
    depth, rows, columns = tile.spatial
    return config(
        tile.cost,
        tile_f=tile.channels,
        tile_d=depth,
        tile_y=rows,
        tile_x=columns,
        tile_rc=(tile.reduce,),
        tile_rd=(window.kernel[0],),
        tile_ry=(window.kernel[1],),
        tile_rx=(window.kernel[2],),
        auto_unroll_max_step=tile.unroll_steps,
        unroll_explicit=tile.unroll_explicit,
    )
