"""ONNX files as protobuf messages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.graph_json import is_kernel_graph
from tvm_coexec.core.texts import list_some

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

# The first IR version that requires opsets; earlier files may lack them.
_IR_WITH_OPSETS = 3


def read_onnx(path: str) -> ModelProto:
    """Read an ONNX file, including weights in files next to it.

    Parameters
    ----------
    path : str

    Raises
    ------
    CoExecError
        If the file is missing, damaged or incomplete, or if its weights or the package onnx are missing.
    """
    try:
        import onnx
        from onnx.external_data_helper import load_external_data_for_model
    except ImportError as err:
        raise CoExecError(f"reading models needs onnx ({err}); install tvm-coexec[onnx]") from None
    if is_kernel_graph(path):
        raise CoExecError(f"{path} is a kernel graph, which only `coexec plan` takes: give the model's ONNX file")
    try:
        proto = onnx.load(path, load_external_data=False)
    except OSError as err:
        raise CoExecError(f"can't read the model {path}: {err.strerror or one_line(err)}; check the path") from None
    except Exception as err:  # protobuf's error class depends on its version
        raise CoExecError(f"can't read the model {path}: {one_line(err)}; give a complete ONNX file") from None
    # An empty file is an empty message. A file truncated after the graph lacks opsets, which TVM would read as opset 1.
    if not proto.HasField("graph") or not (proto.opset_import or 0 < proto.ir_version < _IR_WITH_OPSETS):
        size = os.path.getsize(path)
        raise CoExecError(
            f"can't read the model {path}: it is not a complete ONNX model ({size} bytes); give a complete ONNX file"
        )
    try:
        load_external_data_for_model(proto, os.path.dirname(os.path.abspath(path)))
    except Exception as err:
        raise CoExecError(
            f"can't read the weights of {path}: {one_line(err)}; put the complete weight files into the same folder"
        ) from None
    return proto


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """Iterate over the nodes of a graph and of the graphs inside them (branches, loop bodies), in order."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from nodes_of(inner)


def describe_nodes(nodes: list[NodeProto]) -> str:
    """List operators by name, each with its number of nodes and the name of the first one."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}::"
        found.setdefault(domain + node.op_type, []).append(node.name or next((o for o in node.output if o), ""))
    texts = [
        f"{op} (node '{names[0]}')" if len(names) == 1 else f"{op} ({len(names)} nodes, the first is '{names[0]}')"
        for op, names in sorted(found.items())
    ]
    return list_some(texts, 8)
