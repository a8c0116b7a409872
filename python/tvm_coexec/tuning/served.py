"""Which kernels of a model the records in force serve, for costs that know tuned kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tvm.target import Target

from tvm_coexec.core.kernel_graph import DEVICES, Kernel
from tvm_coexec.cost_models import Costs, Profile, describe
from tvm_coexec.cost_models.features.workload import TUNED
from tvm_coexec.measuring.pieces import KernelBuilder, Piece
from tvm_coexec.relay_passes.layout import tuned_records

from .serving import ADAPTED, RECORD, find_source
from .tuners import anchor_calls, chosen_workload


def knows_tuned(costs: Costs | None) -> bool:
    """Return whether costs tell tuned kernels from others: a profile that learned from records."""
    classes = [getattr(m, "classes_", {}) for m in costs.devices.values()] if isinstance(costs, Profile) else []
    return any(TUNED in key.split(".") for known in classes for key in known)


def mark_tuned(builder: KernelBuilder) -> list[tuple[str, int]]:
    """Let costs predict kernels that the records in force serve as tuned ones.

    Parameters
    ----------
    builder : KernelBuilder
        Of the model. Its graph's kernels keep their description with the variant ``tuned``.

    Returns
    -------
    list of (str, int)
        Device and index of the kernels, in order.
    """
    found = []
    with tuned_records([builder.cpu, builder.gpu]):
        for kernel in builder.graph.kernels:
            for device in DEVICES if kernel.is_heavy else ():
                target = builder.gpu if device == "gpu" else builder.cpu
                if device in kernel.devices and _is_served(builder, kernel, device, target):
                    workload = describe(kernel, device)
                    if not workload.is_tuned:
                        algorithm = f"{workload.algorithm}.{TUNED}"
                        kernel.workloads[device] = replace(workload, algorithm=algorithm)
                    found.append((device, kernel.index))
    return found


def _is_served(builder: KernelBuilder, kernel: Kernel, device: str, target: Target) -> bool:
    calls: Sequence = anchor_calls(builder.unaltered(Piece(device, kernel.index)), target)
    workloads = [chosen_workload(call, target) for call in calls]
    return bool(workloads) and all(w and find_source(target, w).kind in (RECORD, ADAPTED) for w in workloads)
