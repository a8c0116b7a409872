"""Write an ONNX graph node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT


class GraphWriter:
    """Collects nodes and initialisers of a graph; values are named by strings."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def node(self, op: str, *inputs: str, name: str = "", **attrs: object) -> str:
        """Add a node with one output and return the output's name."""
        name = name or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attrs))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initialiser unless it exists, and return its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def model(
        self, inputs: Mapping[str, Sequence[int]], outputs: Mapping[str, Sequence[int]], opset: int, ir_version: int
    ) -> onnx.ModelProto:
        """Return the checked model with float32 inputs and outputs of these shapes."""
        ends = [
            [helper.make_tensor_value_info(name, FLOAT, list(shape)) for name, shape in values.items()]
            for values in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "tvm_coexec", *ends, initializer=list(self.initializers.values()))
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="tvm_coexec")
        made.ir_version = ir_version
        onnx.checker.check_model(made)
        return made
