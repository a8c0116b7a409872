"""Dense layers: one template for few rows and one for many, and matmul, which uses the first.

``dense_small_batch.gpu`` computes one output per work-group, whose work-items share the reduction;
``dense_large_batch.gpu`` a tile of rows and outputs. TVM offers the second only from 32 rows on; there the
estimated costs decide.
"""

from __future__ import annotations

from tvm.autotvm.task.space import ConfigEntity

from .device import DeviceTraits
from .inner_product import choose_product_tile, estimate_product_s, extents_of
from .tiles import ceil_div, config, divisors, even_tile, largest_divisor
from .workloads import Workload, integers, shape

# Multiply-adds per second of the two templates on one pocl core; of the second with complete and with partial tiles.
_SMALL_PER_S, _LARGE_PER_S, _LARGE_CUT_PER_S = 6e9, 9e9, 2.5e9


def dense_small_batch(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(data, weight, bias, out_dtype)``, one output at a time."""
    (rows, reduce), (outputs, _) = shape(workload, 1), shape(workload, 2)
    seconds = rows * outputs * reduce / _SMALL_PER_S
    extents = extents_of(workload) if traits.is_cpu else None
    tile = None if extents is None else choose_product_tile(*extents, traits.vector)
    if tile is not None:  # `inner_product` schedules it
        seconds = estimate_product_s(rows, outputs, reduce, tile)
    return config(seconds, tile_k=(_reducers(rows, reduce, traits),))


def matmul_default(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(a, b, bias, out_dtype, transpose_a, transpose_b)``."""
    rows, reduce = shape(workload, 1)[:: -1 if integers(workload[5])[0] else 1]
    return config(tile_k=(_reducers(rows, reduce, traits),))


def _reducers(rows: int, reduce: int, traits: DeviceTraits) -> int:
    """Return the work-items that share one reduction; on a CPU these are a vector's lanes, unguarded if they divide."""
    if traits.is_cpu:
        most = 16 if rows == 1 else 8
        return next((n for n in (16, 8, 4) if n <= most and reduce % n == 0), most)
    return min(64, traits.max_threads)


def dense_large_batch(workload: Workload, traits: DeviceTraits) -> ConfigEntity | None:
    """Configuration for ``(data, weight, bias, out_dtype)``, a tile of rows and outputs at a time.

    None if the reduction has one element: the template's double buffering needs two blocks.
    """
    (rows, reduce), (outputs, _) = shape(workload, 1), shape(workload, 2)
    if reduce == 1:
        return None
    if not traits.is_cpu:
        # The template copies to local memory correctly only with equal numbers of work-items along rows and outputs.
        side = 16 if traits.max_threads >= 256 and min(rows, outputs) >= 64 else 8
        return config(
            0.5 * rows * outputs * reduce / _SMALL_PER_S,
            tile_x=(1, side, 2),
            tile_y=(1, side, 4),
            tile_k=(_block(reduce, 8), 1),
        )
    tile_rows = _whole_or_even(rows, 32 if any(rows % d == 0 for d in range(8, 33)) else 64)
    tile_outputs = _whole_or_even(outputs, 64)
    whole = rows % tile_rows == 0 and outputs % tile_outputs == 0
    padded = ceil_div(rows, tile_rows) * tile_rows * ceil_div(outputs, tile_outputs) * tile_outputs
    return config(
        padded * reduce / (_LARGE_PER_S if whole else _LARGE_CUT_PER_S),
        tile_x=(1, 1, tile_rows),
        tile_y=(1, 1, tile_outputs),
        tile_k=(_block(reduce, 4), 1),
    )


def _block(reduce: int, most: int) -> int:
    """Return the block of the reduction that is copied at a time: a divisor, or where it has none, two and a rest.

    Blocks of one element, such as of the 257 of a byte and an end mark, take up to five times as long.
    """
    divisor = largest_divisor(reduce, min(most, reduce // 2))
    return 2 if divisor == 1 and reduce > 2 else divisor


def _whole_or_even(extent: int, limit: int) -> int:
    """Return the largest divisor from 8 to the limit, preferably a multiple of 8; else the tile of least waste."""
    wide = [d for d in divisors(extent) if 8 <= d <= limit]
    return max([d for d in wide if d % 8 == 0] or wide or [even_tile(extent, limit // 2)])
