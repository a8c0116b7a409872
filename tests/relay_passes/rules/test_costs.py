"""What a rule says of an operator's cost: its kind and its FLOPs, whole and in parts."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import tvm
from tvm import relay

from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.cost_models import describe
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.rules import RULES, Rule, kind_of, rule_for

pytestmark = pytest.mark.llvm


def x(*shape: int, dtype: str = "float32") -> relay.Var:
    return relay.var("x", shape=shape, dtype=dtype)


def const(*shape: int, dtype: str = "float32") -> relay.Constant:
    return relay.const(np.ones(shape, dtype))


nn = relay.nn
# Operator, kind, FLOPs, class and algorithm of its workload on the GPU.
CASES = [
    (nn.conv2d(x(1, 6, 7, 9), const(4, 6, 3, 3), padding=(1, 1)), OpKind.CONV, 2 * 4 * 63 * 6 * 9, "conv/direct.3x3"),
    (
        nn.conv2d(x(1, 6, 7, 9), const(6, 1, 3, 3), groups=6, padding=(1, 1)),
        OpKind.CONV,
        2 * 6 * 63 * 9,
        "depthwise_conv/direct",
    ),
    (
        nn.conv2d(x(1, 7, 9, 6), const(3, 3, 6, 4), padding=(1, 1), data_layout="NHWC", kernel_layout="HWIO"),
        *(OpKind.CONV, 2 * 4 * 63 * 6 * 9, "conv/direct.3x3"),
    ),
    (nn.conv1d(x(2, 3, 11), const(5, 3, 3)), OpKind.CONV, 2 * 2 * 5 * 9 * 3 * 3, "conv/direct"),
    (nn.conv3d(x(1, 2, 5, 5, 5), const(3, 2, 3, 3, 3)), OpKind.CONV, 2 * 3 * 27 * 2 * 27, "conv/direct"),
    (
        nn.conv2d_transpose(x(1, 4, 5, 6), const(4, 3, 2, 2), strides=(2, 2), channels=3, kernel_size=(2, 2)),
        *(OpKind.TRANSPOSED_CONV, 2 * 4 * 30 * 3 * 4, "transposed_conv/direct"),
    ),
    (nn.dense(x(3, 5), const(7, 5)), OpKind.DENSE, 2 * 3 * 5 * 7, "dense/gemm"),
    (nn.matmul(x(5, 3), const(5, 7), transpose_a=True), OpKind.DENSE, 2 * 3 * 5 * 7, "dense/gemm"),
    (nn.batch_matmul(x(2, 3, 5), const(2, 7, 5)), OpKind.BATCH_MATMUL, 2 * 2 * 3 * 5 * 7, "batch_matmul/gemm"),
    (
        nn.batch_matmul(x(2, 5, 3), const(2, 5, 7), transpose_a=True, transpose_b=False),
        *(OpKind.BATCH_MATMUL, 2 * 2 * 3 * 5 * 7, "batch_matmul/gemm"),
    ),
    (nn.max_pool2d(x(1, 3, 9, 9), pool_size=(3, 2), strides=(2, 2)), OpKind.POOL, 3 * 4 * 4 * 6, "pool/direct"),
    (nn.avg_pool1d(x(1, 3, 9), pool_size=(3,)), OpKind.POOL, 3 * 7 * 3, "pool/direct"),
    (nn.global_avg_pool2d(x(1, 3, 5, 7)), OpKind.POOL, 3 * 35, "pool/direct"),
    (nn.adaptive_avg_pool2d(x(1, 3, 6, 8), (2, 4)), OpKind.POOL, 3 * 48, "pool/direct"),
    (relay.mean(x(3, 5, 7), axis=1), OpKind.REDUCE, 105, "reduce/direct"),
    (relay.argmax(x(3, 5), axis=1), OpKind.REDUCE, 15, "reduce/direct"),
    (relay.cumsum(x(3, 5), axis=1), OpKind.REDUCE, 15, "reduce/direct"),
    (nn.softmax(x(3, 5)), OpKind.SOFTMAX, 15, "reduce/softmax"),
    (nn.lrn(x(1, 3, 5, 5)), OpKind.LRN, 75, "reduce/lrn"),
    (relay.add(x(3, 5), const(5)), OpKind.ELEMENTWISE, 15, "injective/direct"),
    (relay.erf(x()), OpKind.ELEMENTWISE, 1, "injective/direct"),
    (relay.concatenate([x(3, 5), const(3, 2)], 1), OpKind.CONCAT, 0, "injective/concat"),
    (relay.transpose(x(3, 5, 7)), OpKind.MOVE, 0, "injective/moves"),
    (relay.reverse(x(3, 5), 1), OpKind.MOVE, 0, "injective/moves"),
    (nn.mirror_pad(x(3, 5), [[0, 0], [1, 1]]), OpKind.MOVE, 0, "injective/moves"),
    (relay.image.resize2d(x(1, 3, 5, 5), (10, 10)), OpKind.MOVE, 300, "injective/moves"),
    (relay.topk(x(3, 5), 2, ret_type="values"), OpKind.OTHER, 6, "other/direct"),
    (relay.squeeze(x(3, 1, 5)), OpKind.VIEW, 0, "injective/direct"),
    (relay.reverse_sequence(x(3, 5), const(5, dtype="int32"), 0, 1), OpKind.ELEMENTWISE, 15, "injective/direct"),
]


@pytest.mark.parametrize(
    ("expr", "kind", "flops", "key"), CASES, ids=[f"{c[0].op.name}-{n}" for n, c in enumerate(CASES)]
)
def test_kind_and_flops(expr, kind, flops, key):
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(expr))
    call = mod["main"].body
    assert (kind_of(call), rule_for(call).flops(call)) == (kind, flops)
    kernel = extract(mod).kernels[-1]
    assert (kernel.kinds, kernel.kind, kernel.flops) == ((kind,), kind, flops)
    assert kernel.is_heavy == (kind in (OpKind.CONV, OpKind.TRANSPOSED_CONV, OpKind.DENSE, OpKind.BATCH_MATMUL))
    assert kernel.is_free == (kind == OpKind.VIEW)
    workload = describe(kernel, "gpu")
    assert f"{workload.kind}/{workload.algorithm}" == key and workload.flops == flops


def test_a_new_operator_is_one_rule(monkeypatch):
    """What a rule says of its cost reaches the graph, the anchor and the workload; no table elsewhere names it."""

    class Wave(Rule):
        kind = OpKind.REDUCE

        def flops(self, call):
            return 1000.0

    monkeypatch.setitem(RULES, "reverse_sequence", Wave())
    data = x(3, 5)
    out = relay.reverse_sequence(nn.relu(data), relay.const(np.full(5, 3, "int32")), 0, 1)
    graph = extract(relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([data], out))))
    kernel = next(k for k in graph.kernels if k.op == "reverse_sequence")
    assert kernel.kind == OpKind.REDUCE and kernel.flops >= 1000.0
    workload = describe(kernel, "cpu")
    assert (workload.kind, workload.flops) == ("reduce", kernel.flops)


def test_operators_of_all_kinds_are_in_the_table():
    assert {rule.kind for rule in RULES.values()} == set(OpKind)


def test_fused_kernels_add_up():
    data = x(1, 6, 9, 9)
    conv = nn.conv2d(data, const(8, 6, 3, 3), padding=(1, 1))
    out = nn.relu(nn.bias_add(conv, const(8)))
    (kernel,) = extract(relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([data], out)))).kernels
    assert kernel.kinds == (OpKind.CONV, OpKind.ELEMENTWISE, OpKind.ELEMENTWISE) and kernel.kind == OpKind.CONV
    assert kernel.flops == 2 * 8 * 81 * 54 + 2 * prod((8, 9, 9))
