"""Operators that are not splittable, with a kind for cost models."""

from __future__ import annotations

from tvm_coexec.core.op_kinds import OpKind

from .base import Rule, rule


@rule(
    *("reverse", "split", "nn.batch_to_space_nd", "nn.space_to_batch_nd", "dyn.broadcast_to"),
    *("dyn.expand_dims", "dyn.image.resize2d", "dyn.nn.pad", "dyn.nn.upsampling", "dyn.nn.upsampling3d"),
    *("dyn.squeeze", "dyn.strided_slice", "dyn.tile"),
)
class Rearrangement(Rule):
    """Operators that reorder or select elements."""

    kind = OpKind.MOVE


@rule("dyn.reshape")
class DynamicReshape(Rule):
    """Reshape to a shape that is computed at run time."""

    kind = OpKind.VIEW


@rule("dyn.topk", "vision.get_valid_counts")
class Selection(Rule):
    """Operators that select elements by value."""

    kind = OpKind.OTHER
