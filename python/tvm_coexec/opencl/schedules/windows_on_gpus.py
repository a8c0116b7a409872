"""Tiles of windowed operators for GPUs, by their estimated cost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

from .device import DeviceTraits
from .tiles import ceil_div, divisors, even_tile
from .window import Tile, Window, choose_reduce_block


def gpu_tiles(window: Window, traits: DeviceTraits, exact: bool) -> Iterator[Tile]:
    """64 to 256 work-items per group, a few outputs each, inputs and weights reused through local memory."""
    *outer, width = window.out
    outer_splits = [[(1, 1)] * 1] * max(0, len(outer) - 1) + [_gpu_splits(o, 8, 2) for o in outer[-1:]]
    channel_splits = [
        (t, i)
        for i in (1, 2, 4)
        for t in (1, 2, 4, 8, 16, 32)
        if t * i <= window.channels and not (exact and window.channels % (t * i))
    ]
    for spatial in product(*outer_splits, _gpu_splits(width, 32, 2)):
        threads_spatial = prod(t for t, _ in spatial)
        for thread, inner in channel_splits:
            threads, outputs = threads_spatial * thread, prod(i for _, i in spatial) * inner
            if threads > min(256, traits.max_threads) or outputs > 16:
                continue
            extents = tuple(t * i for t, i in spatial)
            limit = 32 if window.taps == 1 else 8
            reduce = choose_reduce_block(window, thread * inner, extents, traits.local_bytes // 2, limit)
            cost = gpu_cost(window, traits, thread, inner, spatial)
            split = tuple((1, t, i) for t, i in spatial)
            yield Tile((1, thread, inner), split, reduce, 64, 0, cost)


def _gpu_splits(extent: int, most_threads: int, most_inner: int) -> list[tuple[int, int]]:
    threads = {d for d in divisors(extent) if d <= most_threads} | {even_tile(extent, n) for n in (4, 8, 16, 32)}
    return [
        (t, i)
        for t in sorted(threads)
        if t <= most_threads
        for i in range(1, most_inner + 1)
        if t * i <= extent or i == 1
    ]


def gpu_cost(
    window: Window, traits: DeviceTraits, thread: int, inner: int, spatial: tuple[tuple[int, int], ...]
) -> float:
    """Return the estimated cost of the whole operator; of each extent work-items and loops are given."""
    extents = tuple(t * i for t, i in spatial)
    channels = thread * inner
    groups = ceil_div(window.channels, channels) * prod(
        ceil_div(o, t) for o, t in zip(window.out, extents, strict=True)
    )
    groups *= window.batch * window.groups
    threads = thread * prod(t for t, _ in spatial)
    outputs = inner * prod(i for _, i in spatial)
    multiply_adds = channels * prod(extents) * window.taps
    local = threads * window.taps * (inner + outputs // inner)
    loads = window.region(extents) * (window.taps if window.per_tap else 1) + channels * window.taps
    warps = ceil_div(threads, traits.warp)
    idle = warps * traits.warp / threads * max(1.0, 64 / threads)
    lonely = max(1.0, (32 / groups) ** 0.5)
    return groups * window.reduce * (multiply_adds + local + 8.0 * loads) * idle * lonely
