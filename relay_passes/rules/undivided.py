"""Operators that are not divided, whose cost is known nevertheless."""

from __future__ import annotations

from tvm_coexec.core.op_kinds import OpKind

from .base import Rule, rule


@rule(
    *("gather_nd", "reverse", "split", "nn.batch_to_space_nd", "nn.space_to_batch_nd", "dyn.broadcast_to"),
    *("dyn.expand_dims", "dyn.image.resize2d", "dyn.nn.pad", "dyn.nn.upsampling", "dyn.nn.upsampling3d"),
    *("dyn.squeeze", "dyn.strided_slice", "dyn.tile"),
)
class Rearrangement(Rule):
    """Elements in another order, or some of them."""

    kind = OpKind.MOVE


@rule("dyn.reshape")
class DynamicReshape(Rule):
    """A reshape to a shape that is computed at run time."""

    kind = OpKind.VIEW


@rule("dyn.topk", "vision.get_valid_counts")
class Selection(Rule):
    """Elements chosen by their values."""

    kind = OpKind.OTHER
