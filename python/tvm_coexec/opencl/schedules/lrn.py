"""Schedules of local response normalisation for OpenCL devices that run on CPU cores.

TVM computes the sum of squares of each element where its power is taken, one by one. Here the sums are a kernel of
their own, so that what follows is an injective kernel: the power is most of its time, and vectorised (see `functions`)
it takes a fraction.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import te, topi
from tvm.topi.utils import traverse_inline

from .injective import Loop, bind_groups, schedule_output, takes_loops

_STOCK = topi.cuda.schedule_lrn


def schedule_lrn(outs: te.Tensor | Sequence[te.Tensor]) -> te.Schedule:
    """Return a schedule of LRN and what is fused to it; stands in for TVM's ``schedule_lrn``.

    Parameters
    ----------
    outs : te.Tensor or sequence of te.Tensor
        The outputs, as TVM passes them to a schedule.

    Returns
    -------
    te.Schedule
    """
    outs = [outs] if isinstance(outs, te.Tensor) else outs
    if not takes_loops(outs):
        return _STOCK(outs)
    schedule = te.create_schedule(outs[0].op)

    def visit(op: te.Operation) -> None:
        if op.tag == "sqr_sum":
            _schedule_sums(schedule, op)

    traverse_inline(schedule, outs[0].op, visit)
    return schedule if schedule_output(schedule, outs[0]) else _STOCK(outs)


def _schedule_sums(schedule: te.Schedule, op: te.ComputeOp) -> None:
    schedule[op.input_tensors[0]].compute_inline()  # the padding
    total = op.output(0)
    local = schedule.cache_write(total, "local")
    stage = schedule[total]
    bind_groups(stage, [Loop(axis, int(axis.dom.extent)) for axis in stage.op.axis])
    schedule[local].compute_at(stage, stage.leaf_iter_vars[-1])
    for axis in schedule[local].op.reduce_axis:
        schedule[local].unroll(axis)


def install() -> None:
    """Replace the function that TVM's strategy of LRN calls. Idempotent."""
    topi.cuda.schedule_lrn = schedule_lrn


def uninstall() -> None:
    """Restore TVM's function."""
    topi.cuda.schedule_lrn = _STOCK
