"""Detection of dynamic shapes, which the graph executor and planning don't support."""

from __future__ import annotations

import tvm
from tvm import relay


def open_input(mod: tvm.IRModule) -> str:
    """Describe the first input of main with an open extent; empty if all are static."""
    for param in mod["main"].params:
        shape = getattr(param.type_annotation, "shape", ())
        if any(_is_open(d) for d in shape):
            known = ",".join("?" if _is_open(d) else str(d) for d in shape)
            return f"the model's input '{param.name_hint}' has the shape [{known}]"
    return ""


def why_dynamic(mod: tvm.IRModule) -> str:
    """Say in one sentence why a prepared module has dynamic shapes and what to do; empty if all shapes are static."""
    if found := open_input(mod):
        return f"{found}: import the model with all of its input shapes"
    dynamic: list[relay.Call] = []
    relay.analysis.post_order_visit(mod["main"].body, lambda n: dynamic.append(n) if _gives_open_shape(n) else None)
    if not dynamic:
        return ""
    return (
        f"the result shape of operator {dynamic[0].op.name} depends on data, which TVM's graph executor can't "
        "run: replace that operator, or build the model for TVM's virtual machine"
    )


def _gives_open_shape(node: relay.Expr) -> bool:
    if not isinstance(node, relay.Call) or not isinstance(node.op, tvm.ir.Op):
        return False
    ty = node.checked_type
    types = ty.fields if isinstance(ty, tvm.ir.TupleType) else [ty]
    return any(isinstance(t, relay.TensorType) and any(_is_open(d) for d in t.shape) for t in types)


def _is_open(extent: object) -> bool:
    return not isinstance(extent, (int, tvm.tir.IntImm))
