"""The reduction as an axis: partial sums of convolutions and matrix products, joined by addition."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

from tests.relay_passes.rules.harness import assert_same, random_inputs, run_all, split_at
from tvm_coexec.core.access import InputAccess
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import REDUCED
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.relay_passes.inline import inline_functions
from tvm_coexec.relay_passes.outline import OutlineSegments
from tvm_coexec.relay_passes.split import SplitChains

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def const(*shape: int):
    return relay.const(np.random.standard_normal(shape).astype("float32"))


def conv(x, channels: int, out: int, kernel: int = 3, relu: bool = True, **attrs):
    attrs = {"padding": (kernel // 2, kernel // 2)} | attrs
    weight = const(out, channels // attrs.get("groups", 1), kernel, kernel)
    y = relay.nn.bias_add(relay.nn.conv2d(x, weight, **attrs), const(out))
    return relay.nn.relu(y) if relu else y


def image(channels: int = 5, height: int = 9, width: int = 8, batch: int = 1, name: str = "x"):
    return relay.var(name, shape=(batch, channels, height, width))


def every(axis) -> list[int]:
    """All cuts with a part for both devices."""
    return list(range(1, axis.extent))


def sums(splits, value, **options):
    """Check all splits along the reduction of a chain."""
    return splits.check(value, axes={"ic"}, expect={"ic"}, **({"cuts": every} | options))


@pytest.mark.parametrize(
    "value",
    [
        lambda: relay.nn.conv1d(
            relay.var("x", shape=(2, 17, 5)), const(3, 5, 4), strides=2, padding=1, dilation=2, data_layout="NWC",
            kernel_layout="WIO",
        ),
        lambda: conv(image(), 5, 6, strides=(2, 1), dilation=(1, 2)),
        lambda: conv(image(batch=3), 5, 7, 1),
        lambda: relay.nn.conv3d(relay.var("x", shape=(1, 3, 5, 6, 4)), const(4, 3, 3, 1, 2), padding=(1, 0, 1)),
        lambda: relay.nn.relu(
            relay.nn.conv2d(
                relay.var("x", shape=(2, 9, 8, 5)), const(3, 3, 5, 6), strides=(1, 2), padding=(2, 0),
                data_layout="NHWC", kernel_layout="HWIO",
            )
        ),
    ],
    ids=["conv1d", "strided and dilated", "pointwise", "conv3d", "NHWC"],
)  # fmt: skip
def test_convolution(splits, value):
    seen = sums(splits, value())
    axis = seen.graph.kernels[0].axes[-1]
    assert axis.name == "ic" and axis.dim == REDUCED and axis.reduces and axis.weights and axis.granule == 1


@pytest.mark.parametrize(
    "value",
    [
        lambda: conv(image(6), 6, 6, groups=3),
        lambda: conv(image(6), 6, 6, groups=6),
        lambda: conv(image(1), 1, 6),
        lambda: relay.nn.conv2d_transpose(image(4), const(4, 3, 2, 2), channels=3, kernel_size=(2, 2)),
        lambda: relay.nn.max_pool2d(image()),
    ],
    ids=["groups", "depthwise", "one input channel", "transposed", "pool"],
)
def test_no_sum_to_divide(splits, value):
    _, graph = splits.prepare(value())
    assert graph.kernels[-1].named_axis("ic") is None


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matrix_product(splits, transpose_a, transpose_b):
    a = relay.var("a", shape=(7, 5) if transpose_a else (5, 7))
    b = relay.var("b", shape=(4, 7) if transpose_b else (7, 4))
    y = relay.nn.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    sums(splits, relay.nn.relu(y + const(4)))


@pytest.mark.parametrize("batch_a,batch_b", [(3, 3), (1, 3), (3, 1)])
@pytest.mark.parametrize("transpose_a,transpose_b", [(False, True), (True, False)])
def test_batch_matmul(splits, batch_a, batch_b, transpose_a, transpose_b):
    a = relay.var("a", shape=(batch_a, 6, 5) if transpose_a else (batch_a, 5, 6))
    b = relay.var("b", shape=(batch_b, 7, 6) if transpose_b else (batch_b, 6, 7))
    sums(splits, relay.nn.batch_matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b) * relay.const(0.5))


def test_quantized_sums_are_exact(splits):
    x = relay.var("x", shape=(1, 6, 7, 5), dtype="int8")
    weight = relay.const(np.random.randint(-9, 10, (4, 6, 3, 3)).astype("int8"))
    y = relay.nn.conv2d(x, weight, padding=(1, 1), out_dtype="int32")
    sums(splits, relay.cast(relay.clip(relay.right_shift(y, relay.const(3)), -128, 127), "int8"))


def test_product_of_a_value_with_itself(splits):
    """Both factors are summed over different dimensions of it: each share reads all of it."""
    x = relay.var("x", shape=(6, 6))
    seen = sums(splits, relay.nn.matmul(x, x))
    assert seen.graph.kernels[0].named_axis("ic").needs == (None,)
    y = relay.tanh(x)
    seen = sums(splits, relay.nn.dense(y, y))
    assert seen.graph.kernels[1].named_axis("ic").needs == (InputAccess(1, ((),)),)


def test_bias_activation_and_residual_follow_the_sum(splits):
    """What the kernel does to the result is done once, to the sum; shares need nothing of it."""
    y = conv(image(6), 6, 4, relu=False)
    y = relay.nn.relu(y + relay.sigmoid(image(4, name="r")))
    seen = sums(splits, y)
    assert len(seen.graph.kernels) == 1
    axis = seen.graph.kernels[0].named_axis("ic")
    assert axis.needs == (InputAccess(1, ((),)), InputAccess(0, (), after_join=True))


def test_residual_of_its_own_input(splits):
    x = image(6)
    seen = sums(splits, relay.nn.relu(conv(x, 6, 6, relu=False) + x))
    assert seen.graph.kernels[0].named_axis("ic").needs == (InputAccess(1, ((),), after_join=True),)


def test_residual_made_in_the_chain_is_refused(splits):
    """The share that would have all of it does not exist; outside the chain it may be made anywhere."""
    x = conv(image(5), 5, 6)
    y = relay.nn.relu(conv(conv(x, 6, 8), 8, 6, relu=False) + x)
    prepared, graph = splits.prepare(y)
    with pytest.raises(CoExecError, match=r"kernel 2 .* adds kernel 0 to its sum after the join"):
        split_at(prepared, graph, [0, 1, 2], "ic", 3)
    sums(splits, y, members=[1, 2])


@pytest.mark.parametrize("batch", [1, 2])
def test_channels_then_reduction(splits, batch):
    """Two convolutions with one exchange: the first gives each device channels, of which the second sums up its own."""
    y = conv(image(3, batch=batch), 3, 7, strides=(2, 1))
    y = conv(y, 7, 7, 3, groups=7)
    y = relay.nn.max_pool2d(relay.tanh(y), (2, 2), (1, 1))
    seen = sums(splits, relay.nn.relu(conv(y, 7, 5, dilation=(2, 1), padding=(2, 1))))
    assert len(seen.graph.kernels) > 3


def test_channels_then_reduction_nhwc(splits):
    y = relay.var("x", shape=(2, 9, 8, 3))
    for channels, out, strides in ((3, 7, (2, 1)), (7, 5, (1, 2))):
        weight = const(3, 3, channels, out)
        y = relay.nn.conv2d(y, weight, strides=strides, padding=(1, 1), data_layout="NHWC", kernel_layout="HWIO")
        y = relay.nn.relu(relay.nn.bias_add(y, const(out), axis=3))
    sums(splits, y)


def test_groups_before_a_reduction(splits):
    """A cut inside a group: both devices compute the group, and each sums up its part of it."""
    y = conv(conv(image(4), 4, 6), 6, 9, groups=3)
    sums(splits, conv(y, 9, 4), members=[1, 2])


def test_concatenation_before_a_reduction(splits):
    x = image(4)
    y = relay.concatenate([conv(x, 4, 3, 1), conv(x, 4, 4), x], axis=1)
    sums(splits, conv(y, 11, 4, 1))


def test_feed_forward_block(splits):
    """Column-parallel, then row-parallel: one share-out of the input, one addition."""
    x = relay.var("x", shape=(6, 8))
    h = relay.nn.bias_add(relay.nn.dense(x, const(14, 8)), const(14))
    h = h * relay.const(0.5) * (relay.const(1.0) + relay.erf(h * relay.const(2**-0.5)))
    y = relay.nn.bias_add(relay.nn.dense(h, const(8, 14)), const(8)) + x
    seen = sums(splits, y)
    last = seen.graph.kernels[-1]
    assert [n.after_join for n in last.named_axis("ic").needs] == [False, True]


def test_flattened_channels_before_a_classifier(splits):
    """A row of the classifier's input is a pixel of a channel; a cut inside a channel gives it to both."""
    y = relay.nn.batch_flatten(conv(image(3, 5, 4, batch=2), 3, 4))
    sums(splits, relay.nn.dense(y, const(6, 80)), cuts=lambda a: [1, 19, 20, 33, 79])


