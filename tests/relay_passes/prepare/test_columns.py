"""Convolutions and poolings of columns are computed on rows, with all that can be fused to them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")
relay = pytest.importorskip("tvm.relay")

from hypothesis import HealthCheck, assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tests.relay_passes.ir_text import ir_text  # noqa: E402
from tests.relay_passes.prepare import rewriting  # noqa: E402
from tests.relay_passes.prepare.rewriting import build_and_compare, const, module, names_of, prepare  # noqa: E402
from tvm_coexec.relay_passes.extract import extract  # noqa: E402
from tvm_coexec.relay_passes.prepare.columns import ComputeColumnsAsRows  # noqa: E402

pytestmark = pytest.mark.llvm

VIEW = "reshape"


def conv(x, taken: int, made: int, height: int, bias: bool = False, **attrs):
    """Convolution that keeps the height unless `attrs` say otherwise."""
    attrs = {"padding": (height // 2, 0, (height - 1) // 2, 0), "channels": made, "kernel_size": (height, 1)} | attrs
    y = relay.nn.conv2d(x, const(made, taken // attrs.get("groups", 1), height, 1), **attrs)
    return relay.nn.bias_add(y, const(made)) if bias else y


rewrite = partial(rewriting.rewrite, ComputeColumnsAsRows())


@pytest.mark.slow
@given(
    batch=st.integers(1, 3),
    extent=st.integers(2, 20),
    height=st.integers(1, 9),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 9), st.integers(0, 1)),
    channels=st.sampled_from([(1, 1, 1), (3, 5, 1), (4, 6, 2), (5, 5, 5), (3, 6, 3)]),
)
@settings(max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_convolution(batch, extent, height, stride, dilation, padding, channels):
    """Among them some that are padded to the width of their stride, whose result is a column."""
    top, left, bottom, right = padding
    assume(extent + top + bottom > (height - 1) * dilation[0] and left + right < stride[1])
    taken, made, groups = channels
    attrs = {"strides": stride, "dilation": dilation, "padding": padding, "groups": groups}
    out = rewrite(conv(relay.var("x", shape=(batch, taken, extent, 1)), taken, made, height, **attrs))
    assert names_of(out) == [VIEW, "nn.conv2d", VIEW]


x4 = relay.var("x", shape=(2, 4, 9, 1))
TRANSPOSED = {
    "plain": {},
    "stride": {"strides": (3, 2)},
    "output padding": {"strides": (3, 1), "output_padding": (2, 0)},
    "padding": {"padding": (2, 0, 1, 0)},
}


@pytest.mark.parametrize("name", list(TRANSPOSED))
def test_transposed_convolutions(name):
    attrs = {"channels": 5, "kernel_size": (4, 1)} | TRANSPOSED[name]
    out = rewrite(relay.nn.conv2d_transpose(x4, const(4, 5, 4, 1), **attrs))
    assert names_of(out) == [VIEW, "nn.conv2d_transpose", VIEW]


POOLINGS = {
    "max": lambda y: relay.nn.max_pool2d(y, (3, 1), (2, 1)),
    "ceil": lambda y: relay.nn.max_pool2d(y, (2, 1), (3, 2), ceil_mode=True),
    "dilation": lambda y: relay.nn.max_pool2d(y, (3, 1), dilation=(2, 1), padding=(1, 0, 2, 0)),
    "average": lambda y: relay.nn.avg_pool2d(y, (3, 1), (2, 1), padding=(1, 0, 1, 0)),
    "average with padding": lambda y: relay.nn.avg_pool2d(y, (3, 1), padding=(2, 0, 1, 0), count_include_pad=True),
    "one size": lambda y: relay.nn.avg_pool2d(y, 1, 2),
}


@pytest.mark.parametrize("name", list(POOLINGS))
def test_poolings(name):
    made = rewrite(POOLINGS[name](x4))
    assert names_of(made)[::2] == [VIEW, VIEW] and len(names_of(made)) == 3
    assert names_of(rewrite(POOLINGS[name](conv(x4, 4, 4, 3)))).count(VIEW) == 2


def test_weights_may_be_inputs():
    w = relay.var("w", shape=(4, 4, 5, 1))
    assert names_of(rewrite(relay.nn.conv2d(x4, w))) == [VIEW, VIEW, "nn.conv2d", VIEW]


# Of a map of shape (2, 4, 9, 1): what is computed on rows, too.
READERS = {
    "relu": relay.nn.relu,
    "clip": lambda y: relay.clip(y, -0.5, 0.5),
    "cast": lambda y: relay.cast(y, "float64"),
    "bias": lambda y: relay.nn.bias_add(y, const(4)),
    "bias along the height": lambda y: relay.nn.bias_add(y, const(9), axis=2),
    "bias along the width": lambda y: relay.nn.bias_add(y, const(1), axis=-1),
    "prelu": lambda y: relay.nn.prelu(y, const(4)),
    "scalar": lambda y: y * relay.const(3.0),
    "one element": lambda y: y * const(1),
    "channels": lambda y: const(4, 1, 1) - y,
    "height": lambda y: y + const(9, 1),
    "batch and height": lambda y: y * const(2, 1, 9, 1),
    "an input of rank 2": lambda y: y + relay.var("v", shape=(9, 1)),
    "residual": lambda y: relay.add(x4, y),
    "select": lambda y: relay.where(relay.greater(y, relay.const(0.0)), y, const(4, 1, 1)),
    "mean": lambda y: relay.mean(y, axis=[2, 3]),
    "mean, dimensions kept": lambda y: relay.mean(y, axis=[2, 3], keepdims=True),
    "mean along the height": lambda y: relay.mean(y, axis=2),
    "mean along the width": lambda y: relay.mean(y, axis=-1),
    "sum of all": relay.sum,
    "sum of others": lambda y: relay.sum(y, axis=1, exclude=True),
    "variance": lambda y: relay.variance(y, axis=1, keepdims=True, with_mean=relay.mean(y, axis=1, keepdims=True)),
    "concatenation of channels": lambda y: relay.concatenate([x4, y, y], axis=1),
    "concatenation of heights": lambda y: relay.concatenate([y, x4], axis=2),
}
# Computed on rows, and then seen as what the model has.
REDUCED = {
    "maximum over channels": lambda y: relay.max(y, axis=1),
    "minimum over batch and channels": lambda y: relay.min(y, axis=[1, 0]),
}
# These stay.
OTHERS = {
    "softmax": lambda y: relay.nn.softmax(y, axis=1),
    "transpose": lambda y: relay.transpose(y, [0, 2, 1, 3]),
    "pad": lambda y: relay.nn.pad(y, ((0, 0), (0, 0), (2, 1), (0, 0))),
    "slice": lambda y: relay.strided_slice(y, [1], [8], [2], axes=[2]),
    "argmax": lambda y: relay.argmax(y, axis=1),
    "five dimensions": lambda y: y + const(3, 1, 1, 1, 1),
    "wider": lambda y: y + const(1, 7),
    "a vector": lambda y: y * const(7),
    "concatenation of widths": lambda y: relay.concatenate([y, y], axis=3),
    "tuple": lambda y: relay.split(y, 2, axis=1)[0],
    "wider by padding": lambda y: conv(y, 4, 3, 1, padding=(0, 1, 0, 1)),
    "a wide kernel": lambda y: relay.nn.conv2d(y, const(3, 4, 1, 3), padding=(0, 1)),
    "a wide pooling": lambda y: relay.nn.avg_pool2d(y, (2, 3), padding=(0, 1, 0, 1)),
    "channels last": lambda y: relay.nn.conv2d(y, const(2, 1, 1, 3), data_layout="NHWC", kernel_layout="HWIO"),
}


@pytest.mark.parametrize("name", list(READERS))
def test_what_is_computed_with_the_convolution(name):
    made = rewrite(READERS[name](conv(x4, 4, 4, 3)))
    # One view of each input, and one of the result.
    views = 2 + (name == "an input of rank 2")
    assert names_of(made).count(VIEW) <= views and (names_of(made)[-1] == VIEW or "sum" in name or "mean" in name)


@pytest.mark.parametrize("name", list(REDUCED))
def test_what_keeps_the_width(name):
    assert names_of(rewrite(REDUCED[name](conv(x4, 4, 4, 3)))) == [VIEW, "nn.conv2d", name[:3], VIEW]


@pytest.mark.parametrize("name", list(OTHERS))
def test_what_is_not(name):
    made = rewrite(OTHERS[name](relay.nn.relu(conv(x4, 4, 4, 3))))
    assert names_of(made)[:4] == [VIEW, "nn.conv2d", "nn.relu", VIEW]


def test_every_reader_gets_what_it_needs():
    """Convolutions follow one another without views; what needs a column shares one view."""
    y = relay.nn.relu(conv(x4, 4, 4, 3))
    z = conv(relay.sigmoid(conv(y, 4, 6, 5, groups=2)), 6, 4, 2) + y
    made = rewrite(relay.nn.softmax(y), relay.transpose(y, [0, 2, 1, 3]), z)
    assert names_of(made).count(VIEW) == 3


def test_others_stay():
    column, row = relay.var("x", shape=(1, 4, 9, 1)), relay.var("x", shape=(1, 4, 1, 9))
    left = [
        conv(relay.var("x", shape=(1, 4, 1, 1)), 4, 3, 1),
        relay.nn.conv2d(row, const(3, 4, 1, 3)),
        relay.nn.conv2d(relay.var("x", shape=(1, 4, 9, 2)), const(3, 4, 3, 1)),
        conv(relay.var("x", shape=(1, 4, relay.Any(), 1)), 4, 3, 3),
        relay.nn.conv2d(relay.cast(column, "int8"), relay.const(np.ones((3, 4, 3, 1), "int8")), out_dtype="int32"),
        relay.nn.max_pool2d(row, (1, 3)),
        relay.nn.relu(column),
    ]
    for value in left:
        mod = module(value)
        assert ComputeColumnsAsRows()(mod).same_as(mod)


def test_text():
    x = relay.var("x", shape=(1, 4, 20, 1))
    y = relay.nn.relu(conv(x, 4, 8, 3, bias=True, strides=(2, 1)))
    y = relay.nn.max_pool2d(conv(y, 8, 8, 5, groups=8) + y, (2, 1), (2, 1))
    mod = prepare(module(relay.nn.softmax(y, axis=1), relay.mean(y, axis=[2, 3])))
    assert ir_text(mod) == (
        """\
