"""Rewrite powers with constant exponents as products, roots and reciprocals.

``power(x, 2)`` calls a library function for each element, which takes some hundred times as long as ``x * x``. The
ONNX importer writes squares and roots of normalisations like that. A rewrite must not change a result by more than the
rounding of float32, for any base:

- Products and reciprocals agree with `pow` for negative bases, signed zeros, infinities and NaN.
- A root does not: ``pow(-inf, 0.5)`` is infinite, ``sqrt(-inf)`` is NaN. So roots need a base that can't be negative.
- Integers stay as they are; TVM computes their powers in floating point.
- ``x ** -2`` is ``(1/x) * (1/x)``, since ``x * x`` may leave the range of float32 where the result does not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relay

from ..ir_utils import ModulePass, rewrite_main

_FLOATS = ("float32", "float64")


def _one(dtype: str) -> relay.Expr:
    return relay.const(1.0, dtype)


def _square(x: relay.Expr) -> relay.Expr:
    return relay.multiply(x, x)


# By exponent; arguments are the base and its dtype.
EXACT: dict[float, Callable[[relay.Expr, str], relay.Expr]] = {
    1.0: lambda x, dtype: x,
    2.0: lambda x, dtype: _square(x),
    3.0: lambda x, dtype: relay.multiply(_square(x), x),
    4.0: lambda x, dtype: _square(_square(x)),
    -1.0: lambda x, dtype: relay.divide(_one(dtype), x),
    -2.0: lambda x, dtype: _square(relay.divide(_one(dtype), x)),
}
# These need a base that can't be negative.
ROOTS: dict[float, Callable[[relay.Expr, str], relay.Expr]] = {
    0.5: lambda x, dtype: relay.sqrt(x),
    -0.5: lambda x, dtype: relay.divide(_one(dtype), relay.sqrt(x)),
    1.5: lambda x, dtype: relay.multiply(x, relay.sqrt(x)),
}

_NON_NEGATIVE = frozenset(["abs", "exp", "sigmoid", "sqrt", "rsqrt", "nn.relu", "nn.softmax", "variance"])
_KEEP_SIGN = frozenset(
    [
        *("mean", "sum", "max", "min", "prod", "reshape", "squeeze", "expand_dims", "transpose", "strided_slice"),
        *("broadcast_to", "cast", "take", "copy", "nn.avg_pool2d", "nn.global_avg_pool2d", "nn.max_pool2d"),
    ]
)
_KEEP_SIGNS = frozenset(["add", "multiply", "divide", "maximum", "minimum"])


@tvm.transform.module_pass(opt_level=0, name="CoExecRewritePowers")
class RewritePowers(ModulePass):
    """Rewrite the powers of main whose exponent is one of `EXACT`, or of `ROOTS` where the base can't be negative."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the module without such powers, or the module itself if it has none. Types must be inferred."""
        return rewrite_main(mod, _match, _Rewriter)


def _match(node: relay.Expr) -> Callable[[relay.Expr, str], relay.Expr] | None:
    """Return how a power is rewritten; `None` for other expressions."""
    if not (isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name == "power"):
        return None
    base, exponent = node.args
    if not isinstance(exponent, relay.Constant) or not isinstance(node.checked_type, relay.TensorType):
        return None
    if str(node.checked_type.dtype) not in _FLOATS or not tvm.ir.structural_equal(base.checked_type, node.checked_type):
        return None  # integers, or an exponent whose shape widens the result
    values = np.unique(exponent.data.numpy())
    if len(values) != 1:
        return None
    value = float(values[0])
    return EXACT.get(value) or (ROOTS.get(value) if _is_non_negative(base) else None)


def _is_non_negative(expr: relay.Expr, depth: int = 8) -> bool:
    """Whether no element can be negative (it may be NaN), as far as operators tell."""
    if isinstance(expr, relay.Constant):
        return bool((expr.data.numpy() >= 0).all())
    if depth == 0 or not isinstance(expr, relay.Call) or not isinstance(expr.op, tvm.ir.Op):
        return False
    name = expr.op.name
    if name in _NON_NEGATIVE:
        return True
    if name == "clip":
        return float(expr.attrs.a_min) >= 0
    if name == "multiply" and expr.args[0] == expr.args[1]:
        return True
    if name == "power" and isinstance(expr.args[1], relay.Constant):
        exponents = expr.args[1].data.numpy()
        return bool((exponents % 2 == 0).all()) or _is_non_negative(expr.args[0], depth - 1)
    if name == "maximum":
        return any(_is_non_negative(a, depth - 1) for a in expr.args)
    if name in _KEEP_SIGN:
        return _is_non_negative(expr.args[0], depth - 1)
    return name in _KEEP_SIGNS and all(_is_non_negative(a, depth - 1) for a in expr.args)


class _Rewriter(relay.ExprMutator):
    def visit_call(self, call: relay.Call) -> relay.Expr:
        rewrite = _match(call)
        if rewrite is None:
            return super().visit_call(call)
        return rewrite(self.visit(call.args[0]), str(call.checked_type.dtype))
