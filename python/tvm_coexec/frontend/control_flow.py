"""Branches and loops, which the graph executor can't run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tvm
from tvm import relay

from tvm_coexec.core.errors import CoExecError

from .onnx_file import describe_nodes, nodes_of

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPERATORS = ("If", "Loop", "Scan", "SequenceMap")


def has_control_flow(mod: tvm.IRModule) -> bool:
    """Whether the module has a branch; every loop has one at its end."""
    found = []

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, relay.If):
            found.append(expr)

    for func in mod.functions.values():
        if isinstance(func, relay.Function):
            relay.analysis.post_order_visit(func, visit)
    return bool(found)


def control_nodes(proto: ModelProto) -> list[NodeProto]:
    """Return the nodes of an ONNX model that branch or loop."""
    return [n for n in nodes_of(proto.graph) if n.op_type in OPERATORS and n.domain in ("", "ai.onnx")]


def make_control_flow_error(proto: ModelProto, path: str) -> CoExecError:
    """Return the error for a model with branches or loops that the importer kept or failed at."""
    return CoExecError(
        f"TVM's graph executor can't run branches or loops, and {path} has the ONNX operators "
        f"{describe_nodes(control_nodes(proto))}; export the model with branches resolved and loops unrolled"
    )
