"""One-dimensional convolutions, of one or more groups, channels first or last (templates ``*conv1d_n*.cuda``)."""

from __future__ import annotations

from tvm.autotvm.task.space import ConfigEntity

from .device import DeviceTraits
from .tiles import config, divisors, even_tile, largest_divisor
from .window import Window
from .windows import choose_tile
from .workloads import Workload, integers, window_of

_STATEMENTS = 192  # maximum of an unrolled tile


def conv1d_ncw(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, kernel, strides, padding, dilation, out_dtype)``."""
    return _channels_first(window_of(workload, per_tap=True), traits)


def group_conv1d_ncw(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, kernel, strides, padding, dilation, groups, out_dtype)``."""
    return _channels_first(window_of(workload, groups=integers(workload[6])[0], per_tap=True), traits)


def conv1d_nwc(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, kernel, strides, padding, dilation, out_dtype)``, channels last."""
    return _channels_last(window_of(workload, channels_last=True, per_tap=True), traits)


def group_conv1d_nwc(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, kernel, strides, padding, dilation, groups, out_dtype)``, channels last."""
    return _channels_last(
        window_of(workload, groups=integers(workload[6])[0], channels_last=True, per_tap=True), traits
    )


def _channels_first(window: Window, traits: DeviceTraits) -> ConfigEntity:
    if not traits.is_cpu:
        # The template binds no work-items to channels.
        channels = largest_divisor(window.channels, 8)
        return _config((1, 1, channels), (1, even_tile(window.out[0], min(64, traits.max_threads)), 1), window, traits)
    tile = choose_tile(window, traits, exact_channels=window.groups > 1)
    return config(
        tile.cost,
        tile_n=(1, 1, 1),
        tile_f=tile.channels,
        tile_x=tile.spatial[0],
        tile_rc=(1, tile.reduce),
        auto_unroll_max_step=tile.unroll_steps,
        unroll_explicit=tile.unroll_explicit,
    )


def _channels_last(window: Window, traits: DeviceTraits) -> ConfigEntity:
    most = 32 if traits.is_cpu else min(64, traits.max_threads)
    sizes = [d for d in divisors(window.channels) if d <= most]
    if window.groups > 1:  # TVM drops a block index in most other tiles
        channels, columns = max(d for d in sizes if d & (d - 1) == 0), 1
    else:
        channels = max([d for d in sizes if d % 8 == 0] or sizes)
        columns = even_tile(window.out[0], _STATEMENTS // channels if traits.is_cpu else 8)
    return _config((1, 1, channels) if traits.is_cpu else (1, channels, 1), (1, 1, columns), window, traits)


def _config(
    channels: tuple[int, int, int], columns: tuple[int, int, int], window: Window, traits: DeviceTraits
) -> ConfigEntity:
    tile = (columns[1] * columns[2],)
    each = (window.region(tile) + channels[1] * channels[2]) * window.element_bytes
    statements = channels[2] * columns[2]
    return config(
        tile_n=(1, 1, 1),
        tile_f=channels,
        tile_x=columns,
        tile_rc=(1, largest_divisor(window.reduce, max(1, traits.local_bytes // 2 // each))),
        auto_unroll_max_step=statements if traits.is_cpu else 64,
        unroll_explicit=int(traits.is_cpu and statements <= _STATEMENTS),
    )