def @main(%x: float32[1, 4, 20, 1])
  %0 = reshape(%x) -> float32[1, 4, 1, 20]
  %1 = nn.conv2d(%0, const float32[8, 4, 1, 3])  {strides=[1, 2], padding=[0, 1, 0, 1], channels=8} -> float32[1, 8, 1, 10]
  %2 = add(%1, const float32[8, 1, 1]) -> float32[1, 8, 1, 10]
  %3 = nn.relu(%2) -> float32[1, 8, 1, 10]
  %4 = nn.conv2d(%3, const float32[8, 1, 1, 5])  {strides=[1, 1], padding=[0, 2, 0, 2], groups=8, channels=8} -> float32[1, 8, 1, 10]
  %5 = add(%4, %3) -> float32[1, 8, 1, 10]
  %6 = nn.max_pool2d(%5)  {strides=[1, 2], padding=[0, 0, 0, 0], pool_size=[1, 2]} -> float32[1, 8, 1, 5]
  %7 = reshape(%6) -> float32[1, 8, 5, 1]
  %8 = nn.softmax(%7)  {axis=1} -> float32[1, 8, 5, 1]
  %9 = mean(%6)  {axis=[2, 3]} -> float32[1, 8]
  return (%8, %9)
"""  # noqa: E501
    )
    assert tvm.ir.structural_equal(prepare(mod), mod)


def test_kernels():
    """Bias and activation are in the convolution's kernel; views are free; the height is the axis h."""
    x = relay.var("x", shape=(1, 4, 30, 1))
    y = relay.nn.relu(conv(x, 4, 8, 3, bias=True))
    y = relay.nn.max_pool2d(relay.sigmoid(conv(y, 8, 8, 3, bias=True)) * y, (2, 1), (2, 1))
    kernels = [k for k in extract(prepare(module(y))).kernels if not k.is_free]
    assert [k.name for k in kernels] == ["nn.conv2d+add+nn.relu", "nn.conv2d+add+sigmoid+multiply", "nn.max_pool2d"]
    assert [k.named_axis("h").extent for k in kernels] == [30, 30, 15]


