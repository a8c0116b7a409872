"""Batched matrix products (template ``batch_matmul.cuda``)."""

from __future__ import annotations

from tvm.autotvm.task.space import ConfigEntity

from .device import DeviceTraits
from .tiles import config, even_tile, largest_divisor
from .workloads import Workload, element_bytes, integers, shape

_LANES = 8
_MAX_ROWS = 16  # of an unrolled tile: 16 accumulators, one vector each


def batch_matmul(workload: Workload, traits: DeviceTraits) -> ConfigEntity:
    """Configuration for ``(a, b, out_shape, out_dtype, transpose_a, transpose_b)``."""
    a, b = shape(workload, 1), shape(workload, 2)
    transpose_a, transpose_b = (bool(integers(workload[i])[0]) for i in (5, 6))
    reduce, rows = a[1:] if transpose_a else reversed(a[1:])
    columns = b[1] if transpose_b else b[2]
    if not traits.is_cpu:
        tile_rows, tile_columns = _threads_and_inner(rows), _threads_and_inner(columns)
        return _config(tile_rows, tile_columns, 8, reduce, 16, 0)
    if columns % _LANES == 0:
        tile_rows = even_tile(rows, _MAX_ROWS)
        room = traits.local_bytes // ((tile_rows + _LANES) * element_bytes(workload, 1))
        return _config((1, tile_rows), (1, _LANES), min(64, room), reduce, tile_rows * _LANES, 1)
    return _config((1, even_tile(rows, 32)), (1, even_tile(columns, 32)), 8, reduce, 0, 0)


def _threads_and_inner(extent: int) -> tuple[int, int]:
    """Work-items and outputs of each along one axis; at most 8 of each."""
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
