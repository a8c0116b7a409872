"""Elementwise operators, and others that leave all but one axis independent."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relay

from tvm_coexec.core.access import AccessMap, Range, identity
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.core.special_functions import INTEGER, SPECIAL_FUNCTIONS

from .base import (
    ArgAccess,
    NotSplittable,
    OpSplit,
    Rule,
    count_elements,
    flat_args,
    int_list,
    rule,
    shape_of,
    slice_expr,
    with_args,
)

UNARY = [
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bitwise_not", "cast", "ceil", "clip", "copy", "cos",
    "cosh", "erf", "exp", "fast_erf", "fast_exp", "fast_tanh", "fixed_point_multiply", "floor", "isfinite", "isinf",
    "isnan", "log", "log10", "log2", "logical_not", "negative", "nn.leaky_relu", "nn.relu",
    "ones_like", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "zeros_like",
]  # fmt: skip
BROADCAST = [
    "add", "bitwise_and", "bitwise_or", "bitwise_xor", "divide", "equal", "floor_divide", "floor_mod", "greater",
    "greater_equal", "left_shift", "less", "less_equal", "logical_and", "logical_or", "logical_xor", "maximum",
    "minimum", "mod", "multiply", "not_equal", "power", "right_shift", "subtract", "trunc_divide", "trunc_mod",
    "where",
]  # fmt: skip


def count_function(call: relay.Call, name: str, times: float | None = None) -> dict[str, float]:
    """Return `Rule.functions` of one function, by default evaluated once for each element of the output.

    Division and remainder of integers have names of their own, since they are other instructions.
    """
    if name in INTEGER and "int" in str(call.checked_type.dtype):
        name = INTEGER[name]
    return {name: count_elements(call) if times is None else times} if name in SPECIAL_FUNCTIONS else {}


@rule(*UNARY, *BROADCAST, "broadcast_to_like")
class Elementwise(Rule):
    """Elementwise with broadcasting: shapes align on the right, and dimensions of size 1 are read whole."""

    def functions(self, call: relay.Call) -> dict[str, float]:
        """Count one evaluation for each element, of operators that are special functions."""
        return count_function(call, call.op.name)

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension that some argument has."""
        out = shape_of(call)
        args = [shape_of(a) for a in flat_args(call)]
        found = {}
        for dim, extent in enumerate(out):
            needs: list[ArgAccess | None] = []
            for shape in args:
                d = dim - (len(out) - len(shape))
                needs.append(ArgAccess(d, identity(extent)) if d >= 0 and shape[d] == extent and extent > 1 else None)
            if any(needs):
                found[dim] = OpSplit(tuple(needs))
        return found


@rule("broadcast_to")
class BroadcastTo(Elementwise):
    """Broadcast of one tensor to a shape."""

    kind = OpKind.MOVE

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Broadcast the argument to the share's shape."""
        shape = shape_of(call)
        shape[dim] = r[1] - r[0]
        return relay.broadcast_to(args[0], shape)


@rule("nn.bias_add", "nn.prelu")
class VectorOnAxis(Rule):
    """``op(data, vector)`` with a vector along one axis of the data: biases and PReLU slopes."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension."""
        out, vector = shape_of(call), shape_of(call.args[1])
        if len(vector) != 1:
            raise NotSplittable(f"{call.op.name} with a {len(vector)}-dimensional parameter")
        axis = int(call.attrs.axis) % len(out)
        found = {}
        for dim, extent in enumerate(out):
            part = ArgAccess(0, identity(extent)) if dim == axis and vector[0] == extent > 1 else None
            found[dim] = OpSplit((ArgAccess(dim, identity(extent)), part))
        return found