def column_net() -> tvm.IRModule:
    """Depthwise, dilated, pointwise, residual, strided in groups, pooled, transposed; a batch of 2."""
    x = relay.var("x", shape=(2, 6, 35, 1))
    y = relay.nn.relu(conv(x, 6, 8, 9, bias=True))
    z = relay.nn.relu(conv(y, 8, 8, 3, bias=True, groups=8, dilation=(2, 1), padding=(4, 0, 0, 0)))
    y = relay.nn.relu(conv(z, 8, 8, 1, bias=True) + y)
    y = relay.nn.avg_pool2d(relay.concatenate([y, z], axis=1), (3, 1), (2, 1), padding=(1, 0, 1, 0))
    y = conv(y, 16, 12, 4, bias=True, groups=2, strides=(2, 1), padding=(1, 0, 2, 0))
    up = relay.nn.conv2d_transpose(y, const(12, 5, 4, 1), channels=5, kernel_size=(4, 1), strides=(2, 1))
    return module(relay.nn.softmax(y, axis=1), relay.mean(y, axis=2), relay.tanh(up))


@pytest.mark.opencl
@pytest.mark.parametrize("axis", ["oc", "h"])
def test_built_and_run_on_both_devices(axis):
    plan = build_and_compare(column_net(), ratio=0.4, axis=axis)
    assert axis in {s.axis for s in plan.segments if s.device == "split"}
