"""Operators that stay on the CPU: what TVM generates for them on a GPU is wrong on some devices, or ends the process.

The reason is in `topi.cuda`, which serves all GPU targets. Its sort has barriers in branches that not all work-items of
a group take, and the boxes' operators read what other work-items write with no barrier between, or with one that holds
for local memory alone: that is right only where work-items run in step. Scans (cumsum), scatter with atomics and
searchsorted are free of it.
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
        """The operator and what is wrong."""
        return f"{call.op.name} stays on the CPU: {self.why}"


@rule(
    "sort", "argsort", "topk", "unique", "vision.non_max_suppression", "vision.all_class_non_max_suppression"
)  # fmt: skip
class Sort(_CpuOnly):
    """Sorting, and what is made of it."""

    why = _SORTS


@rule("vision.multibox_transform_loc", "vision.proposal")
class Boxes(_CpuOnly):
    """Boxes of detection heads, put together by work-items that depend on each other."""

    why = _RACES
