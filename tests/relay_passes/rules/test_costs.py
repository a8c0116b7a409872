"""What a rule says of an operator's cost: its kind and its FLOPs, whole and in parts."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import tvm
from tvm import relay

from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.cost_models import describe, describe_shares
from tvm_coexec.cost_models.features.special_functions import special_flops
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare
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
    (nn.conv1d(x(2, 3, 11), const(5, 3, 1)), OpKind.CONV, 2 * 2 * 5 * 11 * 3, "conv/direct.1x1.1d"),
    (
        nn.conv1d(x(2, 11, 3), const(3, 3, 5), data_layout="NWC", kernel_layout="WIO"),
        *(OpKind.CONV, 2 * 2 * 5 * 9 * 3 * 3, "conv/direct.1d"),
    ),
    (nn.conv3d(x(1, 2, 5, 5, 5), const(3, 2, 3, 3, 3)), OpKind.CONV, 2 * 3 * 27 * 2 * 27, "conv/direct.3d"),
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
    (nn.avg_pool1d(x(1, 3, 9), pool_size=(3,)), OpKind.POOL, 3 * 7 * 3, "pool/direct.1d"),
    (nn.global_avg_pool2d(x(1, 3, 5, 7)), OpKind.POOL, 3 * 35, "pool/direct.global"),
    (nn.adaptive_avg_pool2d(x(1, 3, 6, 8), (2, 4)), OpKind.POOL, 3 * 48, "pool/direct.global"),
    (relay.mean(x(3, 5, 7), axis=1), OpKind.REDUCE, 105, "reduce/direct.outer"),
    (relay.mean(x(3, 5, 7), axis=0, exclude=True), OpKind.REDUCE, 105, "reduce/direct"),
    (relay.sum(x(3, 5, 7)), OpKind.REDUCE, 105, "reduce/direct"),
    (relay.argmax(x(3, 5), axis=1), OpKind.REDUCE, 15, "reduce/direct.arg"),
    (relay.cumsum(x(3, 5), axis=1), OpKind.REDUCE, 15, "reduce/direct.scan"),
    (nn.softmax(x(3, 5)), OpKind.SOFTMAX, 15, "reduce/softmax"),
    (nn.softmax(x(3, 5), axis=0), OpKind.SOFTMAX, 15, "reduce/softmax.outer"),
    (nn.log_softmax(x(3, 5)), OpKind.SOFTMAX, 15, "reduce/softmax.log"),
    (nn.lrn(x(1, 3, 5, 5)), OpKind.LRN, 75, "reduce/lrn"),
    (relay.add(x(3, 5), const(5)), OpKind.ELEMENTWISE, 15, "injective/direct"),
    (relay.erf(x()), OpKind.ELEMENTWISE, 1, "injective/direct"),
    (relay.concatenate([x(3, 5), const(3, 2)], 1), OpKind.CONCAT, 0, "injective/concat"),
    (relay.transpose(x(3, 5, 7)), OpKind.MOVE, 0, "injective/moves"),
    (relay.reverse(x(3, 5), 1), OpKind.MOVE, 0, "injective/moves"),
    (nn.mirror_pad(x(3, 5), [[0, 0], [1, 1]]), OpKind.MOVE, 0, "injective/moves"),
    (relay.image.resize2d(x(1, 3, 5, 5), (10, 10)), OpKind.RESIZE, 8 * 300, "injective/moves.resize"),
    (
        relay.image.resize2d(x(1, 3, 5, 5), (10, 10), method="nearest_neighbor", rounding_method="round"),
        *(OpKind.RESIZE, 300, "injective/moves.resize"),
    ),
    (relay.image.resize2d(x(1, 3, 5, 5), (10, 10), method="cubic"), OpKind.RESIZE, 9600, "injective/moves.resize"),
    (relay.take(x(30, 5), const(4, dtype="int32"), axis=0), OpKind.MOVE, 0, "injective/moves.part"),
    (relay.strided_slice(x(30, 5), [2, 0], [9, 5]), OpKind.MOVE, 0, "injective/moves.part"),
    (
        nn.conv2d(x(1, 6, 7, 9, dtype="int8"), const(4, 6, 3, 3, dtype="int8"), out_dtype="int32"),
        OpKind.CONV,
        2 * 4 * 35 * 54,
        "conv/direct.3x3.int",
    ),
    (
        nn.dense(x(3, 5, dtype="uint8"), const(7, 5, dtype="uint8"), out_dtype="int32"),
        OpKind.DENSE,
        210,
        "dense/gemm.int",
    ),
    (
        nn.batch_matmul(x(2, 3, 5, dtype="float16"), const(2, 7, 5, dtype="float16")),
        OpKind.BATCH_MATMUL,
        420,
        "batch_matmul/gemm.half",
    ),
    (
        nn.conv1d_transpose(x(1, 4, 5), const(4, 3, 2), strides=(2,), channels=3, kernel_size=(2,)),
        OpKind.TRANSPOSED_CONV,
        2 * 20 * 6,
        "transposed_conv/direct.1d",
    ),
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


def kernel_of(value: relay.Expr):
    """The kernel of the last operator of a prepared expression."""
    func = relay.Function(relay.analysis.free_vars(value), value)
    return extract(Prepare()(tvm.IRModule.from_expr(func))).kernels[-1]


def var(name: str, *shape: int, dtype: str = "float32") -> relay.Var:
    return relay.var(name, shape=shape, dtype=dtype)


LINE = 64  # bytes of a cache line
# What is read of the first tensor, in bytes, and the size of that tensor.
READS = {
    "take rows": (relay.take(x(1000, 20), var("i", 6, dtype="int32"), axis=0), 6 * 80, 80000),
    "take of a constant": (relay.take(const(1000, 20), var("i", 2, 3, dtype="int32"), axis=0), 6 * 80, 80000),
    "take columns": (relay.take(x(50, 40), var("i", 6, dtype="int32"), axis=1), 50 * 6 * LINE, 8000),
    "take of the flattened": (relay.take(x(50, 40), var("i", 6, dtype="int32")), 6 * LINE, 8000),
    "take int8": (relay.take(x(1000, 20, dtype="int8"), var("i", 6, dtype="int32"), axis=0), 6 * LINE, 20000),
    "gather": (relay.gather(x(500, 40), 0, var("i", 6, 40, dtype="int32")), 6 * 160, 80000),
    "gather_nd": (relay.gather_nd(x(50, 40, 32), var("i", 2, 7, dtype="int32")), 7 * 128, 256000),
    "adv_index": (relay.adv_index([x(50, 40, 32), *(var(n, 7, dtype="int32") for n in "ij")]), 7 * 128, 256000),
    "slice": (relay.strided_slice(x(50, 40), [10, 0], [14, 40]), 4 * 160, 8000),
    "slice of columns": (relay.strided_slice(x(50, 40), [0, 4], [50, 24]), 50 * 80, 8000),
    "every second row": (relay.strided_slice(x(50, 40), [0, 0], [50, 40], [2, 1]), 25 * 160, 8000),
    "every second column": (relay.strided_slice(x(50, 40), [0, 0], [50, 40], [1, 2]), 50 * 20 * 8, 8000),
    "every 20th column": (relay.strided_slice(x(50, 40), [0, 0], [50, 40], [1, 20]), 50 * 2 * LINE, 8000),
    "backwards": (relay.strided_slice(x(50, 40), [-1, 0], [-51, 40], [-2, 1]), 25 * 160, 8000),
    "after an operator": (relay.strided_slice(nn.relu(x(50, 40)), [10, 0], [14, 40]), 4 * 160, 8000),
    "before an operator": (relay.exp(relay.take(x(1000, 20), var("i", 6, dtype="int32"), axis=0)), 6 * 80, 80000),
    "two slices": (
        relay.strided_slice(y := x(50, 40), [0, 0], [5, 40]) + relay.strided_slice(y, [9, 0], [14, 40]),
        1600,
        8000,
    ),
}


@pytest.mark.parametrize("case", list(READS))
def test_what_is_read_of_a_table_or_slice(case):
    value, read, size = READS[case]
    kernel = kernel_of(value)
    (partial,) = kernel.partial_reads
    assert (partial.nbytes, partial.read_bytes) == (size, min(size, read))
    whole = describe(kernel, "gpu")
    rest = kernel.in_bytes + kernel.weight_bytes - size
    assert whole.in_bytes + whole.weight_bytes == rest + min(size, read)
    for axis in kernel.axes:  # shares read their part of it
        cut = max(1, axis.extent // 3)
        halves = describe_shares(kernel, "gpu", axis.dim, [(0, cut), (cut, axis.extent)])
        parts = halves.in_bytes + halves.weight_bytes
        assert (parts <= whole.in_bytes + whole.weight_bytes + 1e-6).all()
        assert parts.sum() <= 2 * rest + min(partial.accessed_bytes, 2 * size) + 1e-6


def test_fields_of_a_split_are_views_of_it():
    x0 = x(50, 40)
    fields = relay.split(x0, 2, axis=1)
    kernel = kernel_of(relay.exp(fields[0]))
    assert kernel.read_bytes == 4000 and kernel.in_bytes == 8000
    both = kernel_of(relay.sigmoid(fields[0]) * relay.tanh(fields[1]))  # an LSTM's gates
    assert both.read_bytes == both.in_bytes == 8000


def test_what_is_read_whole():
    """Indices of a one-hot encoding, and a tensor that is read by a slice and whole by another operator."""
    assert (
        kernel_of(
            relay.one_hot(var("i", 9, dtype="int32"), relay.const(1.0), relay.const(0.0), 100, -1, "float32")
        ).read_bytes
        == 36
    )
    y = x(50, 40)
    kernel = kernel_of(nn.relu(y) + relay.strided_slice(y, [0, 0], [1, 40]))
    assert kernel.partial_reads == () and kernel.read_bytes == 8000
    repeated = kernel_of(relay.take(x(4, 20), var("i", 60, dtype="int32"), axis=0))
    assert repeated.read_bytes == repeated.in_bytes  # more accesses than rows: the table, and the indices
    halves = describe_shares(repeated, "cpu", 0, [(0, 1), (1, 60)])
    assert halves.in_bytes.tolist() == [80 + 4, 320 + 59 * 4]


FUNCTIONS = {
    "erf": (relay.erf(x(3, 5)), {"erf": 15}),
    "gelu": (x(3, 5) * relay.erf(x(3, 5)), {"erf": 15}),
    "divide": (x(3, 5) / const(3, 1), {"divide": 15}),
    "integers": (relay.divide(x(3, 5, dtype="int32"), const(5, dtype="int32")), {"integer_divide": 15}),
    "softmax": (nn.softmax(x(3, 5)), {"exp": 15, "divide": 15}),
    "log_softmax": (nn.log_softmax(x(3, 5)), {"exp": 15, "log": 3}),
    "fast_softmax": (nn.fast_softmax(x(3, 5)), {"fast_exp": 15, "divide": 15}),
    "lrn": (nn.lrn(x(1, 3, 5, 5)), {"power": 75, "divide": 75}),
    "swish after a convolution": (
        (c := nn.conv2d(x(1, 3, 5, 5), const(4, 3, 1, 1))) * relay.sigmoid(c),
        {"sigmoid": 100},
    ),
    "requantise": (relay.fixed_point_multiply(x(3, 5, dtype="int32"), 5, 1), {"fixed_point_multiply": 15}),
    "none": (nn.relu(x(3, 5)) + const(5), {}),
}


@pytest.mark.parametrize("case", list(FUNCTIONS))
def test_special_functions_are_counted(case):
    value, expected = FUNCTIONS[case]
    kernel = kernel_of(value)
    assert dict(kernel.functions) == expected
    assert describe(kernel, "cpu").special == special_flops(kernel.functions, "cpu")
    assert (describe(kernel, "cpu").special > 0) == bool(expected)


def test_a_new_operator_is_one_rule(monkeypatch):
    """What a rule says of its cost reaches the graph, the anchor and the workload; no table elsewhere names it."""

    class Wave(Rule):
        kind = OpKind.REDUCE

        def flops(self, call):
            return 1000.0

        def functions(self, call):
            return {"sin": 7.0}

        def reads(self, call):
            return (3.0, None)

    monkeypatch.setitem(RULES, "reverse_sequence", Wave())
    data = x(3, 5)
    out = relay.reverse_sequence(nn.relu(data), relay.const(np.full(5, 3, "int32")), 0, 1)
    graph = extract(relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([data], out))))
    kernel = next(k for k in graph.kernels if k.op == "reverse_sequence")
    assert kernel.kind == OpKind.REDUCE and kernel.flops >= 1000.0
    workload = describe(kernel, "cpu")
    assert (workload.kind, workload.flops) == ("reduce", kernel.flops)
    assert kernel.functions == (("sin", 7.0),) and workload.special == special_flops(kernel.functions, "cpu")
    assert workload.in_bytes == 3 * 4  # of the data; the indices are constant


def test_operators_of_all_kinds_are_in_the_table():
    assert {rule.kind for rule in RULES.values()} == set(OpKind)


def test_fused_kernels_add_up():
    data = x(1, 6, 9, 9)
    conv = nn.conv2d(data, const(8, 6, 3, 3), padding=(1, 1))
    out = nn.relu(nn.bias_add(conv, const(8)))
    (kernel,) = extract(relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([data], out)))).kernels
    assert kernel.kinds == (OpKind.CONV, OpKind.ELEMENTWISE, OpKind.ELEMENTWISE) and kernel.kind == OpKind.CONV
    assert kernel.flops == 2 * 8 * 81 * 54 + 2 * prod((8, 9, 9))
