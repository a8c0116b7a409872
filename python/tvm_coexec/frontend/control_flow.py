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
    """Whether a branch is left in the module; every loop has one, at its end."""
    found = []

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, relay.If):
            found.append(expr)

    for func in mod.functions.values():
        if isinstance(func, relay.Function):
            relay.analysis.post_order_visit(func, visit)
    return bool(found)


def control_nodes(proto: ModelProto) -> list[NodeProto]:
    """The nodes of an ONNX model that branch or loop."""
    return [n for n in nodes_of(proto.graph) if n.op_type in OPERATORS and n.domain in ("", "ai.onnx")]


def refusal(proto: ModelProto, path: str) -> CoExecError:
    """The error for a model whose branches or loops the importer left in, or stopped at."""
    return CoExecError(
        f"TVM's graph executor runs no branches or loops, and {path} has the ONNX operators "
        f"{describe_nodes(control_nodes(proto))}; export the model with its branches decided and its loops unrolled"
    )
