"""Which kernel of a plan got what: a record, an adapted one, or a schedule without one."""

from __future__ import annotations

from tvm_coexec.core.plan import Plan
from tvm_coexec.measuring.pieces import KernelBuilder
from tvm_coexec.relay_passes.layout import tuned_records
from tvm_coexec.report.sources_text import KernelSource

from .parts import iterate_heavy, plan_parts
from .serving import find_source
from .tuners import anchor_calls, chosen_workload


def find_sources(builder: KernelBuilder, plan: Plan) -> tuple[KernelSource, ...]:
    """Determine where the configurations of a plan's compute-intensive kernels come from.

    Parameters
    ----------
    builder : KernelBuilder
        Of the plan's model.
    plan : Plan

    Returns
    -------
    tuple of KernelSource
        In the order of the plan, each share once; with the records that are in force now.
    """
    graph, found = builder.graph, list[KernelSource]()
    with tuned_records([builder.cpu, builder.gpu]):
        for part in iterate_heavy(graph, plan_parts(graph, plan, None)):
            target = builder.gpu if part.device == "gpu" else builder.cpu
            rows = 0 if part.rows is None else part.rows[1] - part.rows[0]
            for call in anchor_calls(builder.unaltered(part.piece), target):
                workload = chosen_workload(call, target)
                template = "" if workload is None else workload[0]
                source = "no template" if workload is None else find_source(target, workload).to_text()
                found.append(KernelSource(part.kernels, part.name, part.device, rows, template, source))
    return tuple(found)
