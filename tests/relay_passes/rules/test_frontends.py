"""Blocks as ONNX models have them: every kernel that should divide does, and every longest chain is right."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relay

from tests.relay_passes.rules.evaluate import evaluate
from tests.relay_passes.rules.harness import assert_close, assert_same, random_inputs, run_all, split_at
from tvm_coexec.core.chains import chain_shares
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.relay_passes.extract import extract_with_calls
from tvm_coexec.relay_passes.inline import inline_functions
from tvm_coexec.relay_passes.prepare import Prepare

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


class Model:
    """An ONNX graph under construction."""

    def __init__(self):
        self.nodes, self.initializers, self.rng = [], [], np.random.default_rng(0)

    def const(self, value) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.const((self.rng.standard_normal(shape) / np.sqrt(shape[-1])).astype("float32"))

    def floats(self, *values: float) -> str:
        return self.const(np.array(values if len(values) > 1 else values[0], dtype="float32"))

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, dtype="int64"))

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attrs):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attrs))
        return names[0] if outputs == 1 else names

    def prepared(self, shape: tuple[int, ...], output: str):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        y = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", [x], [y], self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
        mod, params = relay.frontend.from_onnx(model, {"x": shape}, freeze_params=True)
        return Prepare(params)(mod)


def longest_chains(graph):
    """For every kernel and axis the longest run of kernels up to it that carries the split."""
    for last in range(len(graph.kernels)):
        for axis in graph.kernels[last].axes:
            cut = axis.extent // (2 * axis.granule) * axis.granule
            for first in range(last + 1):
                members = list(range(first, last + 1))
                try:
                    chain_shares(graph, members, axis.name, cut)
                except CoExecError:
                    continue
                if len(members) > 1 or graph.kernels[last].is_heavy:
                    yield members, axis.name, cut
                break


def check(prepared, most_whole: set[str]) -> set[int]:
    """Every longest chain is right; returns their lengths. Only operators of `most_whole` may have no axis."""
    extracted = extract_with_calls(prepared)
    graph = extracted.graph
    whole = {k.name: k.reason for k in graph.kernels if not k.axes}
    assert set(whole) <= most_whole, whole
    inputs = random_inputs(prepared["main"].params)
    want = evaluate(prepared["main"], inputs)
    lengths, made = set(), []
    for members, axis, cut in longest_chains(graph):
        made.append(inline_functions(split_at(prepared, extracted, members, axis, cut)))
        assert_same(evaluate(made[-1]["main"], inputs), want, f"kernels {members} along {axis} at {cut}", 1e-9)
        lengths.add(len(members))
    built = run_all(prepared, [made[-1]], inputs)
    assert_close(built[0], want, "numpy's idea of the module", 1e-4)
    assert_same(built[1], built[0], "built", 1e-4)
    return lengths


def test_transformer_encoder_layer():
    m, tokens, features, heads = Model(), 10, 16, 4

    def layer_norm(x):
        centred = m.op("Sub", x, m.op("ReduceMean", x, axes=[-1]))
        variance = m.op("ReduceMean", m.op("Pow", centred, m.floats(2.0)), axes=[-1])
        y = m.op("Div", centred, m.op("Sqrt", m.op("Add", variance, m.floats(1e-5))))
        return m.op("Add", m.op("Mul", y, m.weight(features)), m.weight(features))

    def project(x, *axes):
        y = m.op("Add", m.op("MatMul", x, m.weight(features, features)), m.weight(features))
        return m.op("Transpose", m.op("Reshape", y, m.ints(1, tokens, heads, features // heads)), perm=list(axes))

    x = layer_norm("x")
    q, k, v = project(x, 0, 2, 1, 3), project(x, 0, 2, 3, 1), project(x, 0, 2, 1, 3)
    scores = m.op("Softmax", m.op("Div", m.op("MatMul", q, k), m.floats(2.0)), axis=-1)
    mixed = m.op("Transpose", m.op("MatMul", scores, v), perm=[0, 2, 1, 3])
    mixed = m.op("Reshape", mixed, m.ints(1, tokens, features))
    x = m.op("Add", "x", m.op("MatMul", mixed, m.weight(features, features)))
    h = m.op("Add", m.op("MatMul", layer_norm(x), m.weight(features, 32)), m.weight(32))
    h = m.op("Mul", h, m.op("Add", m.op("Erf", m.op("Div", h, m.floats(1.41421))), m.floats(1.0)))
    y = m.op("Add", x, m.op("MatMul", m.op("Mul", h, m.floats(0.5)), m.weight(32, features)))
    assert max(check(m.prepared((1, tokens, features), y), set())) >= 8


def test_mobile_block():
    """Inverted residual with squeeze-and-excite and hard swish."""
    m = Model()

    def hard_swish(x):
        return m.op("Mul", x, m.op("HardSigmoid", x, alpha=1 / 6, beta=0.5))

    def conv(x, c, o, k, **attrs):
        y = m.op("Conv", x, m.weight(o, c // attrs.get("group", 1), k, k), pads=[k // 2] * 4, **attrs)
        args = [m.const(m.rng.uniform(0.5, 1.5, o).astype("float32")) for _ in range(4)]
        return m.op("BatchNormalization", y, *args)

    x = hard_swish(conv("x", 6, 12, 1))
    x = hard_swish(conv(x, 12, 12, 5, group=12))
    gate = m.op("Relu", m.op("Conv", m.op("GlobalAveragePool", x), m.weight(4, 12, 1, 1)))
    gate = m.op("HardSigmoid", m.op("Conv", gate, m.weight(12, 4, 1, 1)))
    y = m.op("Add", conv(m.op("Mul", x, gate), 12, 6, 1), "x")
    assert max(check(m.prepared((1, 6, 12, 9), y), set())) >= 3


def test_super_resolution_and_style():
    m = Model()
    x = m.op("Pad", "x", m.ints(0, 0, 2, 2, 0, 0, 2, 2), mode="reflect")
    x = m.op("Conv", x, m.weight(8, 3, 5, 5), strides=[2, 1])
    x = m.op("InstanceNormalization", x, m.weight(8), m.weight(8))
    x = m.op("PRelu", x, m.weight(8, 1, 1))
    x = m.op("Conv", x, m.weight(12, 8, 3, 3), pads=[1] * 4)
    x = m.op("DepthToSpace", x, blocksize=2, mode="CRD")
    x = m.op("Resize", x, "", m.floats(1.0, 1.0, 2.0, 2.0), mode="linear")
    x = m.op("ConvTranspose", x, m.weight(3, 4, 4, 4), strides=[2, 2], pads=[1] * 4)
    y = m.op("Tanh", m.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1))
    assert max(check(m.prepared((1, 3, 9, 8), y), set())) >= 3


def test_detector_neck():
    """Split, branches of several depths, concatenation, upsampling, slices: what YOLO-like necks are made of."""
    m = Model()

    def conv(x, c, o, k=1, **attrs):
        y = m.op("Conv", x, m.weight(o, c, k, k), pads=[k // 2] * 4, **attrs)
        return m.op("Mul", y, m.op("Sigmoid", y))

    a, b = m.op("Split", conv("x", 4, 8, 3), outputs=2, axis=1)
    c = m.op("Add", conv(conv(b, 4, 4, 3), 4, 4, 3), b)
    x = conv(m.op("Concat", a, b, c, axis=1), 12, 8)
    pools = [x]
    for _ in range(2):
        pools.append(m.op("MaxPool", pools[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
    x = conv(m.op("Concat", *pools, axis=1), 24, 6)
    up = m.op(
        "Resize", x, "", m.floats(1.0, 1.0, 2.0, 2.0), mode="nearest", coordinate_transformation_mode="asymmetric"
    )
    down = conv(up, 6, 6, 3, strides=[2, 2])
    down = m.op("Slice", m.op("Concat", x, down, axis=1), m.ints(1, 0), m.ints(11, 8), m.ints(1, 2))
    y = m.op("Clip", down, m.floats(-1.0), m.floats(1.0))
    assert max(check(m.prepared((1, 4, 12, 10), y), set())) >= 5


def test_gathers_and_logic():
    m = Model()
    x = m.op("MatMul", m.op("Gather", "x", m.ints(3, 1, 1, 0, 5), axis=0), m.weight(8, 12))
    mask = m.op("Greater", x, m.floats(0.0))
    x = m.op("Where", mask, x, m.op("Exp", m.op("Min", x, m.floats(0.0))))
    x = m.op("Expand", m.op("Unsqueeze", x, m.ints(0)), m.ints(2, 5, 12))
    y = m.op("ReduceSum", m.op("Tile", x, m.ints(1, 1, 2)), m.ints(0), keepdims=0)
    assert max(check(m.prepared((6, 8), y), set())) >= 3