@pytest.mark.parametrize("cut", [0, 7])
@pytest.mark.parametrize("fused", [False, True])
def test_one_device_may_do_all(splits, cut, fused):
    y = conv(conv(image(3), 3, 7), 7, 5) if fused else relay.nn.dense(relay.var("x", shape=(3, 7)), const(5, 7))
    prepared, graph = splits.prepare(y)
    made = split_at(prepared, graph, list(range(len(graph.kernels))), "ic", cut)
    names = {v.name_hint for v in made.get_global_vars()}
    assert names == {"main", "coexec_0_gpu" if cut else "coexec_0_cpu", *(["coexec_0_join"] if fused else [])}
    sums(splits, y, cuts=lambda a: [cut])


def test_values_on_the_way_may_leave_the_chain(splits):
    y = conv(image(3), 3, 6)
    z = conv(y, 6, 4, relu=False)
    splits.check(relay.Tuple([z, y]), axes={"ic"}, expect={"ic"}, members=[0, 1], cuts=every)
    splits.check(relay.Tuple([relay.nn.global_avg_pool2d(y), z]), axes={"ic"}, members=[0, 1, 2], build="none")


def test_a_second_sum_in_the_chain_is_refused(splits):
    x = image(4)
    prepared, graph = splits.prepare(relay.Tuple([conv(x, 4, 6), conv(x, 4, 5, 1)]))
    with pytest.raises(CoExecError, match=r"kernel 0 .* only the last kernel of a chain can be split along 'ic'"):
        split_at(prepared, graph, [0, 1], "ic", 2)


