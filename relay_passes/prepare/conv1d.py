"""Compute one-dimensional convolutions as two-dimensional ones of height 1.

TVM has better schedules for `nn.conv2d` on both kinds of device: blocked layouts and vectors of channels on a CPU,
templates that keep the whole window in local memory on a GPU. Kernels wider than one element run up to eight times as
fast. A kernel of width 1 is a matrix product, for which the schedules of `nn.conv1d` are as good; it stays.

TVM does not fuse a reshape into the convolution before it, so a bias or an activation after a reshape would be a kernel
of its own. So elementwise operators, reductions and concatenations that read a map of height 1 are written for four
dimensions as well, and the way back to three is taken only for other readers. These reshapes are views, which cost
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relay

from ..ir_utils import ModulePass, rewrite_main, static_shape
from ..rules.base import flat_args, int_list, with_args, with_attrs
from ..rules.elementwise import BROADCAST, UNARY
from ..rules.windows import split_padding

# Where the dimension of height 1 is in a map, and where the dimensions of three go.
_HEIGHT = 2
_PLACES = (0, 1, 3)
_RANK = len(_PLACES)

_ELEMENTWISE = frozenset([*UNARY, *BROADCAST])
_VECTOR_ON_AXIS = frozenset(["nn.bias_add", "nn.prelu"])
_REDUCTIONS = frozenset(["mean", "sum", "max", "min", "prod", "variance"])


@tvm.transform.module_pass(opt_level=0, name="CoExecComputeConv1dAs2d")
class ComputeConv1dAs2d(ModulePass):
    """Rewrite the convolutions of main that `is_rewritten` names, and what follows them."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the rewritten module, or the module itself if it has no such convolution. Types must be inferred."""
        return rewrite_main(mod, is_rewritten, _Rewriter)


def is_rewritten(node: relay.Expr) -> bool:
    """Whether a typed expression is a floating-point `nn.conv1d` of layout NCW, of static shape, wider than 1."""
    if _operator(node) != "nn.conv1d":
        return False
    attrs = node.attrs
    if (str(attrs.data_layout), str(attrs.kernel_layout)) != ("NCW", "OIW") or str(attrs.out_layout) not in ("", "NCW"):
        return False
    if any(static_shape(e) is None for e in (node, *node.args)):
        return False
    return int(node.args[1].checked_type.shape[2]) > 1 and str(node.checked_type.dtype).startswith("float")


def _operator(node: relay.Expr) -> str:
    return node.op.name if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) else ""


class _Rewriter(relay.ExprMutator):
    """Knows the maps of height 1 for expressions that have one; `visit` gives every expression in its own shape."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: dict[relay.Expr, relay.Expr] = {}  # computed in four dimensions
        self.views: dict[relay.Expr, relay.Expr] = {}  # seen in four dimensions, computed in others

    def visit_call(self, call: relay.Call) -> relay.Expr:
        own = super().visit_call(call)  # knows by then which arguments are maps
        shape = static_shape(call)
        made = self._convolution(call) if is_rewritten(call) else self._reader(call)
        if made is None or shape is None:
            return own
        if _operator(call) in _REDUCTIONS and not int(call.attrs.keepdims):
            return made
        self.maps[call] = made
        return relay.reshape(made, shape)

    def _convolution(self, call: relay.Call) -> relay.Expr:
        attrs = call.attrs
        channels, _, width = map(int, call.args[1].checked_type.shape)
        (before,), (after,) = split_padding(attrs.padding, 1)
        return relay.nn.conv2d(
            self._with_height(call.args[0]),
            self._with_height(call.args[1]),
            strides=(1, *int_list(attrs.strides)),
            padding=(0, before, 0, after),
            dilation=(1, *int_list(attrs.dilation)),
            groups=int(attrs.groups),
            channels=channels,
            kernel_size=(1, width),
            out_dtype=attrs.out_dtype,
        )

    def _reader(self, call: relay.Call) -> relay.Expr | None:
        """Write a reader of maps for four dimensions; `None` for readers of other kinds and other calls."""
        name, args = _operator(call), flat_args(call)
        if not any(a in self.maps for a in args):
            return None
        ranks = [-1 if (shape := static_shape(a)) is None else len(shape) for a in args]
        if min(ranks) < 0 or max(ranks) > _RANK:
            return None
        if name in _ELEMENTWISE:
            return with_args(call, [self._with_height(a) for a in args])
        if name in _VECTOR_ON_AXIS and args[0] in self.maps:
            place = _PLACES[int(call.attrs.axis) % _RANK]
            return with_args(call, [self._with_height(args[0]), self.visit(args[1])], with_attrs(call, axis=place))
        if min(ranks) < _RANK:
            return None
        if name == "concatenate":
            place = _PLACES[int(call.attrs.axis) % _RANK]
            return relay.concatenate([self._with_height(a) for a in args], place)
        if name in _REDUCTIONS:
            return self._reduction(call, args)
        return None

    def _reduction(self, call: relay.Call, args: Sequence[relay.Expr]) -> relay.Expr:
        every = set(range(_RANK))
        named = every if call.attrs.axis is None else {a % _RANK for a in int_list(call.attrs.axis)}
        reduced = every - named if int(call.attrs.exclude) else named
        places = [_PLACES[a] for a in reduced] + ([] if int(call.attrs.keepdims) else [_HEIGHT])
        attrs = with_attrs(call, axis=sorted(places), exclude=False)
        return with_args(call, [self._with_height(a) for a in args], attrs)

    def _with_height(self, expr: relay.Expr) -> relay.Expr:
        """Return an expression of at most three dimensions with height 1 before its last one, as broadcasting has it.

        Vectors and scalars stay: they align with the last dimension in either case.
        """
        if expr in self.maps:
            return self.maps[expr]
        shape = static_shape(expr)
        assert shape is not None
        if len(shape) < 2:
            return self.visit(expr)
        if expr not in self.views:
            shape.insert(-1, 1)
            if isinstance(expr, relay.Constant):
                self.views[expr] = relay.const(expr.data.numpy().reshape(shape), str(expr.checked_type.dtype))
            else:
                self.views[expr] = relay.reshape(self.visit(expr), shape)
        return self.views[expr]
