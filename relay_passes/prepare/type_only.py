"""Rewrite operators that read only the type of an argument, using the type itself.

``full_like(x, value)`` needs the shape of ``x`` alone. Once that is static, the call depends on ``value`` only and
folds if ``value`` is constant. TVM's `SimplifyExpr` does the same, but in `relay.build`, after devices have been
assigned, and TVM can't fold a constant that lives on the GPU: the build would fail with "No target is specified for
device type". So these operators are rewritten before the model is divided.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relay

from ..ir_utils import ModulePass, static_shape
from ..rules.base import int_list
from .fold import is_constant


def _slice_like(call: relay.Call, value: relay.Expr, shape: list[int], _dtype: str) -> relay.Expr:
    axes = range(len(shape)) if call.attrs.axes is None else [a % len(shape) for a in int_list(call.attrs.axes)]
    axes = list(axes) or list(range(len(shape)))  # no axes means all of them
    return relay.strided_slice(value, [0] * len(axes), [shape[a] for a in axes], [1] * len(axes), axes)


# Arguments: the call, the argument whose elements it reads, and the shape and dtype of its result.
REWRITES: dict[str, Callable[[relay.Call, relay.Expr, list[int], str], relay.Expr]] = {
    "full_like": lambda call, value, shape, dtype: relay.full(value, shape, dtype),
    "broadcast_to_like": lambda call, value, shape, dtype: relay.broadcast_to(value, shape),
    "collapse_sum_like": lambda call, value, shape, dtype: relay.collapse_sum_to(value, shape),
    "reshape_like": lambda call, value, shape, dtype: relay.reshape(value, shape),
    "cast_like": lambda call, value, shape, dtype: relay.cast(value, dtype),
    "slice_like": _slice_like,
}
# These read no elements at all.
_OF_SHAPES: dict[str, Callable[[list[int]], object]] = {"shape_of": list, "ndarray_size": np.prod}

TYPE_ONLY_OPS = frozenset([*REWRITES, *_OF_SHAPES])


@tvm.transform.module_pass(opt_level=0, name="CoExecConcretizeTypes")
class ConcretizeTypes(ModulePass):
    """Rewrite the `TYPE_ONLY_OPS` of main that depend on constants and static shapes alone."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the module with constant expressions in their place. Types must be inferred, and are in the result."""
        out = tvm.IRModule(mod.functions, mod.type_definitions)
        out.update_func(mod.get_global_var("main"), _Concretizer().visit(mod["main"]))
        return relay.transform.InferType()(out)


class _Concretizer(relay.ExprMutator):
    def visit_call(self, call: relay.Call) -> relay.Expr:
        new = super().visit_call(call)
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        if name not in TYPE_ONLY_OPS:
            return new
        found = [static_shape(e) for e in (call, *call.args)]
        shapes = [s for s in found if s is not None]
        if len(shapes) < len(found):
            return new
        dtype = str(call.checked_type.dtype)
        if name in _OF_SHAPES:
            return relay.const(np.asarray(_OF_SHAPES[name](shapes[1]), dtype), dtype)
        value = new.args[1 if name == "full_like" else 0]
        return REWRITES[name](call, value, shapes[0], dtype) if is_constant(value) else new
