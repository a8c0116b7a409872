"""Schedule of matrix products for OpenCL devices that run on CPU cores, with both operands contiguous along the sum.

These are dense layers and batched products with a transposed second operand. TVM's templates share a sum among
work-items, or copy tiles to local memory. On a CPU core the first reads a weight once for each row, the second moves
data within the same cache, and both have loops that compilers vectorise for some extents only. Here a work-group is one
work-item, and each element of its tile is a vector of partial sums in a register, whose lanes are added at the end.

Tuning records keep TVM's templates, which their knobs are of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import te, topi
from tvm.target import Target
from tvm.topi.utils import traverse_inline

from .device import VectorUnit, device_traits
from .injective import configured_workload
from .tiles import divisors, largest_divisor
from .workloads import NotStatic, Workload, integers, shape

_STOCK: dict[str, Callable] = {
    "dense_small_batch.gpu": topi.gpu.schedule_dense_small_batch,
    "batch_matmul.cuda": topi.cuda.schedule_batch_matmul,
}
_TAGS = {"dense_small_batch.gpu": "dense", "batch_matmul.cuda": "batch_matmul"}
_MOST_ALONG = 8  # rows or columns of a tile
_OPERAND_REGISTERS = 5
# Clock cycles of a core: a vector's multiply-add by its lanes, a loaded vector, a step of the loop, and an addition of
# two lanes at the end.
_MULTIPLY_ADD = {16: 1.0, 8: 0.5, 4: 0.5}
_LOAD, _STEP, _ADD_LANES = 0.5, 1.0, 1.0
_HERTZ = 3e9
# Multiply-adds of a work-group, at least: the start of one takes some 50 ns on pocl.
_LEAST_MACS = 1 << 15


@dataclass(frozen=True)
class ProductTile:
    """Tile of a work-group.

    Attributes
    ----------
    rows, columns : int
        Divide the extents of the result.
    lanes : int
        Divides the extent of the sum.
    """

    rows: int
    columns: int
    lanes: int


def choose_product_tile(rows: int, columns: int, reduce: int, vector: VectorUnit) -> ProductTile | None:
    """Return the tile of a product, or `None` if no vector divides the sum.

    Parameters
    ----------
    rows, columns : int
        Extents of the result.
    reduce : int
        Extent of the sum.
    vector : VectorUnit

    Returns
    -------
    ProductTile or None
    """
    tiles = [
        ProductTile(r, c, lanes)
        for lanes in _MULTIPLY_ADD
        if lanes <= vector.lanes and reduce % lanes == 0
        for r in divisors(rows)
        for c in divisors(columns)
        if max(r, c) <= _MOST_ALONG and r * c <= vector.registers - _OPERAND_REGISTERS
    ]
    return min(tiles, key=lambda tile: _cycles_per_result(tile, reduce), default=None)


def estimate_product_s(rows: int, columns: int, reduce: int, tile: ProductTile) -> float:
    """Return the estimated seconds of a product on one core."""
    return rows * columns * _cycles_per_result(tile, reduce) / _HERTZ


def _cycles_per_result(tile: ProductTile, reduce: int) -> float:
    results = tile.rows * tile.columns
    step = _MULTIPLY_ADD[tile.lanes] * results + _LOAD * (tile.rows + tile.columns) + _STEP
    return reduce / tile.lanes * step / results + _ADD_LANES * tile.lanes


def extents_of(workload: Workload) -> tuple[int, int, int] | None:
    """Return rows, columns and the extent of the sum of a product; `None` if an operand has another layout.

    Parameters
    ----------
    workload : Workload
        Of ``dense_small_batch.gpu`` or ``batch_matmul.cuda``.

    Raises
    ------
    NotStatic
        If an extent is not constant.
    """
    first, second = shape(workload, 1), shape(workload, 2)
    if workload[0] == "batch_matmul.cuda" and [integers(workload[i])[0] for i in (5, 6)] != [0, 1]:
        return None
    if any(argument[-1] != "float32" for argument in (workload[1], workload[2])):
        return None
    return first[-2], second[-2], first[-1]


def _schedule_with(template: str) -> Callable[[te.Tensor | Sequence[te.Tensor]], te.Schedule]:
    """Return the function that stands in for TVM's schedule of a template."""

    def schedule_product(outs: te.Tensor | Sequence[te.Tensor]) -> te.Schedule:
        outs = [outs] if isinstance(outs, te.Tensor) else outs
        tile = _tile_of(outs, template)
        if tile is None:
            return _STOCK[template](outs)
        schedule = te.create_schedule(outs[0].op)

        def visit(op: te.Operation) -> None:
            if op.tag == _TAGS[template]:
                _schedule(schedule, outs[0], op.output(0), tile)

        traverse_inline(schedule, outs[0].op, visit)
        return schedule

    return schedule_product


def _tile_of(outs: Sequence[te.Tensor], template: str) -> ProductTile | None:
    if (workload := configured_workload(outs, template)) is None:
        return None
    try:
        extents = extents_of(workload)
    except NotStatic:
        return None
    return None if extents is None else choose_product_tile(*extents, device_traits(Target.current()).vector)


def _schedule(schedule: te.Schedule, out: te.Tensor, product: te.Tensor, tile: ProductTile) -> None:
    if product.op == out.op:
        sums = schedule.cache_write(product, "local")
    else:
        sums = product
        schedule[product].set_scope("local")
    reduce = sums.op.reduce_axis[0]
    extent = int(reduce.dom.extent)
    _, lanes = schedule[sums].split(reduce, factor=tile.lanes)
    partial = schedule.rfactor(sums, lanes)
    schedule[partial].set_scope("local")
    stage = schedule[out]
    *batch, row, column = stage.op.axis
    row, row_in = stage.split(row, factor=tile.rows)
    column, column_in = stage.split(column, factor=tile.columns)
    # Rows are the inner loop: the columns' operand stays in the cache.
    inner = largest_divisor(int(out.shape[-2]) // tile.rows, max(1, _LEAST_MACS // (tile.rows * tile.columns * extent)))
    row, row_loop = stage.split(row, factor=inner)
    stage.reorder(*batch, column, row, row_loop, row_in, column_in)
    stage.bind(stage.fuse(*batch, column, row), te.thread_axis("blockIdx.x"))
    stage.unroll(row_in)
    stage.unroll(column_in)
    for tensor in (sums, partial):
        schedule[tensor].compute_at(stage, row_loop)
    inner_sums = schedule[sums]
    for axis in (*inner_sums.op.axis[-2:], inner_sums.op.reduce_axis[0]):
        inner_sums.unroll(axis)
    vectors = schedule[partial]
    lane, *batch, row, column = vectors.op.axis
    vectors.reorder(*batch, vectors.op.reduce_axis[0], row, column, lane)
    vectors.vectorize(lane)
    vectors.unroll(row)
    vectors.unroll(column)


_REPLACEMENTS = {name: _schedule_with(name) for name in _STOCK}


def install() -> None:
    """Replace the functions that TVM's strategies of dense layers and batched products call. Idempotent."""
    topi.gpu.schedule_dense_small_batch = _REPLACEMENTS["dense_small_batch.gpu"]
    topi.cuda.schedule_batch_matmul = _REPLACEMENTS["batch_matmul.cuda"]


def uninstall() -> None:
    """Restore TVM's functions."""
    topi.gpu.schedule_dense_small_batch = _STOCK["dense_small_batch.gpu"]
    topi.cuda.schedule_batch_matmul = _STOCK["batch_matmul.cuda"]
