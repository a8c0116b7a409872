"""Operators that stay on the CPU, because TVM's GPU code for them is wrong on some devices or ends the process.

The code is in `topi.cuda`, which serves all GPU targets. Its sort has barriers in divergent branches, and its box
operators read what other work-items write without a barrier, or with a barrier for local memory only. That is correct
only on devices whose work-items run in lockstep. Scans (cumsum), scatter with atomics and searchsorted are correct.
"""

from __future__ import annotations

from tvm import relay

from tvm_coexec.core.op_kinds import OpKind

from .base import Rule, rule

_SORTS = "TVM's GPU code sorts with barriers in divergent branches, which is wrong on some devices"
_RACES = "TVM's GPU code reads what other work-items write without a barrier, which is wrong on some devices"


class _CpuOnly(Rule):
    kind = OpKind.OTHER
    why = ""

    def cpu_only(self, call: relay.Call) -> str:
        """Return a clause that names the operator and what is wrong."""
        return f"{call.op.name} stays on the CPU: {self.why}"


@rule(
    "sort", "argsort", "topk", "unique", "vision.non_max_suppression", "vision.all_class_non_max_suppression"
)  # fmt: skip
class Sort(_CpuOnly):
    """Sorting, and operators that sort."""

    why = _SORTS


@rule("vision.multibox_transform_loc", "vision.proposal")
class Boxes(_CpuOnly):
    """Boxes of detection heads, computed by work-items that depend on each other."""

    why = _RACES
