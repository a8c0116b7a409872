"""Operators that read elements by index."""

from __future__ import annotations

from tvm import relay

from tvm_coexec.core.access import identity
from tvm_coexec.core.op_kinds import OpKind

from .base import ArgAccess, NotSplittable, OpSplit, Rule, rule, shape_of


@rule("take")
class Take(Rule):
    """Lookup along one axis: dimensions of the indices, and the data's other dimensions, are independent."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension of the output."""
        data, indices = shape_of(call.args[0]), shape_of(call.args[1])
        if int(call.attrs.batch_dims):
            raise NotSplittable("take with batch dimensions")
        axis = None if call.attrs.axis is None else int(call.attrs.axis) % len(data)
        first = 0 if axis is None else axis
        found = {first + d: OpSplit((None, ArgAccess(d, identity(n)))) for d, n in enumerate(indices)}
        for d, n in enumerate(data if axis is not None else []):
            if d != axis:
                found[d if d < first else d - 1 + len(indices)] = OpSplit((ArgAccess(d, identity(n)), None))
        return found


@rule("gather")
class Gather(Rule):
    """Lookup along one axis with indices of the output's shape; other dimensions are independent."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along the axis, and along dimensions in which data and indices have the same size."""
        data, out = shape_of(call.args[0]), shape_of(call)
        axis = int(call.attrs.axis) % len(data)
        found = {axis: OpSplit((None, ArgAccess(axis, identity(out[axis]))))}
        for d, n in enumerate(out):
            if d != axis and data[d] == n:
                found[d] = OpSplit((ArgAccess(d, identity(n)), ArgAccess(d, identity(n))))
        return found


@rule("one_hot")
class OneHot(Rule):
    """One-hot encoding: dimensions of the indices are independent."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension except the new one."""
        out = shape_of(call)
        axis = int(call.attrs.axis) % len(out)
        dims = [d for d in range(len(out)) if d != axis]
        return {d: OpSplit((ArgAccess(i, identity(out[d])), None, None)) for i, d in enumerate(dims)}
