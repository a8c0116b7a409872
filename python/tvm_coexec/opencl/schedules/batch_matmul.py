"""Batched matrix products (template ``batch_matmul.cuda``)."""

from __future__ import annotations

from tvm.autotvm.task.space import ConfigEntity

from .device import DeviceTraits
from .tiles import config, even_tile, largest_divisor
from .workloads import Workload, integers, shape

# On a CPU a work-item computes a large tile, whose loops the compiler vectorises; unrolled, it would spill registers.
_MAX_ROWS, _MAX_COLUMNS = 64, 128
# A tile as wide as one vector has no loop over columns. pocl 3.1 then aborts the process ("ParallelRegion.cc: exit !=
# NULL") unless the reduction has few enough steps to be unrolled.
_VECTOR, _FEW_STEPS = 8, 2


def batch_matmul(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(a, b, out_shape, out_dtype, transpose_a, transpose_b)``."""
    a, b = shape(workload, 1), shape(workload, 2)
    transpose_a, transpose_b = (bool(integers(workload[i])[0]) for i in (5, 6))
    reduce, rows = a[1:] if transpose_a else reversed(a[1:])
    columns = b[1] if transpose_b else b[2]
    if not traits.is_cpu:
        tile_rows, tile_columns = _threads_and_inner(rows), _threads_and_inner(columns)
        return _config(tile_rows, tile_columns, 8, reduce, 16, 0)
    tile = _whole_or_even(columns, _MAX_COLUMNS)
    return _config((1, _whole_or_even(rows, _MAX_ROWS)), (1, tile), _FEW_STEPS if tile <= _VECTOR else 8, reduce, 0, 0)


def _whole_or_even(extent: int, most: int) -> int:
    """Return the largest divisor if it is at least a third of the limit; else the tile of least waste."""
    divisor = largest_divisor(extent, most)
    return divisor if 3 * divisor >= min(extent, most) else even_tile(extent, most)


def _threads_and_inner(extent: int) -> tuple[int, int]:
    """Return the work-items along one axis and the outputs of each; at most 8 and 4."""
    threads = even_tile(extent, 8)
    return threads, even_tile(-(-extent // threads), 4)


def _config(
    rows: tuple[int, int], columns: tuple[int, int], most_reduce: int, reduce: int, steps: int, explicit: int
) -> ConfigEntity:
    return config(
        tile_y=rows,
        tile_x=columns,
        tile_k=(largest_divisor(reduce, most_reduce),),
        auto_unroll_max_step=steps,
        unroll_explicit=explicit,
    )
