"""Operators that pick elements by index."""

from __future__ import annotations

from tvm import relay

from tvm_coexec.core.access import identity
from tvm_coexec.core.op_kinds import OpKind

from .base import ArgAccess, OpSplit, Refusal, Rule, rule, shape_of


@rule("take")
class Take(Rule):
    """Dimensions of the indices (each device looks up its own), and those of the data that are not looked up in."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension."""
        data, indices = shape_of(call.args[0]), shape_of(call.args[1])
        if int(call.attrs.batch_dims):
            raise Refusal("take with batch dimensions")
        axis = None if call.attrs.axis is None else int(call.attrs.axis) % len(data)
        first = 0 if axis is None else axis
        found = {first + d: OpSplit((None, ArgAccess(d, identity(n)))) for d, n in enumerate(indices)}
        for d, n in enumerate(data if axis is not None else []):
            if d != axis:
                found[d if d < first else d - 1 + len(indices)] = OpSplit((ArgAccess(d, identity(n)), None))
        return found


@rule("gather")
class Gather(Rule):
    """Along its axis each device looks up its own indices; other dimensions are independent."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """The axis, and every dimension that data and indices share."""
        data, out = shape_of(call.args[0]), shape_of(call)
        axis = int(call.attrs.axis) % len(data)
        found = {axis: OpSplit((None, ArgAccess(axis, identity(out[axis]))))}
        for d, n in enumerate(out):
            if d != axis and data[d] == n:
                found[d] = OpSplit((ArgAccess(d, identity(n)), ArgAccess(d, identity(n))))
        return found


@rule("one_hot")
class OneHot(Rule):
    """Every dimension of the indices."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension but the new one."""
        out = shape_of(call)
        axis = int(call.attrs.axis) % len(out)
        dims = [d for d in range(len(out)) if d != axis]
        return {d: OpSplit((ArgAccess(i, identity(out[d])), None, None)) for i, d in enumerate(dims)}
