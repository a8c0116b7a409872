"""Replace tensors without elements by constants.

An empty value is known at compile time: a constant of its shape. So operators that compute only such values disappear,
and no kernel, copy or join has to handle them. Empty fields are removed from concatenations. Operators that read an
empty tensor and return elements remain; if they read only constants TVM folds them (an empty sum is zero), and
otherwise they stay whole.
"""

from __future__ import annotations

import tvm
from tvm import relay

from ..ir_utils import ModulePass, dims_of


@tvm.transform.module_pass(opt_level=0, name="CoExecDropEmptyTensors")
class DropEmptyTensors(ModulePass):
    """Replace the values of main that have no elements by constants; its parameters stay."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the module without them, or the module itself if it has none. Types must be inferred."""
        main, found = mod["main"], []
        relay.analysis.post_order_visit(main.body, lambda n: found.append(n) if is_empty(n) else None)
        if all(isinstance(n, relay.Constant) for n in found):
            return mod
        out = tvm.IRModule(mod.functions, mod.type_definitions)
        body = _Dropper().visit(main.body)
        out["main"] = relay.Function(main.params, body, main.ret_type, main.type_params, main.attrs)
        return relay.transform.InferType()(out)


def is_empty(expr: relay.Expr) -> bool:
    """Whether a typed expression is a tensor of static shape without elements."""
    ty = getattr(expr, "_checked_type_", None)
    if not isinstance(ty, relay.TensorType):
        return False
    dims = dims_of(ty)
    return 0 in dims and -1 not in dims


class _Dropper(relay.ExprMutator):
    def visit(self, expr: relay.Expr) -> relay.Expr:
        if is_empty(expr) and not isinstance(expr, relay.Constant):
            return relay.Constant(tvm.nd.empty(dims_of(expr.checked_type), str(expr.checked_type.dtype)))
        return super().visit(expr)

    def visit_call(self, call: relay.Call) -> relay.Expr:
        if call.op == relay.op.get("concatenate") and isinstance(call.args[0], relay.Tuple):
            fields = [self.visit(f) for f in call.args[0].fields if not is_empty(f)]
            return fields[0] if len(fields) == 1 else relay.Call(call.op, [relay.Tuple(fields)], call.attrs)
        return super().visit_call(call)

    def visit_function(self, fn: relay.Function) -> relay.Function:
        return fn  # parameters must stay variables; a model with closures stays whole

    def visit_let(self, let: relay.Let) -> relay.Let:
        return let  # lets that remain after `ToGraphNormalForm` are in branches of an `If`; such models stay whole
