"""Schedule of grouped 1x1 convolutions for OpenCL devices that run on CPU cores.

TVM's template copies inputs and weights to local memory, a flat loop over the tile that divides its number into four
indices. On a CPU core local memory is the same cache, and unless extents are powers of two the divisions cost more than
the multiplications of a convolution with few input channels. Here a work-group is one work-item that computes a tile
of channels and of adjacent positions in vector registers, and reads its inputs where they are.

Tuning records keep TVM's template, which their knobs are of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import te, topi
from tvm.topi.utils import traverse_inline

from .injective import configured_workload
from .tiles import divisors, largest_divisor
from .window import Window
from .workloads import NotStatic, window_of

_STOCK = topi.cuda.schedule_group_conv2d_nchw
_TEMPLATE = "group_conv2d_nchw.cuda"
_LEAST_REDUCE = 16  # channels; below, the template's loops are as fast
_LEAST_FLOPS = 1e6
_MOST_CHANNELS = 16
_MOST_POSITIONS = 256
_MOST_RESULTS = 448
# A map of at most so many positions is one tile, unrolled: compilers pack the statements of a whole map into vectors.
_UNROLLED_MAP = 256
_UNROLLED_RESULTS = 128
_REGISTERS = 28

# Nanoseconds per input channel, by the lanes of a vector, from 200 timed tiles (pocl on a core of an Intel Xeon): a
# multiplication of vectors, a loaded vector, a broadcast weight, an accumulator that no register holds, the loop; and
# per tile, a stored vector.
_COSTS = {4: (0.170, 0.122, 0.025, 0.004, 0.894, 1.06), 8: (0.115, 0.182, 0.177, 0.118, 4.956, 1.658)}


@dataclass(frozen=True)
class PointwiseTile:
    """Tile of a work-group.

    Attributes
    ----------
    channels, positions : int
        Divide the channels of a group and the positions of a map.
    lanes : int
        Elements of a vector; 0 leaves the unrolled tile to the compiler.
    """

    channels: int
    positions: int
    lanes: int


def choose_pointwise_tile(window: Window) -> PointwiseTile | None:
    """Return the tile of a grouped convolution, or `None` if TVM's template is better.

    Parameters
    ----------
    window : Window

    Returns
    -------
    PointwiseTile or None
    """
    positions = window.out[0] * window.out[1]
    flops = 2.0 * window.batch * window.groups * window.channels * window.reduce * positions
    plain = window.kernel == window.stride == (1, 1) and not window.padded
    if not plain or window.reduce < _LEAST_REDUCE or flops < _LEAST_FLOPS:
        return None
    if positions % 8 and positions <= _UNROLLED_MAP:
        most = max(positions, _UNROLLED_RESULTS) // positions
        return PointwiseTile(largest_divisor(window.channels, most), positions, 0)
    # Whole rows or equal parts of one: TVM computes the rows that a tile touches.
    rows, columns = window.out
    lengths = {*(columns * d for d in divisors(rows)), *divisors(columns)}
    tiles = [
        PointwiseTile(channels, n, lanes)
        for lanes in _COSTS
        for channels in divisors(window.channels)
        for n in lengths
        if n % lanes == 0 and n <= _MOST_POSITIONS and channels <= _MOST_CHANNELS and channels * n <= _MOST_RESULTS
    ]
    return min(tiles, key=lambda tile: _seconds_per_result(window, tile), default=None)


def _seconds_per_result(window: Window, tile: PointwiseTile) -> float:
    multiply, load, broadcast, spill, loop, store = _COSTS[tile.lanes]
    vectors = tile.positions // tile.lanes
    results = tile.channels * vectors
    step = multiply * results + load * vectors + broadcast * tile.channels + spill * max(0, results - _REGISTERS) + loop
    return (window.reduce * step + store * results) / (tile.channels * tile.positions)


def schedule_group_conv2d_nchw(outs: te.Tensor | Sequence[te.Tensor]) -> te.Schedule:
    """Return a schedule of a grouped convolution; stands in for TVM's ``schedule_group_conv2d_nchw``.

    Parameters
    ----------
    outs : te.Tensor or sequence of te.Tensor
        The outputs, as TVM passes them to a schedule.

    Returns
    -------
    te.Schedule
    """
    outs = [outs] if isinstance(outs, te.Tensor) else outs
    tile = _tile_of(outs)
    if tile is None:
        return _STOCK(outs)
    schedule = te.create_schedule(outs[0].op)

    def visit(op: te.Operation) -> None:
        if op.tag == "group_conv2d_nchw":
            _schedule(schedule, outs[0], op, tile)

    traverse_inline(schedule, outs[0].op, visit)
    return schedule


def _tile_of(outs: Sequence[te.Tensor]) -> PointwiseTile | None:
    if not outs[0].dtype.startswith("float") or (workload := configured_workload(outs, _TEMPLATE)) is None:
        return None
    try:
        return choose_pointwise_tile(window_of(workload, groups=int(workload[6])))
    except NotStatic:
        return None


def _schedule(schedule: te.Schedule, out: te.Tensor, op: te.ComputeOp, tile: PointwiseTile) -> None:
    conv = op.output(0)
    padded = op.input_tensors[0]
    if isinstance(padded.op, te.ComputeOp):
        schedule[padded].compute_inline()
    results = schedule.cache_write(conv, "local") if op == out.op else conv
    if op != out.op:
        schedule[conv].set_scope("local")
    stage = schedule[out]
    n, channel, y, x = stage.op.axis
    channel, channel_in = stage.split(channel, factor=tile.channels)
    position, position_in = stage.split(stage.fuse(y, x), factor=tile.positions)
    stage.reorder(n, channel, position, channel_in, position_in)
    schedule[results].compute_at(stage, position)
    stage.bind(stage.fuse(n, channel), te.thread_axis("blockIdx.x"))
    if tile.lanes:
        stage.vectorize(stage.split(position_in, factor=tile.lanes)[1])
    inner = schedule[results]
    _, channel, y, x = inner.op.axis
    reduce, *taps = inner.op.reduce_axis
    position = inner.fuse(y, x)
    inner.reorder(reduce, *taps, channel, position)
    inner.unroll(channel)
    if tile.lanes:
        position, lanes = inner.split(position, factor=tile.lanes)
        inner.vectorize(lanes)
    inner.unroll(position)


def install() -> None:
    """Replace the function that TVM's strategy of grouped convolutions calls. Idempotent."""
    topi.cuda.schedule_group_conv2d_nchw = schedule_group_conv2d_nchw


def uninstall() -> None:
    """Restore TVM's function."""
    topi.cuda.schedule_group_conv2d_nchw = _STOCK
