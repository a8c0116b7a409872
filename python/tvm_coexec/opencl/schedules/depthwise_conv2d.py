"""Depthwise two-dimensional convolutions (template ``depthwise_conv2d_nchw.cuda``)."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod

from tvm.autotvm.task.space import ConfigEntity

from .device import DeviceTraits
from .tiles import ceil_div, config, divisors, even_tile
from .window import Window
from .workloads import Workload, shape, window_of

_MAX_STATEMENTS = 512  # multiply-adds of an unrolled tile


def depthwise_conv2d_nchw(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, kernel, strides, padding, dilation, out_dtype)``.

    The reduction is only the window, so only the spatial tile matters: on a CPU one unrolled tile of one channel; on a
    GPU one work-item per output, of several channels if these are small.
    """
    window = window_of(workload)
    channels = shape(workload, 2)[0] * shape(workload, 2)[1]
    rows, columns = _cpu_tile(window) if traits.is_cpu else _gpu_threads(window, traits)
    if traits.is_cpu:
        return config(
            tile_f=(1, 1, 1),
            tile_y=(1, 1, rows),
            tile_x=(1, 1, columns),
            auto_unroll_max_step=_MAX_STATEMENTS,
            unroll_explicit=1,
        )
    maps = even_tile(channels, max(1, min(128, traits.max_threads) // (rows * columns)))
    return config(
        tile_f=(1, maps, 1),
        tile_y=(1, rows, 1),
        tile_x=(1, columns, 1),
        auto_unroll_max_step=64,
        unroll_explicit=0,
    )


@lru_cache(maxsize=1024)
def _cpu_tile(window: Window) -> tuple[int, int]:
    """Return the rows and columns of one work-group."""
    height, width = window.out
    columns = {d for d in divisors(width) if d <= 64} | {even_tile(width, 16)}
    rows = {d for d in divisors(height) if d <= 16} | {even_tile(height, n) for n in (2, 4)}
    tiles = [t for t in product(sorted(rows), sorted(columns)) if prod(t) * window.taps <= _MAX_STATEMENTS]
    return min(tiles or [(1, 1)], key=lambda tile: _cost(window, tile))


def _cost(window: Window, tile: tuple[int, int]) -> float:
    groups = prod(ceil_div(o, t) for o, t in zip(window.out, tile, strict=True))
    vectors = tile[1] // 8 + 2 * (tile[1] % 8).bit_count()
    per_group = 100 + 1.5 * window.region(tile) + tile[0] * vectors * window.taps
    tail = any(o % t for o, t in zip(window.out, tile, strict=True))
    return groups * per_group * (1.5 if tail else 1.0)


def _gpu_threads(window: Window, traits: DeviceTraits) -> tuple[int, int]:
    height, width = window.out
    columns = even_tile(width, 32)
    return even_tile(height, max(1, min(128, traits.max_threads) // columns)), columns
