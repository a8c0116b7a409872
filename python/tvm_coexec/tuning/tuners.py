"""What each of TVM's tuners makes of a kernel: its tasks.

AutoTVM's tasks are found as its own extraction finds them, by asking each operator's implementations for their
computation, but without compiling. They are of the layouts before `AlterOpLayout`: a layout follows from the record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tvm
from tvm import autotvm, relay, te
from tvm.autotvm.task.topi_integration import TaskExtractEnv
from tvm.target import Target

from tvm_coexec.core.devices import GPU_NAMES
from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.opencl.schedules.device import device_traits
from tvm_coexec.opencl.schedules.workloads import Workload

from .scope import autotvm_scope

logger = logging.getLogger("tvm_coexec")

TUNERS = ("autotvm", "autoscheduler", "metaschedule")
_TUNED_PATTERN = 4  # kOutEWiseFusable: convolutions and products, to which other operators are fused


def check_tuner(tuner: str) -> str:
    """Return the name of a tuner; raise `CoExecError` for an unknown one."""
    if tuner not in TUNERS:
        raise CoExecError(f"tuner '{tuner}' is unknown; use one of {', '.join(TUNERS)}")
    return tuner


def anchor_calls(func: relay.Function, target: Target) -> list[relay.Call]:
    """Return the calls of a function that have schedules to tune, after the target has legalised them."""
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(func))
    with target:
        mod = relay.transform.InferType()(relay.transform.Legalize()(mod))
    found: list[relay.Call] = []

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op):
            pattern = node.op.get_attr("TOpPattern")
            if pattern is not None and int(pattern) == _TUNED_PATTERN:
                found.append(node)

    relay.analysis.post_order_visit(mod["main"].body, visit)
    return found


def _placeholders(call: relay.Call) -> list[te.Tensor]:
    return [te.placeholder(a.checked_type.shape, a.checked_type.dtype) for a in call.args]


def chosen_workload(call: relay.Call, target: Target) -> Workload | None:
    """Return the workload of the implementation that a build would choose; `None` if no template implements it."""
    with target, autotvm_scope(silent=True):
        select = relay.backend.te_compiler.select_implementation
        _, outputs = select(call.op, call.attrs, _placeholders(call), call.checked_type, target)
    return autotvm.task.get_workload(outputs)


def autotvm_workloads(func: relay.Function, target: Target) -> list[Workload]:
    """Return the workloads of all templates that implement the operators of a function, in order."""
    environment = TaskExtractEnv.get()
    environment.reset()
    with environment, target, autotvm_scope(silent=True):
        for call in anchor_calls(func, target):
            inputs = _placeholders(call)
            implementations = relay.backend.te_compiler.get_valid_implementations(
                call.op, call.attrs, inputs, call.checked_type, target
            )
            for implementation in implementations:
                implementation.compute(call.attrs, inputs, call.checked_type)
    return [(name, *args) for name, args in environment.get_tasks()]


def extract(func: relay.Function, target: Target, tuner: str) -> list[tuple[str, Any]]:
    """Return the tasks of a function, each with a text that is equal for equal tasks.

    Raises
    ------
    CoExecError
        If this TVM has no such tuner for the target.
    """
    with autotvm_scope(silent=True):
        if tuner == "autotvm":
            return list(_autotvm_tasks(func, target))
        return list((_auto_scheduler_tasks if tuner == "autoscheduler" else _meta_schedule_tasks)(func, target))


def _autotvm_tasks(func: relay.Function, target: Target) -> Iterator[tuple[str, Any]]:
    for workload in autotvm_workloads(func, target):
        try:
            task = autotvm.task.create(workload[0], workload[1:], target)
        except Exception as err:  # of any class: a template may refuse a shape, which then has no task
            logger.info("%s has no tuning task on %s: %s", workload[0], target.kind.name, one_line(err))
            continue
        yield str(workload), task


def _auto_scheduler_tasks(func: relay.Function, target: Target) -> Iterator[tuple[str, Any]]:
    from tvm import auto_scheduler

    mod = tvm.IRModule.from_expr(func)
    tasks, _ = auto_scheduler.extract_tasks(mod, {}, target, hardware_params=_hardware(target))
    for task in tasks:
        yield task.workload_key, task


def _hardware(target: Target) -> Any:
    """The limits of an OpenCL or Vulkan device; `None` leaves them to TVM.

    TVM would query this machine's device, which may be another one, and with the warp size of 1 that these targets
    have by default its search may not end.
    """
    from tvm import auto_scheduler

    if target.kind.name not in GPU_NAMES:
        return None
    traits = device_traits(target)
    return auto_scheduler.HardwareParams(**gpu_limits(traits.local_bytes, traits.max_threads, traits.warp))


def gpu_limits(local_bytes: int, threads: int, warp: int) -> dict[str, int]:
    """Return the arguments of the auto-scheduler's ``HardwareParams`` for an OpenCL or Vulkan device.

    Parameters
    ----------
    local_bytes, threads : int
        Local memory, and work-items, of a work-group at most.
    warp : int
        Work-items that run in lockstep.
    """
    return {
        "num_cores": -1,
        "vector_unit_bytes": 16,
        "cache_line_bytes": 64,
        "max_shared_memory_per_block": local_bytes,
        "max_local_memory_per_block": 2**31 - 1,  # of registers: no limit
        "max_threads_per_block": threads,
        "max_vthread_extent": max(1, warp // 4),
        "warp_size": warp,
    }


def _meta_schedule_tasks(func: relay.Function, target: Target) -> Iterator[tuple[str, Any]]:
    from tvm import meta_schedule

    for task in meta_schedule.relay_integration.extract_tasks(tvm.IRModule.from_expr(func), target, {}):
        yield f"{tvm.ir.structural_hash(task.dispatched[0]) & (2**64 - 1):016x}", task


def check_targets(targets: Sequence[Target], tuner: str) -> None:
    """Raise `CoExecError` if a tuner can't tune for one of the targets."""
    for target in targets:
        try:
            _CHECKS[tuner](target)
        except CoExecError:
            raise
        except Exception as err:  # of any class
            raise refuse(tuner, target, err) from None


def refuse(tuner: str, target: Target, err: Exception) -> CoExecError:
    """Return the error of a tuner that can't tune for a target."""
    why = one_line(err, 120)
    return CoExecError(f"tuner '{tuner}' can't tune for {target.kind.name} in this TVM ({why}): use autotvm")


def _check_auto_scheduler(target: Target) -> None:
    from tvm import auto_scheduler

    if _hardware(target) is None:
        auto_scheduler.HardwareParams(target=target)


def _check_meta_schedule(target: Target) -> None:
    """Check the attributes that the default schedule rules need.

    TVM itself would check them when the search begins, and before that parse its tensor intrinsics for half a minute.
    """
    needed = ("num-cores",) if target.kind.name == "llvm" else ("max_shared_memory_per_block", "max_threads_per_block")
    if missing := [name for name in needed if name not in target.attrs]:
        raise CoExecError(
            f"tuner 'metaschedule' needs -{missing[0]} of the target {target.kind.name}: give '{target.kind.name} "
            f"-{missing[0]}=...', or use autotvm"
        )


_CHECKS: dict[str, Callable[[Target], object]] = {
    "autotvm": lambda target: target,
    "autoscheduler": _check_auto_scheduler,
    "metaschedule": _check_meta_schedule,
}
