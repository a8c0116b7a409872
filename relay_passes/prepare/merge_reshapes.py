"""Merge equal reshapes of one value (common subexpression elimination).

The ONNX importer flattens a value separately for every matrix product that reads it, so attention would copy the same
tokens to a device three times, for queries, keys and values. TVM merges equal expressions only at its highest levels,
and after the split, which is too late.
"""

from __future__ import annotations

import tvm
from tvm import relay

from tvm_coexec.core.op_kinds import OpKind

from ..ir_utils import ModulePass
from ..rules import kind_of


@tvm.transform.module_pass(opt_level=0, name="CoExecMergeReshapes")
class MergeReshapes(ModulePass):
    """Replace reshapes of one value to one shape in main by the first of them."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the module without duplicates, or the module itself if it has none. Types must be inferred."""
        merger = _Merger()
        main = merger.visit(mod["main"])
        if not merger.merged:
            return mod
        out = tvm.IRModule(mod.functions, mod.type_definitions)
        out.update_func(mod.get_global_var("main"), main)
        return relay.transform.InferType()(out)


class _Merger(relay.ExprMutator):
    def __init__(self) -> None:
        super().__init__()
        self.first: dict[tuple, relay.Call] = {}
        self.merged = False

    def visit_call(self, call: relay.Call) -> relay.Expr:
        new = super().visit_call(call)
        if kind_of(call) != OpKind.VIEW or len(call.args) > 1:
            return new
        shape = call.checked_type.shape
        if not all(isinstance(d, tvm.tir.IntImm) for d in shape):
            return new
        first = self.first.setdefault((new.args[0], *map(int, shape)), new)
        self.merged = self.merged or first is not new
        return first
