"""Schedules of pooling for OpenCL devices that run on CPU cores.

As for injective kernels (`injective`), a work-group is one work-item with a loop nest over some thousand steps, in
place of a work-item per element that divides its number into indices. The window is unrolled, so that the compiler
vectorises over columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tvm import te, topi
from tvm.topi.utils import traverse_inline

from .injective import Loop, bind_groups, takes_loops

_STOCK = topi.cuda.schedule_pool
_MAX_UNROLLED = 64  # positions of a window; a larger window stays a loop


def schedule_pool(outs: te.Tensor | Sequence[te.Tensor], layout: str) -> te.Schedule:
    """Return a schedule of pooling and what is fused to it; stands in for TVM's ``schedule_pool``.

    Parameters
    ----------
    outs : te.Tensor or sequence of te.Tensor
        The outputs, as TVM passes them to a schedule.
    layout : str
        Layout of the input.

    Returns
    -------
    te.Schedule
    """
    outs = [outs] if isinstance(outs, te.Tensor) else outs
    if not takes_loops(outs):
        return _STOCK(outs, layout)
    schedule = te.create_schedule(outs[0].op)

    def visit(op: te.Operation) -> None:
        if op.tag.startswith("pool"):
            _schedule(schedule, outs[0], op)

    traverse_inline(schedule, outs[0].op, visit)
    return schedule


def _schedule(schedule: te.Schedule, out: te.Tensor, op: te.ComputeOp) -> None:
    pool = op.output(0)
    padded = op.input_tensors[0]
    if isinstance(padded.op, te.ComputeOp):
        schedule[padded].compute_inline()
    window = schedule.cache_write(pool, "local") if op == out.op else pool
    if op != out.op:
        schedule[pool].set_scope("local")
    taps = prod(int(axis.dom.extent) for axis in op.reduce_axis)
    loops = [Loop(axis, int(axis.dom.extent)) for axis in schedule[out].op.axis]
    bind_groups(schedule[out], loops, taps)
    schedule[window].compute_at(schedule[out], schedule[out].leaf_iter_vars[-1])
    if taps <= _MAX_UNROLLED:
        for axis in schedule[window].op.reduce_axis:
            schedule[window].unroll(axis)


def install() -> None:
    """Replace the function that TVM's strategy of pooling calls. Idempotent."""
    topi.cuda.schedule_pool = schedule_pool


def uninstall() -> None:
    """Restore TVM's function."""
    topi.cuda.schedule_pool = _STOCK
