"""One-dimensional convolutions are computed as two-dimensional ones of height 1, with all that can be fused to them."""

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
from tests.relay_passes.prepare.rewriting import build_and_compare, calls_of, const, module, names_of, prepare  # noqa: E402
from tvm_coexec.core.plan import Plan, Segment  # noqa: E402
from tvm_coexec.relay_passes.extract import extract  # noqa: E402
from tvm_coexec.relay_passes.prepare.conv1d import ComputeConv1dAs2d  # noqa: E402

pytestmark = pytest.mark.llvm

VIEW = "reshape"


def conv(x, taken: int, made: int, width: int, bias: bool = False, **attrs):
    """Convolution that keeps the length unless `attrs` say otherwise."""
    attrs = {"padding": (width // 2, (width - 1) // 2), "channels": made, "kernel_size": (width,)} | attrs
    y = relay.nn.conv1d(x, const(made, taken // attrs.get("groups", 1), width), **attrs)
    return relay.nn.bias_add(y, const(made)) if bias else y


rewrite = partial(rewriting.rewrite, ComputeConv1dAs2d())


@pytest.mark.slow
@given(
    batch=st.integers(1, 3),
    extent=st.integers(1, 20),
    width=st.integers(2, 9),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    channels=st.sampled_from([(1, 1, 1), (3, 5, 1), (4, 6, 2), (5, 5, 5), (3, 6, 3)]),
)
@settings(max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_convolution(batch, extent, width, stride, dilation, padding, channels):
    """Among them kernels that are wider than their input, and outputs made of padding alone."""
    assume(extent + sum(padding) > (width - 1) * dilation)
    taken, made, groups = channels
    attrs = {"strides": stride, "dilation": dilation, "padding": padding, "groups": groups}
    out = rewrite(conv(relay.var("x", shape=(batch, taken, extent)), taken, made, width, **attrs))
    assert names_of(out) == [VIEW, "nn.conv2d", VIEW]


@pytest.mark.slow
@given(
    batch=st.integers(1, 3),
    extent=st.integers(1, 20),
    width=st.integers(1, 9),
    stride=st.integers(1, 4),
    more=st.integers(0, 3),
    padding=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    channels=st.sampled_from([(1, 1), (3, 5), (6, 4)]),
)
@settings(max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_transposed_convolution(batch, extent, width, stride, more, padding, channels):
    """Padding, by which the output is cropped, is less than the kernel, and output padding less than the stride."""
    assume(max(padding) < width and more < stride and (extent - 1) * stride + width + more > sum(padding))
    taken, made = channels
    attrs = {"strides": (stride,), "padding": padding, "output_padding": (more,), "channels": made}
    x = relay.var("x", shape=(batch, taken, extent))
    out = rewrite(relay.nn.relu(relay.nn.conv1d_transpose(x, const(taken, made, width), kernel_size=(width,), **attrs)))
    assert names_of(out) == [VIEW, "nn.conv2d_transpose", "nn.relu", VIEW]


@pytest.mark.parametrize("padding", [2, (2,), (1, 2)])
def test_every_form_of_padding(padding):
    rewrite(conv(relay.var("x", shape=(1, 3, 9)), 3, 4, 5, padding=padding))


def test_weights_may_be_inputs():
    x, w = relay.var("x", shape=(1, 3, 9)), relay.var("w", shape=(4, 3, 5))
    assert names_of(rewrite(relay.nn.conv1d(x, w))) == [VIEW, VIEW, "nn.conv2d", VIEW]


x3 = relay.var("x", shape=(2, 4, 9))
# Of a map of shape (2, 4, 9): what is computed in four dimensions, too.
READERS = {
    "relu": relay.nn.relu,
    "clip": lambda y: relay.clip(y, -0.5, 0.5),
    "leaky_relu": lambda y: relay.nn.leaky_relu(y, 0.1),
    "cast": lambda y: relay.cast(y, "float64"),
    "bias": lambda y: relay.nn.bias_add(y, const(4)),
    "bias along the length": lambda y: relay.nn.bias_add(y, const(9), axis=-1),
    "bias along the batch": lambda y: relay.nn.bias_add(y, const(2), axis=0),
    "prelu": lambda y: relay.nn.prelu(y, const(4)),
    "scalar": lambda y: y * relay.const(3.0),
    "one element": lambda y: y * const(1),
    "channels": lambda y: const(4, 1) - y,
    "channels of rank 3": lambda y: y + const(1, 4, 1),
    "length": lambda y: y + const(9),
    "channels and length": lambda y: y + const(4, 9),
    "batch and length": lambda y: y * const(2, 1, 9),
    "an input of rank 2": lambda y: y + relay.var("v", shape=(4, 1)),
    "an input of rank 1": lambda y: y + relay.var("v", shape=(9,)),
    "residual": lambda y: relay.add(x3, y),
    "select": lambda y: relay.where(relay.greater(y, relay.const(0.0)), y, const(4, 1)),
    "squares": lambda y: y * y,
    "mean": lambda y: relay.mean(y, axis=2),
    "mean, dimensions kept": lambda y: relay.mean(y, axis=-1, keepdims=True),
    "sum of all": relay.sum,
    "sum of all, dimensions kept": lambda y: relay.sum(y, keepdims=True),
    "maximum over channels": lambda y: relay.max(y, axis=1),
    "minimum over batch and length": lambda y: relay.min(y, axis=[2, 0]),
    "sum of others": lambda y: relay.sum(y, axis=1, exclude=True),
    "variance": lambda y: relay.variance(y, axis=1, keepdims=True, with_mean=relay.mean(y, axis=1, keepdims=True)),
    "concatenation of channels": lambda y: relay.concatenate([x3, y, y], axis=1),
    "concatenation of lengths": lambda y: relay.concatenate([y, x3], axis=-1),
    "concatenation of batches": lambda y: relay.concatenate([y, y], axis=0),
}
# These stay.
OTHERS = {
    "softmax": lambda y: relay.nn.softmax(y, axis=1),
    "transpose": lambda y: relay.transpose(y, [0, 2, 1]),
    "pool": lambda y: relay.nn.max_pool1d(y, 3, 2),
    "pad": lambda y: relay.nn.pad(y, ((0, 0), (0, 0), (2, 1))),
    "slice": lambda y: relay.strided_slice(y, [1], [8], [2], axes=[2]),
    "argmax": lambda y: relay.argmax(y, axis=1),
    "four dimensions": lambda y: y + const(3, 1, 1, 1),
    "broadcast_to": lambda y: relay.broadcast_to(y, (3, 2, 4, 9)),
    "tuple": lambda y: relay.split(y, 2, axis=1)[0],
    "width 1": lambda y: conv(y, 4, 3, 1),
    "channels last": lambda y: relay.nn.conv1d(y, const(3, 9, 2), data_layout="NWC", kernel_layout="WIO"),
}


@pytest.mark.parametrize("name", list(READERS))
def test_what_is_computed_with_the_convolution(name):
    made = rewrite(READERS[name](conv(x3, 4, 4, 3)))
    for call in calls_of(made):
        if call.op.name != VIEW:
            ranks = [len(a.checked_type.shape) for a in call.args if not isinstance(a, relay.Tuple)]
            assert max(ranks, default=4) == 4, call.op.name
    # One view of each input of more than one dimension, and one of the result.
    assert names_of(made).count(VIEW) <= 2 + (name == "an input of rank 2")


@pytest.mark.parametrize("name", list(OTHERS))
def test_what_is_not(name):
    made = rewrite(OTHERS[name](relay.nn.relu(conv(x3, 4, 4, 3))))
    assert names_of(made)[:4] == [VIEW, "nn.conv2d", "nn.relu", VIEW]


def test_length_of_one_is_broadcast():
    y = conv(relay.var("x", shape=(2, 4, 5)), 4, 4, 5, padding=0)
    rewrite(y + const(4, 7), y * relay.var("v", shape=(2, 1, 6)))


def test_every_reader_gets_what_it_needs():
    """Convolutions follow one another without views; what needs three dimensions shares one view."""
    y = relay.nn.relu(conv(x3, 4, 4, 3))
    z = conv(relay.sigmoid(conv(y, 4, 6, 5, groups=2)), 6, 4, 2) + y
    made = rewrite(relay.nn.softmax(y), relay.transpose(y, [0, 2, 1]), z)
    assert names_of(made).count(VIEW) == 3


def test_text():
    x = relay.var("x", shape=(1, 4, 20))
    y = relay.nn.relu(conv(x, 4, 8, 3, bias=True, strides=2))
    y = relay.nn.max_pool1d(conv(y, 8, 8, 5, groups=8, dilation=2, padding=(3, 5)) + y, 2, 2)
    mod = prepare(module(conv(y, 8, 6, 1), y))
    assert ir_text(mod) == (
        """\
def @main(%x: float32[1, 4, 20])
  %0 = reshape(%x) -> float32[1, 4, 1, 20]
  %1 = nn.conv2d(%0, const float32[8, 4, 1, 3])  {strides=[1, 2], padding=[0, 1, 0, 1], channels=8} -> float32[1, 8, 1, 10]
  %2 = add(%1, const float32[8, 1, 1]) -> float32[1, 8, 1, 10]
  %3 = nn.relu(%2) -> float32[1, 8, 1, 10]
  %4 = nn.conv2d(%3, const float32[8, 1, 1, 5])  {strides=[1, 1], padding=[0, 3, 0, 5], dilation=[1, 2], groups=8, channels=8} -> float32[1, 8, 1, 10]
  %5 = add(%4, %3) -> float32[1, 8, 1, 10]
  %6 = reshape(%5) -> float32[1, 8, 10]
  %7 = nn.max_pool1d(%6)  {strides=[2], padding=[0, 0], dilation=[1], pool_size=[2]} -> float32[1, 8, 5]
  %8 = nn.conv1d(%7, const float32[6, 8, 1])  {strides=[1], padding=[0, 0], dilation=[1], channels=6} -> float32[1, 6, 5]
  return (%8, %7)
"""  # noqa: E501
    )
    assert tvm.ir.structural_equal(prepare(mod), mod)


def test_others_stay():
    x, last = relay.var("x", shape=(1, 4, 9)), relay.var("x", shape=(1, 9, 4))
    open_length = relay.var("x", shape=(1, 4, relay.Any()))
    left = [
        conv(x, 4, 3, 1),
        relay.nn.conv1d(last, const(3, 4, 2), data_layout="NWC", kernel_layout="WIO"),
        conv(open_length, 4, 3, 3),
        relay.nn.conv1d_transpose(open_length, const(4, 3, 2), channels=3, kernel_size=(2,)),
        relay.nn.conv1d(relay.cast(x, "int8"), relay.const(np.ones((3, 4, 3), "int8")), out_dtype="int32"),
        relay.nn.conv2d(relay.var("x", shape=(1, 4, 1, 9)), const(3, 4, 1, 3)),
    ]
    for value in left:
        mod = module(value)
        assert ComputeConv1dAs2d()(mod).same_as(mod)


def test_kernels():
    """Bias, batch norm and activation are in the convolution's kernel; views are free; the length is the axis h."""
    x = relay.var("x", shape=(1, 4, 30))
    norm = (relay.const(np.abs(np.random.standard_normal(8)).astype("float32")) for _ in range(4))
    y = relay.nn.relu(relay.nn.batch_norm(conv(x, 4, 8, 3), *norm)[0])
    y = relay.nn.max_pool1d(relay.sigmoid(conv(y, 8, 8, 3, bias=True)) * y, 2, 2)
    kernels = extract(prepare(module(y))).kernels
    assert [k.name for k in kernels if not k.is_free] == [
        "nn.conv2d+add+nn.relu",
        "nn.conv2d+add+sigmoid+multiply",
        "nn.max_pool1d",
    ]
    for kernel in kernels:
        rows = kernel.named_axis("h")
        assert rows.extent == kernel.outputs[0].shape[-1] and rows.dim == len(kernel.outputs[0].shape) - 1
    assert kernels[2].named_axis("h").needs[0].apply(10, 20) == (9, 21)
    assert {a.name for a in kernels[2].axes} == {"oc", "h", "ic"}


def temporal_net() -> tvm.IRModule:
    """Depthwise, dilated, pointwise, residual, strided in groups; a batch of 2."""
    x = relay.var("x", shape=(2, 6, 35))
    y = relay.nn.relu(conv(x, 6, 8, 9, bias=True))
    z = relay.nn.relu(conv(y, 8, 8, 3, bias=True, groups=8, dilation=2, padding=(4, 0)))
    y = relay.nn.relu(conv(z, 8, 8, 1, bias=True) + y)
    y = conv(y, 8, 12, 4, bias=True, groups=2, strides=2, padding=(1, 2))
    return module(relay.nn.softmax(y, axis=1), relay.mean(y, axis=2))


def dense_net() -> tvm.IRModule:
    """Concatenations, a gate, pooling, and a kernel wider than its input."""
    x = relay.var("x", shape=(1, 4, 26))
    y = relay.concatenate([x, relay.nn.relu(conv(x, 4, 6, 3, bias=True))], axis=1)
    y = relay.concatenate([y, relay.tanh(conv(y, 10, 6, 2)) * relay.sigmoid(conv(y, 10, 6, 5))], axis=1)
    y = relay.nn.avg_pool1d(y, 3, 2, padding=(1, 1))
    return module(relay.nn.leaky_relu(conv(y, 16, 8, 18, bias=True, padding=(9, 11)), 0.1))


def vocoder_net() -> tvm.IRModule:
    """Transposed convolutions that lengthen a signal, with residual blocks, as vocoders have them."""
    y = relay.var("x", shape=(1, 12, 9))
    for taken, made, width, stride in ((12, 8, 8, 4), (8, 6, 4, 2)):
        w = const(taken, made, width)
        attrs = {"strides": (stride,), "padding": ((width - stride) // 2,), "kernel_size": (width,), "channels": made}
        y = relay.nn.bias_add(relay.nn.conv1d_transpose(relay.nn.leaky_relu(y, 0.1), w, **attrs), const(made))
        y = conv(relay.nn.leaky_relu(y, 0.1), made, made, 3, bias=True, dilation=3, padding=3) + y
    return module(relay.tanh(conv(y, 6, 1, 7, bias=True)))


@pytest.mark.opencl
@pytest.mark.parametrize("axis", ["oc", "h"])
@pytest.mark.parametrize("net", [temporal_net, dense_net, vocoder_net])
def test_built_and_run_on_both_devices(net, axis):
    plan = build_and_compare(net(), ratio=0.4, axis=axis)
    assert axis in {s.axis for s in plan.segments if s.device == "split"}


@pytest.mark.opencl
def test_one_chain_over_views_along_the_length():
    """From one convolution through pooling to the next, halos are computed on both devices."""
    x = relay.var("x", shape=(1, 4, 40))
    y = relay.nn.max_pool1d(relay.nn.relu(conv(x, 4, 8, 5, bias=True)), 3, 2, padding=(1, 1))
    mod = module(relay.nn.relu(conv(y, 8, 8, 3, bias=True, dilation=2, padding=(2, 2))))
    graph = extract(prepare(mod))
    chain = Segment("split", tuple(range(len(graph.kernels))), "h", 7)
    build_and_compare(mod, plan=Plan(graph.fingerprint(), (chain,)))
