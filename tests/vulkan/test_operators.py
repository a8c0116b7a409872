"""Operators of many kinds on a Vulkan device, each against the CPU; and chains along every kind of axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor

import tvm_coexec
from tests import models

pytestmark = [pytest.mark.llvm, pytest.mark.vulkan]

SHAPE = (2, 6, 9, 11)


def weight(*shape: int) -> relay.Constant:
    return relay.const(np.random.RandomState(sum(shape)).randn(*shape).astype("float32"))


OPERATORS: dict[str, Callable[[relay.Expr], relay.Expr]] = {
    "erf": relay.erf,
    "tanh": lambda x: relay.tanh(x * relay.const(40.0)),
    "sigmoid": relay.sigmoid,
    "exp": relay.exp,
    "log": lambda x: relay.log(relay.abs(x) + relay.const(0.1)),
    "power": lambda x: relay.power(x, relay.const(3.0)),
    "fractional power": lambda x: relay.power(relay.abs(x), relay.const(0.37)),
    "rsqrt": lambda x: relay.rsqrt(relay.abs(x) + relay.const(0.1)),
    "round": lambda x: relay.round(x * relay.const(2.0)),
    "floor": relay.floor,
    "clip": lambda x: relay.clip(x, -0.5, 0.5),
    "where": lambda x: relay.where(relay.greater(x, relay.const(0.0)), x, relay.exp(x)),
    "softmax": lambda x: relay.nn.softmax(x, axis=1),
    "log softmax": lambda x: relay.nn.log_softmax(relay.nn.batch_flatten(x)),
    "sum": lambda x: relay.sum(x, axis=[1, 3]),
    "max": lambda x: relay.max(x, axis=2, keepdims=True),
    "argmax": lambda x: relay.argmax(x, axis=1),
    "mean": lambda x: relay.mean(x, axis=[2, 3]),
    "variance": lambda x: relay.variance(x, axis=[1]),
    "transpose": lambda x: relay.transpose(x, [0, 2, 3, 1]),
    "pad": lambda x: relay.nn.pad(x, ((0, 0), (1, 2), (0, 1), (3, 0)), 0.25),
    "slice": lambda x: relay.strided_slice(x, [0, 1, 8, 0], [2, 6, 0, 11], [1, 2, -1, 3]),
    "split": lambda x: relay.concatenate(list(relay.split(x, 3, axis=1))[::-1], axis=2),
    "take": lambda x: relay.take(x, relay.const(np.array([3, 0, 5], "int32")), axis=1),
    "resize": lambda x: relay.image.resize2d(x, (13, 7)),
    "max pool": lambda x: relay.nn.max_pool2d(x, (3, 2), strides=(2, 1), padding=(1, 1)),
    "avg pool": lambda x: relay.nn.avg_pool2d(x, (3, 3), padding=(1, 1), count_include_pad=False),
    "global pool": relay.nn.global_avg_pool2d,
    "lrn": lambda x: relay.nn.lrn(x, size=3),
    "conv": lambda x: relay.nn.conv2d(
        x, weight(5, 6, 3, 3), strides=(2, 1), padding=(1, 0), channels=5, kernel_size=(3, 3)
    ),
    "grouped conv": lambda x: relay.nn.conv2d(x, weight(4, 3, 3, 3), groups=2, channels=4, kernel_size=(3, 3)),
    "depthwise conv": lambda x: relay.nn.conv2d(
        x, weight(6, 1, 3, 3), groups=6, dilation=(2, 1), channels=6, kernel_size=(3, 3)
    ),
    "transposed conv": lambda x: relay.nn.conv2d_transpose(
        x, weight(6, 4, 3, 3), strides=(2, 2), channels=4, kernel_size=(3, 3)
    ),
    "dense": lambda x: relay.nn.dense(relay.nn.batch_flatten(x), weight(7, 594)),
    "batch matmul": lambda x: relay.nn.batch_matmul(relay.reshape(x, (12, 9, 11)), weight(12, 5, 11)),
    "prelu": lambda x: relay.nn.prelu(x, weight(6)),
    "layer norm": lambda x: relay.nn.layer_norm(x, weight(11), weight(11)),
    "cast": lambda x: relay.cast(x * relay.const(100.0), "int32"),
}


def run(lib: object, device: tvm.runtime.Device, x: np.ndarray) -> list[np.ndarray]:
    module = graph_executor.GraphModule(lib["default"](device))
    module.set_input("x", x)
    module.run()
    return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]


def test_operators() -> None:
    x = relay.var("x", shape=SHAPE)
    func = relay.Function([x], relay.Tuple([make(x) for make in OPERATORS.values()]))
    values = np.random.RandomState(11).randn(*SHAPE).astype("float32")
    results = [
        run(relay.build(tvm.IRModule.from_expr(func), target), device, values)
        for target, device in (("llvm", tvm.cpu()), (tvm_coexec.targets("llvm", "vulkan")[1], tvm.vulkan(0)))
    ]
    for name, wanted, found in zip(OPERATORS, *results, strict=True):
        error = np.abs(found.astype("float64") - wanted).max() / max(1e-6, np.abs(wanted).max())
        assert error <= 1e-4, (name, error)


@pytest.mark.parametrize("ratio", [0.5, 1.0])
@pytest.mark.parametrize("make", [relay.nn.dense, relay.nn.batch_matmul, relay.nn.conv2d], ids=lambda m: m.__name__)
def test_what_schedules_vectorise_of_narrow_types_stays_on_the_cpu(make: Callable, ratio: float) -> None:
    """The generator has no vectors of int8: the loops show them only once TVM has vectorised them."""
    rng = np.random.default_rng(5)
    shapes = {"dense": ((64, 64), (32, 64)), "batch_matmul": ((2, 16, 32), (2, 16, 32))}
    data, weight = shapes.get(make.__name__, ((1, 16, 9, 9), (32, 16, 3, 3)))
    x = relay.var("x", shape=data, dtype="int8")
    weights = relay.const(rng.integers(-9, 9, weight).astype("int8"))
    mod = tvm.IRModule.from_expr(make(x, weights, out_dtype="int32"))
    inputs = {"x": rng.integers(-9, 9, data).astype("int8")}
    lib = tvm_coexec.build(mod, cpu="llvm", gpu="vulkan", ratio=ratio)
    assert any("vectors of int8" in note for note in tvm_coexec.plan_of(lib.ir_mod).notes.values())
    models.assert_same(models.run(lib, inputs, [tvm.cpu(0), tvm.vulkan(0)]), models.reference(mod, inputs))


@pytest.mark.parametrize("axis", ["oc", "h", "w", "batch"])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8])
def test_chains(axis: str, ratio: float) -> None:
    x = relay.var("x", shape=(3, 4, 12, 10))
    y = relay.nn.relu(relay.nn.conv2d(x, weight(8, 4, 3, 3), padding=(1, 1), channels=8, kernel_size=(3, 3)))
    y = relay.nn.conv2d(y, weight(6, 8, 3, 3), padding=(1, 1), channels=6, kernel_size=(3, 3))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.max_pool2d(y, (2, 2), strides=(2, 2))))
    lib = tvm_coexec.build(mod, {}, gpu="vulkan", ratio=ratio, axis=axis)
    inputs = models.input_of(mod)
    models.assert_same(models.run(lib, inputs, [tvm.cpu(0), tvm.vulkan(0)]), models.reference(mod, inputs))
