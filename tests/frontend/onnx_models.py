"""Small ONNX files, good and bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def value(name: str, shape: list | None, dtype: int = TensorProto.FLOAT):
    """An input or output; `None` leaves the shape out."""
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes: list, inputs: list, outputs: list, weights: dict[str, np.ndarray] | None = None, opset: int = 17):
    """A model, not checked."""
    initial = [numpy_helper.from_array(w, name) for name, w in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initial)
    domains = {n.domain for n in nodes} - {""}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in sorted(domains))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def save(proto, path: Path) -> str:
    """Write it; returns the path."""
    onnx.save(proto, str(path))
    return str(path)


def two_inputs(first: list | None, second: list | None):
    """``relu(a + b)``: two inputs that may leave sizes open."""
    nodes = [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Relu", ["s"], ["y"])]
    return model(nodes, [value("a", first), value("b", second)], [value("y", None)])


def conv_net(sizes: list, name: str = "x"):
    """Convolution of 3 to 8 channels, ReLU, and a sum over the map; batch, height and width may be open."""
    weights = {"w": np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype("float32")}
    nodes = [
        helper.make_node("Conv", [name, "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["y"]),
    ]
    return model(nodes, [value(name, sizes)], [value("y", None)], weights)


def branch(condition: bool | None = None, inner: str = "Relu"):
    """``If``: the condition is an input, or a constant; the branches compute from a value of the outer graph."""
    bodies = [
        helper.make_graph([helper.make_node(op, ["s"], [op])], op, [], [value(op, [2, 3])]) for op in (inner, "Neg")
    ]
    nodes = [
        helper.make_node("Abs", ["x"], ["s"]),
        helper.make_node("If", ["c"], ["y"], name="choose", then_branch=bodies[0], else_branch=bodies[1]),
    ]
    inputs = [value("x", [2, 3])] + ([value("c", [], TensorProto.BOOL)] if condition is None else [])
    return model(nodes, inputs, [value("y", [2, 3])], {} if condition is None else {"c": np.array(condition)})


def loop(count: int = 3):
    """``Loop``: x is added to a sum `count` times, and each sum is an output, too."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["sum", "x"], ["next"]),
            helper.make_node("Identity", ["go"], ["goes_on"]),
            helper.make_node("Identity", ["next"], ["seen"]),
        ],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("sum", [2, 3])],
        [value("goes_on", [], TensorProto.BOOL), value("next", [2, 3]), value("seen", [2, 3])],
    )
    nodes = [helper.make_node("Loop", ["n", "c", "x"], ["y", "all"], name="repeat", body=body)]
    weights = {"n": np.array(count), "c": np.array(True)}
    return model(nodes, [value("x", [2, 3])], [value("y", [2, 3]), value("all", None)], weights)


def lacking():
    """Operators that TVM's importer lacks: one of ONNX twice, one of another domain, one in a branch only."""
    inside = [
        helper.make_graph([helper.make_node(op, ["s"], [op])], op, [], [value(op, [2])]) for op in ("Mystery", "Neg")
    ]
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="first"),
        helper.make_node("Det", ["x"], ["e"]),
        helper.make_node("Fuse", ["d", "e"], ["s"], domain="com.acme"),
        helper.make_node("If", ["c"], ["y"], then_branch=inside[0], else_branch=inside[1]),
    ]
    return model(nodes, [value("x", [2, 3, 3]), value("c", [], TensorProto.BOOL)], [value("y", [2])])
