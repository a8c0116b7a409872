"""Kernels of real graphs as workloads, whole and shared."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tvm")

import tvm
from tvm import relay

from tvm_coexec.core.kernel_graph import REDUCED
from tvm_coexec.cost_models import describe, describe_shares
from tvm_coexec.cost_models.features.describe import describe_epilogue
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = pytest.mark.llvm


def kernels_of(value):
    return extract(Prepare()(tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(value), value)))).kernels


def const(*shape):
    return relay.const(np.ones(shape, "float32"))


def x(*shape):
    return relay.var("x", shape=shape)


CASES = {
    "conv": (relay.nn.conv2d(x(1, 6, 13, 14), const(8, 6, 3, 5), strides=(2, 1), padding=(1, 2)), 8 * 6 * 15 * 7 * 14),
    "nhwc": (
        relay.nn.conv2d(x(1, 9, 10, 6), const(3, 3, 6, 8), padding=(1, 1), data_layout="NHWC", kernel_layout="HWIO"),
        8 * 6 * 9 * 90,
    ),
    "depthwise_conv": (relay.nn.conv2d(x(1, 6, 9, 9), const(6, 1, 3, 3), groups=6, padding=(1, 1)), 6 * 9 * 81),
    "group_conv": (relay.nn.conv2d(x(1, 6, 9, 9), const(9, 2, 1, 1), groups=3), 9 * 2 * 81),
    "conv1d": (relay.nn.conv1d(x(1, 4, 30), const(5, 4, 3), padding=(1,)), 5 * 4 * 3 * 30),
    "conv3d": (relay.nn.conv3d(x(1, 2, 4, 6, 6), const(3, 2, 3, 3, 3), padding=(1, 1, 1)), 3 * 2 * 27 * 144),
    "transposed_conv": (
        relay.nn.conv2d_transpose(x(1, 4, 5, 6), const(4, 3, 2, 2), strides=(2, 2), channels=3, kernel_size=(2, 2)),
        4 * 3 * 4 * 30,
    ),
    "dense": (relay.nn.dense(x(7, 12), const(9, 12)), 7 * 12 * 9),
    "batch_matmul": (relay.nn.batch_matmul(x(3, 7, 12), const(3, 9, 12)), 3 * 7 * 12 * 9),
    "pool": (relay.nn.max_pool2d(x(1, 4, 8, 8), (2, 2), (2, 2)), 4 * 4 * 16),
    "global pool": (relay.nn.global_avg_pool2d(x(1, 4, 8, 6)), 4 * 48),
}


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_multiply_adds_are_exact(case, device):
    value, macs = CASES[case]
    kernel = next(k for k in kernels_of(value) if k.op not in ("reshape", "expand_dims", "squeeze"))
    whole = describe(kernel, device)
    assert whole.macs == macs
    assert whole.kind == {"nhwc": "conv", "conv1d": "conv", "conv3d": "conv", "global pool": "pool"}.get(case, case)
    if whole.kind not in ("pool",):
        assert kernel.flops >= 2 * macs


@pytest.mark.parametrize("case", sorted(CASES))
def test_shares_add_up(case):
    for kernel in kernels_of(CASES[case][0]):
        whole = describe(kernel, "cpu")
        for axis in kernel.axes:
            cuts = range(axis.granule, axis.extent, axis.granule)
            if not cuts:
                continue
            upper = describe_shares(kernel, "cpu", axis.dim, [(0, c) for c in cuts])
            lower = describe_shares(kernel, "cpu", axis.dim, [(c, axis.extent) for c in cuts])
            for name in ("macs", "flops", "out_bytes"):
                if name == "macs" and whole.kind == "transposed_conv":
                    continue  # inputs at the cut are read by both shares
                if name == "out_bytes" and axis.reduces:
                    continue  # each share is a sum of the size of the output
                total = getattr(upper, name) + getattr(lower, name)
                np.testing.assert_allclose(total, getattr(whole, name), err_msg=f"{case} {axis.name} {name}")
            weights = upper.weight_bytes + lower.weight_bytes
            np.testing.assert_allclose(weights, whole.weight_bytes * (1 if axis.weights else 2))
            assert (upper.in_bytes + lower.in_bytes >= whole.in_bytes - 1e-6).all() or axis.name in ("h", "w")
            for index, cut in enumerate(cuts):
                one = describe_shares(kernel, "cpu", axis.dim, [(0, cut)])
                assert one.in_bytes[0] == upper.in_bytes[index]


@pytest.mark.parametrize("residual", [False, True])
def test_partial_sums(residual):
    """Input, weights and work by part; the output whole; bias, residual and activation only after the join."""
    y = relay.nn.bias_add(relay.nn.conv2d(x(2, 6, 9, 7), const(8, 6, 3, 3), padding=(1, 1)), const(8))
    (kernel,) = kernels_of(relay.nn.relu(y + relay.var("r", shape=(2, 8, 9, 7)) if residual else y))
    shares = describe_shares(kernel, "cpu", REDUCED, [(0, 2), (2, 6)])
    assert shares.ic.tolist() == [2.0, 4.0] and shares.oc == 8 and shares.fused == 0
    assert shares.in_bytes.tolist() == [4 * 2 * 63 * 2, 4 * 2 * 63 * 4]
    assert shares.weight_bytes.tolist() == [4 * 8 * 9 * 2, 4 * 8 * 9 * 4]
    assert shares.out_bytes.tolist() == [4 * 2 * 8 * 63] * 2
    assert shares.flops.tolist() == [2.0 * 2 * 8 * 63 * 9 * n for n in (2, 4)]


@pytest.mark.parametrize("residual", [False, True])
def test_epilogue_of_partial_sums(residual):
    """An elementwise kernel that reads both sums, and the residual, and applies what is fused."""
    y = relay.nn.bias_add(relay.nn.conv2d(x(2, 6, 9, 7), const(8, 6, 3, 3), padding=(1, 1)), const(8))
    (kernel,) = kernels_of(relay.erf(y + relay.var("r", shape=(2, 8, 9, 7)) if residual else y))
    found, elements = describe_epilogue(kernel), 2 * 8 * 9 * 7
    assert (found.key, found.ow, found.out_bytes) == ("injective/direct", elements, 4 * elements)
    assert found.in_bytes == 4 * elements * (3 if residual else 2)
    assert found.fused == (3 if residual else 2) and found.flops == elements * (1 + found.fused)
    assert found.special == describe(kernel, "cpu").special > 10 * elements


def test_partial_sums_of_two_values():
    (kernel,) = kernels_of(relay.nn.batch_matmul(x(3, 7, 12), relay.var("y", shape=(3, 9, 12))) * relay.const(0.5))
    shares = describe_shares(kernel, "gpu", REDUCED, [(0, 12), (0, 3)])
    assert shares.in_bytes.tolist() == [4 * 3 * 16 * n for n in (12, 3)] and shares.weight_bytes.tolist() == [0, 0]
    assert shares.flops.tolist() == [2.0 * 3 * 7 * 9 * n for n in (12, 3)]


def test_halo_rows_are_read():
    (kernel,) = kernels_of(relay.nn.conv2d(x(1, 4, 12, 10), const(4, 4, 5, 5), padding=(2, 2)))
    shares = describe_shares(kernel, "cpu", 2, [(0, 3), (3, 12), (5, 6)])
    assert shares.ih.tolist() == [5.0, 11.0, 5.0] and shares.oh.tolist() == [3.0, 9.0, 1.0]
    assert shares.in_bytes.tolist() == [4 * 4 * 10 * rows for rows in (5, 11, 5)]


def test_what_reads_unlike_is_of_another_class():
    """A GPU's LRN takes ten times as long as its mean, and a channel shuffle as a sum of two tensors."""

    def key(value) -> str:
        (kernel,) = [k for k in kernels_of(value) if "conv" not in k.name]
        return describe(kernel, "gpu").key

    image = x(1, 8, 6, 6)
    assert key(relay.nn.lrn(image)) == "reduce/lrn" and key(relay.nn.softmax(x(6, 50))) == "reduce/softmax"
    assert key(relay.mean(image, axis=[2, 3])) == "reduce/direct"
    shuffled = relay.reshape(relay.transpose(relay.reshape(image, (1, 2, 4, 6, 6)), (0, 2, 1, 3, 4)), (1, 8, 6, 6))
    assert key(shuffled) == "injective/moves.shuffle" and key(relay.tanh(image)) == "injective/direct"
    assert key(relay.mean(image, axis=[0, 1])) == "reduce/direct.outer"
    assert key(relay.nn.adaptive_max_pool2d(image, (3, 3))) == "pool/direct.global"
    assert key(relay.concatenate([image, relay.var("y", shape=(1, 4, 6, 6))], 1)) == "injective/concat"


def test_elementwise_reduction_and_unknown():
    value = relay.nn.softmax(relay.tanh(x(6, 50)))
    kinds = {describe(k, "cpu").kind for k in kernels_of(value)}
    assert kinds <= {"reduce", "injective"} and "reduce" in kinds
    (top,) = kernels_of(relay.topk(x(6, 50), k=3, ret_type="values"))[:1]
    assert describe(top, "cpu").kind == "other"
