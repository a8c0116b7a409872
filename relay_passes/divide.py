"""From a plan to the functions of both devices, and to a module for both: the sequence of the passes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import tvm
from tvm.target import Target

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan

from .compilable import Uncompilable, check_compilable
from .extract import Extracted
from .layout import AlterShareLayouts
from .outline import OutlineSegments
from .schedule_devices import ScheduleDevices
from .split import SplitChains

logger = logging.getLogger("tvm_coexec")


def make_shares(prepared: tvm.IRModule, extracted: Extracted, plan: Plan, targets: Sequence[Target]) -> tvm.IRModule:
    """Make a plan's functions of both devices, with data layouts chosen.

    Raises
    ------
    Uncompilable
        If TVM can't compile one of the GPU's.
    """
    outlined = OutlineSegments(plan, extracted)(prepared)
    altered = AlterShareLayouts(*targets)(SplitChains()(outlined))
    check_compilable(altered, plan, extracted.graph, targets[1])
    return altered


def place(shares: tvm.IRModule, plan: Plan, targets: Sequence[Target]) -> tvm.IRModule:
    """Return a module for both devices of what `make_shares` made."""
    return ScheduleDevices(targets[0], targets[1], blocking=plan.runtime == "tvm")(shares)


def divide_compilably(
    prepared: tvm.IRModule, extracted: Extracted, plan: Callable[[KernelGraph], Plan], targets: Sequence[Target]
) -> tuple[Plan, Extracted, tvm.IRModule]:
    """Plan a module, and plan again as long as TVM can't compile the plan's work for the GPU.

    Parameters
    ----------
    prepared : IRModule
        After `Prepare`.
    extracted : Extracted
        Its kernels.
    plan : callable
        Makes a plan for a graph, or raises `CoExecError`. It is called again with a graph restricted by the refusals,
        which the plan must respect (`Plan.check`).
    targets : (Target, Target)
        CPU and GPU.

    Returns
    -------
    plan : Plan
    extracted : Extracted
        Holds the graph that the plan was made for.
    shares : IRModule
        The functions of both devices, with data layouts chosen.
    """
    while True:
        made = plan(extracted.graph)
        try:
            return made, extracted, make_shares(prepared, extracted, made, targets)
        except Uncompilable as err:
            for r in err.refusals:
                logger.info("kernel %d (%s): %s", r.kernel, extracted.graph.kernels[r.kernel].name, r.reason)
            extracted = Extracted(extracted.graph.restrict(err.refusals), extracted.calls)