@rule("fixed_point_multiply_per_axis")
class FixedPointMultiplyPerAxis(Rule):
    """Requantisation with one scale per channel: multipliers and shifts are vectors along one axis."""

    def functions(self, call: relay.Call) -> dict[str, float]:
        """Count a product of 64-bit integers, with rounding, for each element."""
        return count_function(call, call.op.name)

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension."""
        out, axes = shape_of(call), int_list(call.attrs.axes)
        if len(axes) != 1:
            raise NotSplittable("fixed_point_multiply_per_axis over several axes")
        vectors = [shape_of(a) for a in call.args[1:]]
        found = {}
        for dim, extent in enumerate(out):
            along = dim == axes[0] % len(out)
            rest = [ArgAccess(0, identity(extent)) if along and v == [extent] else None for v in vectors]
            found[dim] = OpSplit((ArgAccess(dim, identity(extent)), *rest))
        return found


class AllButAxis(Rule):
    """Operators that combine elements along one axis; all other dimensions are independent."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension except the axis."""
        out = shape_of(call)
        if call.attrs.axis is None or len(out) != len(shape_of(call.args[0])):
            raise NotSplittable(f"{call.op.name} works on the flattened array")
        axis = int(call.attrs.axis) % len(out)
        return {d: OpSplit((ArgAccess(d, identity(n)),)) for d, n in enumerate(out) if d != axis}


@rule("nn.softmax", "nn.log_softmax", "nn.fast_softmax")
class Softmax(AllButAxis):
    """Softmax along the axis."""

    kind = OpKind.SOFTMAX

    def functions(self, call: relay.Call) -> dict[str, float]:
        """Count an exponential for each element; and a division for each, or a logarithm for each sum."""
        elements = count_elements(call)
        if call.op.name == "nn.log_softmax":
            return {"exp": elements, "log": elements / max(1, shape_of(call)[int(call.attrs.axis)])}
        return {"fast_exp" if "fast" in call.op.name else "exp": elements, "divide": elements}


@rule("cumsum", "cumprod")
class Scan(AllButAxis):
    """Cumulative sums and products along the axis."""

    kind = OpKind.REDUCE


@rule("nn.lrn")
class LocalResponseNorm(Rule):
    """Local response normalisation. Along its axis a share reads a halo of half a window, and crops its ends."""

    kind = OpKind.LRN

    def functions(self, call: relay.Call) -> dict[str, float]:
        """Count a power and a division for each element."""
        return {name: count_elements(call) for name in ("power", "divide")}

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension."""
        out, half = shape_of(call), int(call.attrs.size) // 2
        axis = int(call.attrs.axis) % len(out)
        found = {d: OpSplit((ArgAccess(d, identity(n)),)) for d, n in enumerate(out)}
        found[axis] = OpSplit((ArgAccess(axis, AccessMap(1, -half, half, 1, out[axis])),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Compute the share with its halo, and crop it."""
        held = ranges[0]
        assert held is not None
        return slice_expr(with_args(call, args), dim, (r[0] - held[0], r[1] - held[0]), held[1] - held[0])


@rule("mean", "sum", "max", "min", "prod", "variance", "argmax", "argmin", "all", "any")
class Reduce(Rule):
    """Reductions."""

    kind = OpKind.REDUCE

    def flops(self, call: relay.Call) -> float:
        """Count an operation for each input element."""
        return count_elements(call.args[0])

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension that is not reduced."""
        data = shape_of(call.args[0])
        axis = call.attrs.axis
        reduced = set(range(len(data))) if axis is None else {a % len(data) for a in int_list(axis)}
        if int(call.attrs.exclude):
            reduced = set(range(len(data))) - reduced
        keepdims = bool(call.attrs.keepdims)
        # the second argument of variance is the mean, with the data's rank
        rest = [shape_of(a) for a in call.args[1:]]
        if any(len(shape) != len(data) for shape in rest):
            raise NotSplittable(f"{call.op.name} with an argument of another rank")
        found, out_dim = {}, 0
        for d, n in enumerate(data):
            if d in reduced:
                out_dim += keepdims
                continue
            others = [ArgAccess(d, identity(n)) if shape[d] == n > 1 else None for shape in rest]
            found[out_dim] = OpSplit((ArgAccess(d, identity(n)), *others))
            out_dim += 1
        return found
