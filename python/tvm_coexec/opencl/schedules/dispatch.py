"""AutoTVM's root dispatch context with configurations for shares.

TVM queries the innermost context for a configuration of each workload; a workload that it does not know is passed
outwards, to the user's tuning records, to TopHub, and finally to the root context. Stock TVM's root returns a fallback
that is 10 to 20 times too slow without reference logs. `SharesContext` replaces it: it first asks `serve_records`
whether a record of the same operator serves the workload, then configures the workloads that it knows for the target,
and leaves all others to the stock fallback. Since it is the root, records of the workload itself always win.

A configuration that is not a fallback also takes part in the choice between an operator's implementations: the one of
least cost wins, whatever the priorities. So only implementations that are good without tuning have one here (direct
convolution, not Winograd), at costs far above any measured one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ClassVar

from tvm.autotvm.task.dispatcher import DispatchContext, FallbackContext
from tvm.autotvm.task.space import ConfigEntity, OtherOptionEntity
from tvm.target import Target

from . import batch_matmul, conv1d, conv2d, conv2d_transpose, conv3d, dense, depthwise_conv2d, group_conv2d
from .device import DeviceTraits, device_traits, is_gpu_target
from .workloads import NotStatic, Workload

_log = logging.getLogger("tvm_coexec")

Schedule = Callable[[Workload, DeviceTraits], ConfigEntity | None]

TEMPLATES: dict[str, Schedule] = {
    "conv2d_nchw.cuda": conv2d.conv2d_nchw,
    "group_conv2d_nchw.cuda": group_conv2d.group_conv2d_nchw,
    "depthwise_conv2d_nchw.cuda": depthwise_conv2d.depthwise_conv2d_nchw,
    "conv2d_transpose_nchw.cuda": conv2d_transpose.conv2d_transpose_nchw,
    "conv1d_ncw.cuda": conv1d.conv1d_ncw,
    "group_conv1d_ncw.cuda": conv1d.group_conv1d_ncw,
    "conv1d_nwc.cuda": conv1d.conv1d_nwc,
    "group_conv1d_nwc.cuda": conv1d.group_conv1d_nwc,
    "conv3d_ncdhw.cuda": conv3d.conv3d_ncdhw,
    "dense_small_batch.gpu": dense.dense_small_batch,
    "dense_large_batch.gpu": dense.dense_large_batch,
    "matmul_default.gpu": dense.matmul_default,
    "batch_matmul.cuda": batch_matmul.batch_matmul,
}
# The same for CPU targets; `tvm_coexec.llvm` adds to it.
CPU_TEMPLATES: dict[str, Callable[[Workload, Target], ConfigEntity | None]] = {}


class SharesContext(FallbackContext):
    """The root context; a FallbackContext, so that TVM enters TopHub's context on top of it.

    Attributes
    ----------
    serve_records : callable or None
        Of the class. Returns a configuration for a target and a workload from records of other workloads that are in
        force, or `None`. `tvm_coexec.tuning` sets it.
    """

    serve_records: ClassVar[Callable[[Target, Workload], ConfigEntity | None] | None] = None

    def _query_inside(self, target: Target, workload: Workload) -> ConfigEntity:
        serve = type(self).serve_records
        if serve is not None and (served := serve(target, workload)) is not None:
            return served  # not kept: it must not outlive the records
        key = (str(target), workload)
        if key not in self.memory and (entity := configuration(target, workload)) is not None:
            self.memory[key] = entity
        return super()._query_inside(target, workload)


def configuration(target: Target | None, workload: Workload | None) -> ConfigEntity | None:
    """Return a configuration for a workload on a target.

    Parameters
    ----------
    target : Target or None
    workload : Workload or None
        The template's name and its arguments, as AutoTVM writes them.

    Returns
    -------
    ConfigEntity or None
        `None` leaves the workload to the stock fallback.
    """
    if workload is None or target is None or workload[0] not in (TEMPLATES if is_gpu_target(target) else CPU_TEMPLATES):
        return None
    if _has_better(target, workload):
        return None
    try:
        if not is_gpu_target(target):
            return CPU_TEMPLATES[workload[0]](workload, target)
        entity = TEMPLATES[workload[0]](workload, device_traits(target))
    except NotStatic as reason:
        _log.debug("%s: stock fallback, since an extent is not constant: %s", workload[0], reason)
        return None
    if entity is not None and target.kind.name in ("nvptx", "rocm"):
        entity._entity_map["unroll_explicit"] = OtherOptionEntity(1)  # TVM's LLVM GPU backends support no other value
    return entity


def _has_better(target: Target, workload: Workload) -> bool:
    """Return whether the target has implementations that must win against a prior: vendor libraries, tensor cores."""
    return bool(target.libs) or (target.kind.name == "cuda" and workload[1][2] != "float32")


def root() -> DispatchContext:
    """Return the outermost context."""
    context = DispatchContext.current
    while (outer := getattr(context, "_old_ctx", None)) is not None:
        context = outer
    return context


def forget(template: str) -> None:
    """Remove a template's configurations from the root context's cache."""
    memory = root().memory
    for key in [k for k in memory if k[1] and k[1][0] == template]:
        del memory[key]


def replace_root(new: FallbackContext) -> FallbackContext:
    """Replace the root context, also below contexts that are currently entered.

    Parameters
    ----------
    new : FallbackContext
        Takes over the old root's cache.

    Returns
    -------
    FallbackContext
        The old root.
    """
    old = root()
    new._old_ctx = None
    new.memory = old.memory
    if DispatchContext.current is old:
        DispatchContext.current = new
    else:
        context = DispatchContext.current
        while context._old_ctx is not old:
            context = context._old_ctx
        context._old_ctx = new
    return old
