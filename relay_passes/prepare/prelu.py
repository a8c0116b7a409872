"""PReLU: undo the flattening that TVM's ONNX importer wraps around it.

The importer writes PRelu as a flattening of the data, an equally long array of slopes, `nn.prelu` over the one flat
axis, and a reshape back. This mixes rows and channels, so that no axis could be split. If slopes differ along one
axis only (one per channel, as in all common networks), `nn.prelu` supports them directly.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relay

from ..ir_utils import ModulePass, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="CoExecUnflattenPRelu")
class UnflattenPRelu(ModulePass):
    """Rewrite flattened PReLUs of main with constant slopes as `nn.prelu` along their axis."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the module without them, or the module itself if it has none. Types must be inferred."""
        return rewrite_main(mod, _match, _Unflattener)


def _calls(node: relay.Expr, name: str) -> bool:
    return isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name == name


def _match(node: relay.Expr) -> tuple[relay.Expr, np.ndarray, int] | None:
    """Return data, slopes and axis of ``reshape(prelu(reshape(data), reshape(broadcast_to_like(slopes, ...))))``."""
    if not (_calls(node, "reshape") and _calls(node.args[0], "nn.prelu")):
        return None
    flat, slopes = node.args[0].args
    if not (_calls(flat, "reshape") and _calls(slopes, "reshape") and _calls(slopes.args[0], "broadcast_to_like")):
        return None
    data, constant = flat.args[0], slopes.args[0].args[0]
    shape = list(node.checked_type.shape)
    if not isinstance(constant, relay.Constant) or not all(isinstance(d, tvm.tir.IntImm) for d in shape):
        return None
    if len(flat.checked_type.shape) != 1 or not tvm.ir.structural_equal(data.checked_type, node.checked_type):
        return None
    values = constant.data.numpy()
    values = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
    wide = [d for d, n in enumerate(values.shape) if n > 1] or [1 if len(shape) > 1 else 0]
    if len(wide) > 1:
        return None
    return data, np.broadcast_to(values.reshape(-1), (int(shape[wide[0]]),)), wide[0]


class _Unflattener(relay.ExprMutator):
    def visit_call(self, call: relay.Call) -> relay.Expr:
        found = _match(call)
        if found is None:
            return super().visit_call(call)
        data, slopes, axis = found
        return relay.nn.prelu(self.visit(data), relay.const(slopes.copy(), str(slopes.dtype)), axis=axis)
