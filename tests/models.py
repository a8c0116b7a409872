"""Small Relay models with random weights that several tests share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm
from tvm import relay

from tests.builds import BuildMemo


def weights(rng: np.random.Generator, *shape: int) -> relay.Constant:
    """Random weights, scaled so that values keep their size through many layers."""
    fan_in = int(np.prod(shape[1:])) or 1
    return relay.const((rng.standard_normal(shape) / np.sqrt(fan_in)).astype("float32"))


def conv(rng, x, channels_in: int, channels: int, kernel: int = 3, relu: bool = True, **attrs) -> relay.Expr:
    """Convolution, bias and (by default) ReLU: one fused kernel."""
    attrs.setdefault("padding", kernel // 2)
    groups = attrs.get("groups", 1)
    weight = weights(rng, channels, channels_in // groups, kernel, kernel)
    y = relay.nn.conv2d(x, weight, channels=channels, kernel_size=(kernel, kernel), **attrs)
    y = relay.add(y, relay.const(rng.standard_normal((channels, 1, 1)).astype("float32")))
    return relay.nn.relu(y) if relu else y


def conv_chain(length: int = 4, channels: int = 8, size: int = 14) -> tvm.IRModule:
    """A straight run of 3x3 convolutions."""
    rng = np.random.default_rng(1)
    x = y = relay.var("x", shape=(1, channels, size, size))
    for _ in range(length):
        y = conv(rng, y, channels, channels)
    return tvm.IRModule.from_expr(relay.Function([x], y))


def residual_net() -> tvm.IRModule:
    """Convolution, pooling, a residual block with a projection, global pooling, dense, softmax."""
    rng = np.random.default_rng(2)
    x = relay.var("x", shape=(1, 3, 30, 30))
    y = relay.nn.max_pool2d(conv(rng, x, 3, 8, strides=(1, 1)), (3, 3), (2, 2), padding=(1, 1))
    a = conv(rng, conv(rng, y, 8, 8, strides=(2, 2)), 8, 16, relu=False)
    y = relay.nn.relu(relay.add(a, conv(rng, y, 8, 16, kernel=1, relu=False, strides=(2, 2))))
    y = relay.nn.batch_flatten(relay.nn.global_avg_pool2d(y))
    y = relay.nn.softmax(relay.nn.dense(y, weights(rng, 10, 16), units=10))
    return tvm.IRModule.from_expr(relay.Function([x], y))


def fire_net() -> tvm.IRModule:
    """A squeeze convolution, two expand convolutions, their concatenation, and a convolution behind it."""
    rng = np.random.default_rng(3)
    x = relay.var("x", shape=(1, 16, 13, 13))
    s = conv(rng, x, 16, 6, kernel=1)
    y = relay.concatenate([conv(rng, s, 6, 8, kernel=1), conv(rng, s, 6, 12)], axis=1)
    return tvm.IRModule.from_expr(relay.Function([x], conv(rng, y, 20, 10)))


def input_of(mod: tvm.IRModule, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs for a module's parameters, of their types."""
    rng = np.random.default_rng(seed)
    types = {p.name_hint: p.type_annotation for p in mod["main"].params}
    return {name: random_array(rng, [int(d) for d in t.shape], t.dtype) for name, t in types.items()}


def random_array(rng: np.random.Generator, shape: Sequence[int], dtype: str = "float32") -> np.ndarray:
    """Normally distributed floats, integers from 0 to 99, bools."""
    if "float" in dtype:
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


def run(lib, inputs: dict[str, np.ndarray], devices) -> list[np.ndarray]:
    """All outputs of an executor factory."""
    module = tvm.contrib.graph_executor.GraphModule(lib["default"](*devices))
    module.set_input(**inputs)
    module.run()
    return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]


# Where results are compared, and nothing is timed: code that is not optimised is compiled in less time.
CPU = "llvm -opt-level=0"
_UNSPLIT = BuildMemo()


def reference(mod: tvm.IRModule, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The unsplit model's outputs on the CPU."""
    with tvm.transform.PassContext(opt_level=1):
        lib = _UNSPLIT.build(mod, target=CPU)
    return run(lib, inputs, [tvm.cpu()])


def assert_same(got: list[np.ndarray], want: list[np.ndarray], tolerance: float = 1e-4) -> None:
    """Largest error relative to the largest value, output by output."""
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        if g.dtype.kind == "f":
            assert np.abs(g - w).max(initial=0) <= tolerance * np.abs(w).max(initial=0)
        else:
            np.testing.assert_array_equal(g, w)
