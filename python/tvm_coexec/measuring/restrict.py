"""Restrict kernels to the CPU that failed when they were measured on the GPU."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm.target import Target

from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.core.refusals import Refusal
from tvm_coexec.cost_models import Costs
from tvm_coexec.relay_passes.compilable import Uncompilable
from tvm_coexec.relay_passes.divide import make_shares
from tvm_coexec.relay_passes.extract import Extracted


def restrict_to_measured(
    prepared: tvm.IRModule, extracted: Extracted, costs: Costs | None, targets: Sequence[Target]
) -> Extracted:
    """Restrict kernels that failed when measured on the GPU to the CPU, with TVM's reason.

    Parameters
    ----------
    prepared, extracted, targets
        See `relay_passes.divide.divide_compilably`.
    costs : Costs or None
        Only measured costs record failures; with other costs nothing changes.
    """
    graph = extracted.graph
    if costs is None:
        return extracted
    failed = {k.index for k in graph.kernels if not k.cpu_only and costs.has_failed("gpu", k)}
    if not failed:
        return extracted
    reasons = dict.fromkeys(failed, "it failed when measured on the GPU")
    segments = tuple(Segment("gpu" if k.index in failed else "cpu", (k.index,)) for k in graph.kernels)
    try:
        make_shares(prepared, extracted, Plan(graph.fingerprint(), segments), targets)
    except Uncompilable as err:
        reasons |= {r.kernel: r.reason for r in err.refusals}
    return Extracted(graph.restrict(Refusal(k, "", why) for k, why in sorted(reasons.items())), extracted.calls)
