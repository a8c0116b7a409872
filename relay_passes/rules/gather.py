"""Operators that read elements by index."""

from __future__ import annotations

from math import prod

from tvm import relay

from tvm_coexec.core.access import identity
from tvm_coexec.core.op_kinds import OpKind

from .base import ArgAccess, NotSplittable, OpSplit, Rule, count_accesses, count_elements, flat_args, rule, shape_of


class Lookup(Rule):
    """Operators that read elements of their first argument at indices: what they access is as large as the output."""

    kind = OpKind.MOVE

    def run(self, call: relay.Call) -> int:
        """Return how many consecutive elements of the data each index reads."""
        return 1

    def reads(self, call: relay.Call) -> tuple[float | None, ...]:
        """Count the rows that are looked up, not the table."""
        run = max(1, self.run(call))
        accessed = count_accesses(count_elements(call) / run, call_data(call), run)
        return (accessed, *[None] * (len(flat_args(call)) - 1))


def call_data(call: relay.Call) -> relay.Expr:
    """Return the argument that a lookup reads."""
    return flat_args(call)[0]


@rule("take")
class Take(Lookup):
    """Lookup along one axis: dimensions of the indices, and the data's other dimensions, are independent."""

    def run(self, call: relay.Call) -> int:
        """Each index reads a row: the dimensions after the axis."""
        data = shape_of(call.args[0])
        return 1 if call.attrs.axis is None else prod(data[int(call.attrs.axis) % len(data) + 1 :])

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
class Gather(Lookup):
    """Lookup along one axis with indices of the output's shape; other dimensions are independent."""

    def run(self, call: relay.Call) -> int:
        """Along the last axis each index reads one element; along others neighbours are read together, if all are."""
        data, axis = shape_of(call.args[0]), int(call.attrs.axis) % len(shape_of(call.args[0]))
        return prod(shape_of(call)[axis + 1 :]) if axis + 1 < len(data) else 1

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


@rule("gather_nd")
class GatherNd(Lookup):
    """Lookup of whole slices by several indices each; not splittable."""

    def run(self, call: relay.Call) -> int:
        """Each tuple of indices reads the dimensions that it does not name."""
        data, indices = (shape_of(a) for a in call.args)
        return prod(data[int(call.attrs.batch_dims) + indices[0] :])


@rule("adv_index")
class AdvancedIndex(Lookup):
    """Lookup by index arrays for the leading dimensions, as numpy's advanced indexing; not splittable."""

    def run(self, call: relay.Call) -> int:
        """Return the product of the dimensions that have no index array."""
        data, *indices = flat_args(call)
        return prod(shape_of(data)[len(indices) :])
