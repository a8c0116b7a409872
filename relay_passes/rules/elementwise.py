"""Operators whose output elements depend on the input elements at the same place."""

from __future__ import annotations

from tvm import relay

from tvm_coexec.kernel_graph import identity

from .base import ArgNeed, OpSplit, Refusal, Rule, flat_args, rule, shape_of

UNARY = (
    "abs acos acosh asin asinh atan atanh cast ceil clip copy cos cosh erf exp fast_erf fast_exp fast_tanh floor "
    "fixed_point_multiply isfinite isinf isnan log log10 log2 logical_not bitwise_not negative nn.fast_softplus "
    "nn.leaky_relu nn.relu round rsqrt sigmoid sign sin sinh sqrt tan tanh trunc"
).split()
BROADCAST = (
    "add subtract multiply divide floor_divide trunc_divide mod floor_mod trunc_mod power maximum minimum "
    "equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor "
    "bitwise_and bitwise_or bitwise_xor left_shift right_shift where squared_difference"
).split()


@rule(*UNARY, *BROADCAST)
class Elementwise(Rule):
    """Arguments align with the output from the right; size-1 dimensions are broadcast and stay whole."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        out = shape_of(call)
        args = [shape_of(a) for a in flat_args(call)]
        found = {}
        for dim, extent in enumerate(out):
            needs: list[ArgNeed | None] = []
            for shape in args:
                d = dim - (len(out) - len(shape))
                needs.append(ArgNeed(d, identity(extent)) if d >= 0 and shape[d] == extent and extent > 1 else None)
            if any(needs):
                found[dim] = OpSplit(tuple(needs))
        return found


class VectorOnAxis(Rule):
    """`op(data, vector, ...)` where the vectors run along one axis of the data."""

    attr = "axis"

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        out = shape_of(call)
        args = [shape_of(a) for a in flat_args(call)]
        axis = int(call.attrs[self.attr]) % len(out)
        found = {}
        for dim, extent in enumerate(out):
            needs: list[ArgNeed | None] = [ArgNeed(dim, identity(extent))]
            for shape in args[1:]:
                if len(shape) != 1:
                    raise Refusal(f"{call.op.name} with a {len(shape)}-dimensional parameter")
                needs.append(ArgNeed(0, identity(extent)) if dim == axis and shape[0] == extent > 1 else None)
            found[dim] = OpSplit(tuple(needs))
        return found


@rule("nn.bias_add", "nn.prelu")
class BiasAdd(VectorOnAxis):
    """Bias and PReLU slopes."""


@rule("fixed_point_multiply_per_axis")
class FixedPointMultiplyPerAxis(Rule):
    """Requantization with a scale per channel: multiplier and shifts run along one axis."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        out = shape_of(call)
        axes = [int(a) for a in call.attrs["axes"]]
        if len(axes) != 1:
            raise Refusal("fixed_point_multiply_per_axis over several axes")
        found = {}
        for dim, extent in enumerate(out):
            vector = ArgNeed(0, identity(extent)) if dim == axes[0] % len(out) else None
            rest = [vector if shape_of(a) == [extent] else None for a in flat_args(call)[1:]]
            found[dim] = OpSplit((ArgNeed(dim, identity(extent)), *rest))
        return found


class AllButAxis(Rule):
    """Operators that mix elements along one axis and leave all other dimensions independent."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        out = shape_of(call)
        axis = int(call.attrs["axis"]) % len(out)
        return {d: OpSplit((ArgNeed(d, identity(n)),)) for d, n in enumerate(out) if d != axis}


@rule("nn.softmax", "nn.log_softmax", "nn.fast_softmax", "nn.lrn")
class Softmax(AllButAxis):
    """Softmax-like operators and LRN; along their own axis they need everything."""


@rule("mean", "sum", "max", "min", "prod", "variance", "argmax", "argmin", "all", "any")
class Reduce(Rule):
    """Reductions: every dimension that is not reduced."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        args = flat_args(call)
        data = shape_of(args[0])
        axis = call.attrs["axis"]
        reduced = set(range(len(data))) if axis is None else {int(a) % len(data) for a in list(axis)}
        if int(call.attrs["exclude"]):
            reduced = set(range(len(data))) - reduced
        keepdims = bool(call.attrs["keepdims"])
        found, out_dim = {}, 0
        for d, n in enumerate(data):
            if d in reduced:
                out_dim += keepdims
                continue
            # variance takes the mean as a second argument, shaped with kept dimensions
            rest = [ArgNeed(d, identity(n)) if len(shape_of(a)) == len(data) else None for a in args[1:]]
            if any(r is None for r in rest):
                raise Refusal(f"{call.op.name} with an argument of another rank")
            found[out_dim] = OpSplit((ArgNeed(d, identity(n)), *rest))
            out_dim += 1
        return found
