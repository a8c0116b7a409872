"""Schedules of reductions, and of global pooling, for Vulkan devices: in work-groups that these devices take.

TVM's schedule has work-groups of 32 x 32 work-items for Vulkan, of 16 x 16 for OpenCL. Many Vulkan devices take 256 in
all; those that take fewer compute one element in each work-item.
"""

from __future__ import annotations

from tvm import te
from tvm.target import Target
from tvm.topi.cuda import pooling, reduction

from .device import device_traits

_STOCK = reduction._schedule_reduce
_OPENCL_GROUP = 256


def schedule_reduce(op: te.ComputeOp, schedule: te.Schedule, is_idx_reduce: bool = False) -> te.Schedule:
    """Schedule one reduction; stands in for TVM's ``_schedule_reduce``.

    Parameters
    ----------
    op : te.ComputeOp
        The reduction, or with `is_idx_reduce` the operation that takes the index from a pair of index and value.
    schedule : te.Schedule
    is_idx_reduce : bool

    Returns
    -------
    te.Schedule
        `schedule`.
    """
    reduced = op.input_tensors[0] if is_idx_reduce else op.output(0)
    target = Target.current(allow_none=False)
    if target.kind.name != "vulkan" or not schedule[reduced].op.reduce_axis:
        return _STOCK(op, schedule, is_idx_reduce)
    threads = device_traits(target).max_threads
    if threads < _OPENCL_GROUP and len(schedule[reduced].op.axis):
        return _schedule_by_element(op, schedule, reduced, threads)
    with Target({"kind": "opencl", "max_num_threads": threads}):
        return _STOCK(op, schedule, is_idx_reduce)


def _schedule_by_element(op: te.ComputeOp, schedule: te.Schedule, reduced: te.Tensor, threads: int) -> te.Schedule:
    stage = schedule[op.output(0)]
    block, item = stage.split(stage.fuse(*stage.op.axis), factor=threads)
    stage.bind(block, te.thread_axis("blockIdx.x"))
    stage.bind(item, te.thread_axis("threadIdx.x"))
    if reduced.op != op:
        schedule[reduced].compute_at(stage, item)
    return schedule


def install() -> None:
    """Replace the function that TVM's schedules of reductions and of pooling call. Idempotent."""
    reduction._schedule_reduce = pooling._schedule_reduce = schedule_reduce


def uninstall() -> None:
    """Restore TVM's function."""
    reduction._schedule_reduce = pooling._schedule_reduce = _STOCK
