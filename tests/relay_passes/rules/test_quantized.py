"""Whole numbers and half precision: plain int8 operators, quantised (qnn) ones as prepare lowers them, fp16."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relay

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def const(*shape: int, dtype: str = "int8"):
    return relay.const(np.random.randint(-20, 20, shape).astype(dtype))


def scales(n: int):
    return relay.const(np.random.uniform(0.01, 0.05, n).astype("float32"))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv2d(splits, dtype, groups):
    x = relay.var("x", shape=(2, 4, 7, 6), dtype=dtype)
    weight = const(8, 4 // groups, 3, 3)
    y = relay.nn.conv2d(x, weight, padding=(1, 0), strides=(1, 2), groups=groups, out_dtype="int32")
    y = relay.nn.relu(relay.nn.bias_add(y, const(8, dtype="int32")))
    splits.check(y, expect={"oc", "h", "w", "batch"})


def test_conv2d_nhwc(splits):
    x = relay.var("x", shape=(1, 7, 6, 4), dtype="int8")
    y = relay.nn.conv2d(
        x, const(3, 3, 4, 8), padding=(1, 1), data_layout="NHWC", kernel_layout="HWIO", out_dtype="int32"
    )
    splits.check(y, expect={"oc", "h", "w"})


def test_dense_and_batch_matmul(splits):
    x = relay.var("x", shape=(5, 16), dtype="int8")
    splits.check(relay.nn.dense(x, const(12, 16), out_dtype="int32"), expect={"m", "n"})
    a, b = relay.var("a", shape=(2, 5, 8), dtype="int8"), relay.var("b", shape=(2, 6, 8), dtype="int8")
    splits.check(relay.nn.batch_matmul(a, b, out_dtype="int32"), expect={"batch", "m", "n"})


def quantised_conv(x, channels: int, out: int, per_channel: bool, zero_point: int = 3, kernel: int = 3, **attrs):
    """qnn.conv2d, bias, requantize, ReLU as TFLite and ONNX QDQ models have it."""
    weight_scale = scales(out) if per_channel else relay.const(0.02)
    y = relay.qnn.conv2d(
        x,
        const(out, channels // attrs.get("groups", 1), kernel, kernel),
        input_zero_point=relay.const(zero_point),
        kernel_zero_point=relay.const(0),
        input_scale=relay.const(0.1),
        kernel_scale=weight_scale,
        kernel_size=(kernel, kernel),
        channels=out,
        padding=(kernel // 2, kernel // 2),
        **attrs,
    )
    y = relay.nn.bias_add(y, const(out, dtype="int32"))
    input_scale = relay.const(0.1 * 0.02)
    if per_channel:
        input_scale = relay.const(0.1 * weight_scale.data.numpy())
    y = relay.qnn.requantize(
        y, input_scale, relay.const(0), relay.const(0.15), relay.const(zero_point), axis=1, out_dtype="uint8"
    )
    return relay.clip(y, zero_point, 255)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("groups", [1, 4])
def test_qnn_conv2d(splits, per_channel, groups):
    x = relay.var("x", shape=(1, 4, 8, 7), dtype="uint8")
    y = quantised_conv(x, 4, 8, per_channel, groups=groups)
    inputs = {"x": np.random.randint(0, 255, (1, 4, 8, 7)).astype("uint8")}
    seen = splits.check(y, inputs=inputs, expect={"oc", "h", "w"} if groups > 1 else {"h", "w"})
    if groups == 1:  # the padding (with the zero point) is a kernel of its own; all channels need the whole of it
        heavy = next(k.index for k in seen.graph.kernels if k.is_heavy)
        rest = list(range(heavy, len(seen.graph.kernels)))
        splits.check(y, inputs=inputs, members=rest, axes={"oc"}, expect={"oc"}, build="none")


def test_qnn_chain(splits):
    x = relay.var("x", shape=(1, 3, 10, 7), dtype="uint8")
    y = quantised_conv(x, 3, 4, True, strides=(2, 1))
    y = relay.nn.max_pool2d(y, (2, 2), (1, 1))
    y = quantised_conv(y, 4, 6, False)
    inputs = {"x": np.random.randint(0, 255, (1, 3, 10, 7)).astype("uint8")}
    splits.check(y, axes={"h", "w"}, inputs=inputs, expect={"h", "w"})


def test_qnn_dense(splits):
    x = relay.var("x", shape=(4, 16), dtype="uint8")
    y = relay.qnn.dense(x, const(12, 16), relay.const(5), relay.const(0), relay.const(0.1), scales(12), units=12)
    y = relay.qnn.requantize(y, relay.const(0.003), relay.const(0), relay.const(0.2), relay.const(0), out_dtype="int8")
    inputs = {"x": np.random.randint(0, 255, (4, 16)).astype("uint8")}
    splits.check(y, inputs=inputs, expect={"m", "n"})


def test_quantize_and_dequantize_at_the_ends(splits):
    x = relay.var("x", shape=(1, 3, 8, 7))
    y = relay.qnn.quantize(x, relay.const(0.05), relay.const(3), out_dtype="uint8")
    y = quantised_conv(y, 3, 4, False)
    y = relay.qnn.dequantize(y, relay.const(0.15), relay.const(3))
    splits.check(y, expect={"h", "w"})


@pytest.mark.parametrize("kind", ["conv2d", "dense", "batch_matmul", "pool"])
def test_half_precision(splits, kind):
    """Evaluated exactly; built where this TVM compiles fp16 for the CPU."""

    def half(*shape):
        return relay.const(np.random.standard_normal(shape).astype("float16"))

    x = relay.var("x", shape=(2, 3, 7, 6), dtype="float16")
    a, b = relay.var("a", shape=(4, 8), dtype="float16"), relay.var("b", shape=(2, 2, 8), dtype="float16")
    y, axes = {
        "conv2d": lambda: (
            relay.nn.relu(relay.nn.bias_add(relay.nn.conv2d(x, half(6, 3, 3, 3), padding=(1, 1)), half(6))),
            {"batch", "oc", "h", "w"},
        ),
        "dense": lambda: (relay.nn.dense(a, half(6, 8)), {"m", "n"}),
        "batch_matmul": lambda: (
            relay.nn.batch_matmul(b, half(2, 5, 8)),
            {"batch", "m", "n"},
        ),
        "pool": lambda: (relay.nn.avg_pool2d(x, (3, 3), (2, 2), padding=(1, 1, 1, 1)), {"batch", "oc", "h", "w"}),
    }[kind]()
    splits.check(y, expect=axes, tolerance=3e-2)
