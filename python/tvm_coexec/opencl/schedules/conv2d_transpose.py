"""Transposed two-dimensional convolutions (template ``conv2d_transpose_nchw.cuda``)."""

from __future__ import annotations

from tvm.autotvm.task.space import ConfigEntity

from .device import DeviceTraits
from .tiles import config
from .window import Window
from .windows import choose_tile
from .workloads import Workload, element_bytes, integers, paddings, repeated, shape


def conv2d_transpose_nchw(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, kernel, stride, padding, out_dtype, output_padding, groups)``.

    The template computes it as a convolution of stride 1 over the input with zeros between its elements.
    """
    data, kernel = shape(workload, 1), shape(workload, 2)
    groups = integers(workload[7])[0] if len(workload) > 7 else 1
    taps, stride = kernel[2:], repeated(workload[3], 2)
    pads, extra = paddings(workload[4], taps), repeated(workload[6], 2)
    out = tuple((e - 1) * s + k - sum(p) + x for e, s, k, p, x in zip(data[2:], stride, taps, pads, extra, strict=True))
    window = Window(
        batch=data[0],
        groups=groups,
        channels=kernel[1],
        reduce=data[1] // groups,
        out=out,
        kernel=taps,
        stride=(1, 1),
        dilation=(1, 1),
        padded=True,
        element_bytes=element_bytes(workload, 1),
        per_tap=True,
    )
    # As in the grouped template, TVM drops a block index if a tile of channels needs a guard.
    tile = choose_tile(window, traits, exact_channels=True)
    rows, columns = tile.spatial
    return config(
        tile.cost,
        tile_n=(1, 1, 1),
        tile_f=tile.channels,
        tile_y=rows,
        tile_x=columns,
        tile_rc=(1, tile.reduce),
        fuse_yx=0,
        auto_unroll_max_step=tile.unroll_steps,
        unroll_explicit=tile.unroll_explicit,
    )
