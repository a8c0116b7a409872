"""A small ONNX network with random weights, and onnxruntime's answer."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_coexec.models import zoo

TARGET = "llvm, opencl"


def network(batch: int = 1, channels: int = 16, groups: int = 1):
    """Convolution, ReLU, convolution, pooling, dense: random weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def scaled(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype("float32")

    weights = {
        "w1": scaled(channels, 3, 3, 3),
        "b1": scaled(channels),
        "w2": scaled(channels, channels // groups, 3, 3),
        "b2": scaled(channels),
        "w3": scaled(10, channels),
        "b3": scaled(10),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1] * 4, group=groups),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def masked_network():
    """A convolution whose result a mask of bools selects from; bools as an output; names beyond ASCII."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    weights = {"w": (rng.standard_normal((16, 3, 3, 3)) / 5).astype("float32"), "z": np.array(-2.0, "float32")}
    nodes = [
        helper.make_node("Conv", ["bild_ö", "w"], ["größe"], pads=[1] * 4),
        helper.make_node("Where", ["マスク", "größe", "z"], ["y"]),
        helper.make_node("Greater", ["größe", "z"], ["größer"]),
    ]
    inputs = [
        helper.make_tensor_value_info("bild_ö", TensorProto.FLOAT, [1, 3, 10, 10]),
        helper.make_tensor_value_info("マスク", TensorProto.BOOL, [1, 16, 1, 10]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, kind, [1, 16, 10, 10])
        for name, kind in (("y", TensorProto.FLOAT), ("größer", TensorProto.BOOL))
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "masked", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def reference(model, image: np.ndarray) -> np.ndarray:
    return references(model, {"x": image})[0]


def references(model, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    pytest.importorskip("onnxruntime")
    return zoo.reference(model, inputs)


def relative_error(answer: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(answer - expected).max() / np.abs(expected).max())
