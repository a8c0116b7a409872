"""Chains along the reduction, built for both devices and run: random shapes and cuts against the unsplit model."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import relay

import tvm_coexec
from tests import models
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.partition import CoExecPartition
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]

COMMON = dict(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def check(mod: tvm.IRModule, part: float) -> None:
    """One chain of all kernels, along the last one's reduction."""
    with tvm.transform.PassContext(opt_level=3):
        graph = extract(Prepare()(mod))
        extent = graph.kernels[-1].named_axis("ic").extent
        cut = min(extent - 1, max(1, round(part * extent)))
        plan = Plan(graph.fingerprint(), (Segment("split", tuple(range(len(graph.kernels))), "ic", cut),))
        lib = relay.build(CoExecPartition(plan=plan)(mod), target=tvm_coexec.targets(models.CPU))
    inputs = models.input_of(mod)
    models.assert_same(models.run(lib, inputs, [tvm.cpu(0), tvm.opencl(0)]), models.reference(mod, inputs))


@given(
    batch=st.sampled_from([1, 1, 2]),
    channels=st.tuples(st.integers(1, 9), st.integers(2, 19), st.integers(1, 9)),
    kernels=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3])),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    dilation=st.integers(1, 2),
    nhwc=st.booleans(),
    part=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
@settings(max_examples=8, **COMMON)
def test_two_convolutions(batch, channels, kernels, strides, dilation, nhwc, part, seed):
    rng = np.random.default_rng(seed)
    size = (13, 11)
    x = y = relay.var("x", shape=(batch, *size, channels[0]) if nhwc else (batch, channels[0], *size))
    for i in range(2):
        taken, made, k = channels[i], channels[i + 1], kernels[i]
        shape = (k, k, taken, made) if nhwc else (made, taken, k, k)
        weight = (rng.standard_normal(shape) / np.sqrt(taken * k * k)).astype("float32")
        y = relay.nn.conv2d(
            y, relay.const(weight), strides=(strides[i], 1), padding=(k // 2 * dilation,) * 2, dilation=(dilation, 1),
            channels=made, kernel_size=(k, k), data_layout="NHWC" if nhwc else "NCHW",
            kernel_layout="HWIO" if nhwc else "OIHW",
        )  # fmt: skip
        bias = relay.const(rng.standard_normal(made).astype("float32"))
        y = relay.tanh(relay.nn.bias_add(y, bias, axis=3 if nhwc else 1))
    check(tvm.IRModule.from_expr(relay.Function([x], y)), part)


@given(
    rows=st.integers(1, 17),
    features=st.tuples(st.integers(1, 24), st.integers(2, 40), st.integers(1, 24)),
    part=st.floats(0.05, 0.95),
    residual=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=8, **COMMON)
def test_two_products(rows, features, part, residual, seed):
    rng = np.random.default_rng(seed)
    x = relay.var("x", shape=(rows, features[0]))
    y = relay.sigmoid(relay.nn.dense(x, models.weights(rng, features[1], features[0])))
    y = relay.nn.bias_add(
        relay.nn.dense(y, models.weights(rng, features[2], features[1])),
        relay.const(rng.standard_normal(features[2]).astype("float32")),
    )
    inputs = [x]
    if residual:
        inputs.append(relay.var("r", shape=(rows, features[2])))
        y = y + inputs[1]
    check(tvm.IRModule.from_expr(relay.Function(inputs, relay.nn.relu(y))), part)


@pytest.mark.parametrize("op", ["conv1d", "conv3d", "batch_matmul"])
def test_other_anchors(op):
    rng = np.random.default_rng(7)
    if op == "conv1d":
        x = relay.var("x", shape=(1, 6, 20))
        y = relay.nn.conv1d(x, models.weights(rng, 5, 6, 1), channels=5, kernel_size=(1,))
    elif op == "conv3d":
        x = relay.var("x", shape=(1, 6, 5, 8, 7))
        y = relay.nn.conv3d(x, models.weights(rng, 4, 6, 3, 3, 3), padding=1, channels=4, kernel_size=(3, 3, 3))
    else:
        x = relay.var("x", shape=(3, 8, 24))
        y = relay.nn.batch_matmul(x, models.weights(rng, 3, 16, 24))
    check(tvm.IRModule.from_expr(relay.Function([x], relay.nn.relu(y))), 0.5)
