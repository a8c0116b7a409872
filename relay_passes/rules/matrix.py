"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relay

from tvm_coexec.core.access import Range, identity
from tvm_coexec.core.kernel_graph import REDUCED
from tvm_coexec.core.op_kinds import OpKind

from .base import ArgAccess, OpSplit, Refusal, Rule, elements, rule, shape_of, with_args, with_attrs


@rule("nn.dense", "nn.matmul")
class Dense(Rule):
    """Rows (`m`) come from the first factor, columns (`n`) from the second; both have what is summed over."""

    kind = OpKind.DENSE

    def flops(self, call: relay.Call) -> float:
        """A product and a sum for each element of the output and each column of the first factor."""
        is_transposed = call.op.name == "nn.matmul" and bool(call.attrs.transpose_a)
        return 2.0 * elements(call) * shape_of(call.args[0])[-2 if is_transposed else -1]

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """See `Rule.splits`."""
        a, b, out = shape_of(call.args[0]), shape_of(call.args[1]), shape_of(call)
        if call.op.name == "nn.dense":
            transpose_a, transpose_b = False, True
        else:
            transpose_a, transpose_b = bool(call.attrs.transpose_a), bool(call.attrs.transpose_b)
        if transpose_a and len(a) != 2:
            raise Refusal("a transposed first factor of more than two dimensions")
        last = len(out) - 1
        found = {}
        for dim in range(last):
            source = 1 if transpose_a else dim
            found[dim] = OpSplit((ArgAccess(source, identity(out[dim])), None))
        found[last] = OpSplit((None, ArgAccess(0 if transpose_b else 1, identity(b[0 if transpose_b else 1]))))
        depth = 0 if transpose_a else len(a) - 1
        summed = identity(a[depth])
        found[REDUCED] = OpSplit((ArgAccess(depth, summed), ArgAccess(1 if transpose_b else 0, summed)))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """See `Rule.rebuild`; ``units`` is the number of columns."""
        columns = dim == len(shape_of(call)) - 1
        if not columns or call.attrs.units is None:
            return with_args(call, args)
        return with_args(call, args, with_attrs(call, units=r[1] - r[0]))


@rule("nn.batch_matmul")
class BatchMatmul(Rule):
    """Batch (attention heads among them), rows, columns, the sum; a factor with batch 1 is shared by both devices."""

    kind = OpKind.BATCH_MATMUL

    def flops(self, call: relay.Call) -> float:
        """A product and a sum for each element of the output and each column of the first factor."""
        return 2.0 * elements(call) * shape_of(call.args[0])[1 if bool(call.attrs.transpose_a) else 2]

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """See `Rule.splits`."""
        a, b, out = shape_of(call.args[0]), shape_of(call.args[1]), shape_of(call)
        row = 2 if bool(call.attrs.transpose_a) else 1
        column = 1 if bool(call.attrs.transpose_b) else 2
        batch = tuple(ArgAccess(0, identity(out[0])) if s[0] == out[0] > 1 else None for s in (a, b))
        found = {
            1: OpSplit((ArgAccess(row, identity(out[1])), None)),
            2: OpSplit((None, ArgAccess(column, identity(out[2])))),
        }
        if any(batch):
            found[0] = OpSplit(batch)
        summed = identity(a[3 - row])
        found[REDUCED] = OpSplit((ArgAccess(3 - row, summed), ArgAccess(3 - column, summed)))
        return found