def test_sums_one_after_the_other(splits):
    """The second chain reads the sum of the first, and adds it to its own: it is added up once."""
    x = relay.nn.dense(relay.var("x", shape=(5, 8)), const(6, 8))
    y = relay.nn.relu(relay.nn.dense(relay.nn.relu(relay.nn.dense(x, const(10, 6))), const(6, 10)) + x)
    prepared, graph = splits.prepare(y)
    segments = (Segment("split", (0,), "ic", 3), Segment("split", (1, 2), "ic", 7))
    made = SplitChains()(OutlineSegments(Plan(graph.fingerprint(), segments))(prepared))
    assert [operators(made[name]).count("add") for name in ("main", "coexec_1_join")] == [1, 2]
    want, got = run_all(prepared, [inline_functions(made)], random_inputs(prepared["main"].params))
    assert_same(got, want, "two sums", 1e-5)


def operators(function) -> list[str]:
    """Names of a function's operators, in order; calls of functions by their name."""
    names: list[str] = []
    relay.analysis.post_order_visit(
        function.body,
        lambda n: (
            names.append(n.op.name if isinstance(n.op, tvm.ir.Op) else n.op.name_hint)
            if isinstance(n, relay.Call)
            else None
        ),
    )
    return names


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("read_again", [False, True])
def test_addition_moves_into_the_next_segment(splits, device, read_again):
    """With nothing fused to the product, what follows on the CPU adds the parts: one pass over them less."""
    x = relay.nn.dense(relay.var("x", shape=(1, 8)), const(6, 8))
    y = relay.nn.softmax(relay.reshape(x, (2, 3)))
    prepared, graph = splits.prepare(relay.Tuple([y, relay.reverse(x, 1)]) if read_again else y)
    inner = [k.index for k in graph.kernels if k.op not in ("nn.dense", "reverse")]
    segments = [Segment("split", (0,), "ic", 3), Segment(device, tuple(inner))]
    segments += [Segment("cpu", (len(graph.kernels) - 1,))] if read_again else []
    made = SplitChains()(OutlineSegments(Plan(graph.fingerprint(), tuple(segments)))(prepared))
    moved = device == "cpu" and not read_again
    assert ("add" in operators(made[f"coexec_1_{device}"])) == moved
    assert ("add" in operators(made["main"])) != moved
    want, got = run_all(prepared, [inline_functions(made)], random_inputs(prepared["main"].params))
    assert_same(got, want, "moved", 1e-5)


def test_only_a_part_of_the_input_travels(splits):
    prepared, graph = splits.prepare(conv(image(6), 6, 8))
    made = split_at(prepared, graph, [0], "ic", 2)
    shapes = [[int(d) for d in made[f"coexec_0_{d}"].params[0].type_annotation.shape] for d in ("gpu", "cpu")]
    assert shapes == [[1, 2, 9, 8], [1, 4, 9, 8]]
    assert operators(made["coexec_0_gpu"]) == operators(made["coexec_0_cpu"]) == ["nn.conv2d"]
