"""Operators that move elements between channels and spatial positions."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relay

from tvm_coexec.core.access import AccessMap, Range, identity
from tvm_coexec.core.op_kinds import OpKind

from .base import ArgAccess, OpSplit, Rule, rule, shape_of, slice_expr, with_args
from .windows import plain_layout


@rule("nn.depth_to_space")
class DepthToSpace(Rule):
    """Output row ``row`` is read from input row ``row // block``.

    Channels can be split if the channels of one block are contiguous (mode CRD).
    """

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along batch, rows and columns; along channels in mode CRD."""
        layout, data = plain_layout(str(call.attrs.layout)), shape_of(call.args[0])
        block = int(call.attrs.block_size)
        found = {}
        for d, letter in enumerate(layout):
            if letter == "N":
                found[d] = OpSplit((ArgAccess(d, identity(data[d])),))
            elif letter != "C":
                found[d] = OpSplit((ArgAccess(d, AccessMap(1, 0, 0, block, data[d])),))
            elif str(call.attrs.mode) == "CRD":
                found[d] = OpSplit((ArgAccess(d, AccessMap(block**2, 0, block**2 - 1, 1, data[d])),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Compute whole blocks, and crop them if the cut is inside a block."""
        out, held = with_args(call, args), ranges[0]
        assert held is not None
        if plain_layout(str(call.attrs.layout))[dim] in "NC":
            return out
        block = int(call.attrs.block_size)
        return slice_expr(out, dim, (r[0] - held[0] * block, r[1] - held[0] * block), (held[1] - held[0]) * block)


@rule("nn.space_to_depth")
class SpaceToDepth(Rule):
    """An output row reads `block` input rows."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along batch, rows and columns."""
        layout, data = plain_layout(str(call.attrs.layout)), shape_of(call.args[0])
        block = int(call.attrs.block_size)
        found = {}
        for d, letter in enumerate(layout):
            if letter == "N":
                found[d] = OpSplit((ArgAccess(d, identity(data[d])),))
            elif letter != "C":
                found[d] = OpSplit((ArgAccess(d, AccessMap(block, 0, block - 1, 1, data[d])),))
        return found
