"""Rewrite fields of `split` as slices.

A kernel that returns a tuple, such as `split`, is not splittable. A field of `split` is a strided slice of its
argument, which can be split like other operators and fuses into its readers.
"""

from __future__ import annotations

import tvm
from tvm import relay

from ..ir_utils import ModulePass, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="CoExecSplitFieldsToSlices")
class SplitFieldsToSlices(ModulePass):
    """Rewrite every ``split(x)[i]`` of static shape in main."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the module without such fields, or the module itself if it has none. Types must be inferred."""
        return rewrite_main(mod, _is_field, _Slicer)


def _is_field(node: relay.Expr) -> bool:
    if not isinstance(node, relay.TupleGetItem):
        return False
    call = node.tuple_value
    if not isinstance(call, relay.Call) or call.op != relay.op.get("split"):
        return False
    return all(isinstance(d, tvm.tir.IntImm) for d in call.args[0].checked_type.shape)


class _Slicer(relay.ExprMutator):
    def visit_tuple_getitem(self, item: relay.TupleGetItem) -> relay.Expr:
        if not _is_field(item):
            return super().visit_tuple_getitem(item)
        call = item.tuple_value
        axis = int(call.attrs.axis) % len(call.args[0].checked_type.shape)
        sizes = [int(field.shape[axis]) for field in call.checked_type.fields]
        begin = sum(sizes[: item.index])
        return relay.strided_slice(self.visit(call.args[0]), [begin], [begin + sizes[item.index]], axes=[axis])
