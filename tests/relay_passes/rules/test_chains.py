"""Chains: halos that add up, values read twice, several results, concatenated branches, whole blocks."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

from tests.relay_passes.rules.harness import random_inputs, run_all, split_at
from tvm_coexec.core.errors import CoExecError

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def const(*shape: int):
    return relay.const(np.random.standard_normal(shape).astype("float32"))


def conv(x, channels: int, out: int, kernel: int = 3, **attrs):
    attrs = {"padding": (kernel // 2, kernel // 2)} | attrs
    weight = const(out, channels // attrs.get("groups", 1), kernel, kernel)
    return relay.nn.relu(relay.nn.bias_add(relay.nn.conv2d(x, weight, **attrs), const(out)))


def image(channels: int = 3, height: int = 14, width: int = 9, batch: int = 1):
    return relay.var("x", shape=(batch, channels, height, width))


def test_stride_and_halo_add_up(splits):
    y = conv(image(), 3, 4, 5, strides=(2, 1))
    y = relay.nn.max_pool2d(y, (3, 3), (1, 1), padding=(1, 1, 1, 1))
    y = conv(y, 4, 5, 3, dilation=(2, 1), padding=(2, 1))
    y = relay.nn.avg_pool2d(y, (2, 2), (2, 2), ceil_mode=True, count_include_pad=True)
    seen = splits.check(y, expect={"h", "w"})
    assert "needs all of kernel" in seen.refused["oc"]


def test_depthwise_separable(splits):
    y = conv(image(4), 4, 8, 1, padding=(0, 0))
    y = conv(y, 8, 8, 3, groups=8)
    splits.check(relay.nn.max_pool2d(y, (2, 2), (2, 2)), expect={"oc", "h", "w"})


def test_groups_after_a_layer_without_groups(splits):
    """The pool may be cut anywhere; the grouped convolution before it computes whole groups for both devices."""
    y = conv(conv(image(4), 4, 12), 12, 12, 3, groups=3)
    y = relay.nn.max_pool2d(y, (2, 2), (1, 1))
    seen = splits.check(y, members=[1, 2], axes={"oc"}, cuts=lambda a: list(range(1, 12)), expect={"oc"})
    assert [k.named_axis("oc").granule for k in seen.graph.kernels] == [1, 4, 1]


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_residual(splits, strides):
    """The block's input is read with a halo by one branch and without (or with another) by the shortcut."""
    x = conv(image(4, 13, 8), 4, 6)
    y = conv(x, 6, 6, 3, strides=strides)
    y = relay.nn.conv2d(y, const(6, 6, 3, 3), padding=(1, 1))
    short = x if strides == (1, 1) else relay.nn.conv2d(x, const(6, 6, 1, 1), strides=strides)
    y = relay.nn.relu(y + short)
    splits.check(y, expect={"h", "w"})


def test_two_readers_with_different_halos(splits):
    x = conv(image(3, 15, 7), 3, 4)
    wide = relay.nn.max_pool2d(x, (7, 1), (1, 1), padding=(3, 0, 3, 0))
    narrow = relay.nn.avg_pool2d(x, (1, 3), (1, 1), padding=(0, 1, 0, 1))
    shifted = relay.nn.conv2d(x, const(4, 4, 4, 2), padding=(3, 0, 0, 1))
    splits.check(wide + narrow + shifted, expect={"h", "w"})


def test_concatenated_branches(splits):
    """A cut through concatenated channels goes through one branch and gives the others whole to one device."""
    x = image(3)
    branches = [
        conv(x, 3, 4, 1),
        conv(x, 3, 6, 3),
        relay.nn.max_pool2d(x, (3, 3), (1, 1), padding=(1, 1, 1, 1)),
        conv(x, 3, 2, 5),
    ]
    y = relay.concatenate(branches, axis=1)
    splits.check(
        y,
        expect={"oc", "h", "w"},
        cuts=lambda a: [1, 4, 7, 10, 12, 13] if a.name == "oc" else [a.extent // 2],
    )


def test_concatenation_in_a_concatenation_and_its_reader(splits):
    x = image(3, 8, 6)
    inner = relay.concatenate([conv(x, 3, 2), x], axis=1)
    y = relay.concatenate([inner, conv(inner, 5, 3), x], axis=1)
    y = relay.nn.relu(relay.nn.max_pool2d(y, (2, 2), (2, 2)))
    splits.check(y, axes={"h", "w"}, expect={"h", "w"})


def test_grouped_convolution_after_a_concatenation(splits):
    x = image(4, 7, 6)
    y = relay.concatenate([conv(x, 4, 4), conv(x, 4, 2)], axis=1)
    y = conv(y, 6, 9, 3, groups=3)
    seen = splits.check(y, expect={"oc", "h", "w"})
    assert seen.cuts["oc"] == [3, 6]


def test_several_results(splits):
    """A value in the middle of the chain that others read too is joined as well."""
    x = conv(image(4), 4, 6)
    y = conv(x, 6, 6, 3, strides=(2, 1))
    z = relay.nn.global_avg_pool2d(x)
    out = relay.Tuple([y, x, z])
    seen = splits.check(out, members=[0, 1], expect={"h", "w"})
    assert len(seen.graph.kernels) == 3


def test_two_ends(splits):
    """Heads of a detector: two outputs of different sizes leave one chain."""
    x = conv(image(4, 16, 8), 4, 6)
    a, b = conv(x, 6, 4, 1), conv(x, 6, 5, 3, strides=(2, 2))
    splits.check(relay.Tuple([a, b]), expect={"h", "w"})


def test_result_that_is_an_input_and_given_twice(splits):
    x = image(4, 8, 6)
    y = conv(x, 4, 6)
    splits.check(relay.Tuple([y, x, y]), expect={"oc", "h", "w"})


def test_squeeze_and_excite_divides_before_and_after(splits):
    x = conv(image(4), 4, 8)
    pooled = relay.nn.global_avg_pool2d(x)
    gate = relay.sigmoid(relay.nn.conv2d(conv(pooled, 8, 2, 1), const(8, 2, 1, 1)))
    y = conv(x * gate, 8, 4)
    _, graph = splits.prepare(y)
    last = len(graph.kernels) - 1
    splits.check(y, members=[last - 1, last], expect={"h", "w"})
    splits.check(y, members=[0, 1], axes={"oc"}, expect={"oc"})


def test_channel_shuffle_unit(splits):
    x = image(6, 8, 6)
    y = conv(x, 6, 6, 1, groups=2)
    y = relay.reshape(relay.transpose(relay.reshape(y, (1, 2, 3, 8, 6)), (0, 2, 1, 3, 4)), (1, 6, 8, 6))
    y = conv(y, 6, 6, 3, groups=6)
    splits.check(relay.nn.relu(conv(y, 6, 6, 1, groups=2) + x), expect={"h", "w"})


def test_decoder(splits):
    x = image(4, 6, 5)
    y = conv(x, 4, 6)
    y = relay.nn.upsampling(y, 2, 2, method="bilinear")
    y = relay.concatenate([conv(y, 6, 4), relay.var("skip", shape=(1, 3, 12, 10))], axis=1)
    y = relay.nn.conv2d(relay.nn.pad(y, ((0, 0), (0, 0), (2, 1), (1, 1))), const(3, 7, 4, 3))
    splits.check(y, expect={"h", "w"})


def test_reflected_padding_between_convolutions(splits):
    y = image(3, 9, 8)
    for channels in (3, 4):
        y = relay.nn.mirror_pad(y, ((0, 0), (0, 0), (2, 2), (1, 1)), "REFLECT")
        y = relay.nn.relu(relay.nn.conv2d(y, const(4, channels, 5, 3)))
    splits.check(y, expect={"h", "w"}, cuts=lambda a: list(range(1, a.extent)))


def test_nhwc_chain(splits):
    y = relay.var("x", shape=(2, 12, 9, 3))
    for channels, strides in ((3, (2, 1)), (6, (1, 1))):
        weight = const(3, 3, channels, 6)
        y = relay.nn.conv2d(y, weight, strides=strides, padding=(1, 1), data_layout="NHWC", kernel_layout="HWIO")
        y = relay.nn.relu(relay.nn.bias_add(y, const(6), axis=3))
    y = relay.nn.max_pool2d(y, (2, 2), (2, 2), layout="NHWC")
    splits.check(y, expect={"h", "w", "batch"})


def test_batch_goes_through_everything_with_one_image_per_row(splits):
    y = conv(image(3, 6, 5, batch=4), 3, 4)
    y = relay.nn.batch_flatten(relay.nn.global_avg_pool2d(y))
    y = relay.nn.softmax(relay.nn.dense(y, const(5, 4)))
    splits.check(y, axes={"m", "batch"}, expect={"m"})


def test_attention(splits):
    """Queries' rows go through scores, softmax and values; keys and values are whole on both devices."""
    x, k, v = (relay.var(n, shape=(6, 8)) for n in "xkv")

    def heads(t):
        return relay.transpose(relay.reshape(t, (6, 2, 4)), (1, 0, 2))

    q = heads(relay.nn.dense(x, const(8, 8)))
    scores = relay.nn.softmax(relay.nn.batch_matmul(q, heads(k)) * relay.const(0.5))
    out = relay.nn.batch_matmul(scores, heads(v), transpose_b=False)
    out = relay.reshape(relay.transpose(out, (1, 0, 2)), (6, 8))
    splits.check(out, expect={"batch"})  # features of the result are heads; each lives on its own
    _, graph = splits.prepare(out)
    for_queries = [k.index for k in graph.kernels if k.inputs not in ((-2,), (-3,))]
    splits.check(out, members=for_queries, axes={"m"}, expect={"m"})


def test_long_chain_of_six(splits):
    y = image(2, 20, 8)
    for i, (kernel, stride) in enumerate([(3, 1), (5, 1), (1, 1), (2, 2), (3, 1), (4, 1)]):
        y = conv(y, 2 if i == 0 else 3, 3, kernel, strides=(stride, 1), padding=(kernel // 2, (kernel - 1) // 2))
    splits.check(y, axes={"h"}, expect={"h"}, cuts=lambda a: list(range(1, a.extent)))


def test_every_suffix_and_prefix_is_a_chain(splits):
    y = conv(image(3, 10, 6), 3, 4)
    y = conv(relay.nn.max_pool2d(y, (2, 2), (2, 2)), 4, 3)
    _, graph = splits.prepare(y)
    n = len(graph.kernels)
    for members in [*(range(i, n) for i in range(n)), *(range(i + 1) for i in range(n))]:
        splits.check(y, members=list(members), axes={"h"}, expect={"h"}, build="none")


def test_two_chains_in_one_plan(splits):
    from tvm_coexec.core.plan import Plan, Segment
    from tvm_coexec.relay_passes.inline import inline_functions
    from tvm_coexec.relay_passes.outline import OutlineSegments
    from tvm_coexec.relay_passes.split import SplitChains

    y = conv(conv(conv(image(4), 4, 8), 8, 8), 8, 8)
    prepared, graph = splits.prepare(y)
    segments = (Segment("split", (0,), "oc", 4), Segment("gpu", (1,)), Segment("split", (2,), "h", 5))
    made = SplitChains()(OutlineSegments(Plan(graph.fingerprint(), segments))(prepared))
    names = {v.name_hint for v in made.get_global_vars()}
    assert names == {"main", "coexec_0_gpu", "coexec_0_cpu", "coexec_1_gpu", "coexec_2_gpu", "coexec_2_cpu"}
    want, got = run_all(prepared, [inline_functions(made)], random_inputs(prepared["main"].params))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-4, atol=1e-4)


def test_share_of_nothing_has_no_function(splits):
    """A cut at an end gives one device all of it; there is nothing to join."""
    prepared, graph = splits.prepare(conv(image(4), 4, 8))
    for cut, device in ((0, "cpu"), (8, "gpu")):
        made = split_at(prepared, graph, [0], "oc", cut)
        assert {v.name_hint for v in made.get_global_vars()} == {"main", f"coexec_0_{device}"}
        tvm.ir.assert_structural_equal(made["main"].body.op, made.get_global_var(f"coexec_0_{device}"))


def test_only_what_a_share_needs_travels(splits):
    """A share's function takes its rows with the halo, not the whole input; weights of channels are sliced."""
    prepared, graph = splits.prepare(conv(image(4, 14), 4, 8))
    rows = split_at(prepared, graph, [0], "h", 6)
    assert [int(d) for d in rows["coexec_0_gpu"].params[0].type_annotation.shape] == [1, 4, 7, 9]
    assert [int(d) for d in rows["coexec_0_cpu"].params[0].type_annotation.shape] == [1, 4, 9, 9]
    channels = split_at(prepared, graph, [0], "oc", 2)
    sizes = []
    for name in ("coexec_0_gpu", "coexec_0_cpu"):
        constants = []
        relay.analysis.post_order_visit(
            channels[name], lambda n, c=constants: c.append(n) if isinstance(n, relay.Constant) else None
        )
        sizes.append(sorted(c.data.numpy().size for c in constants))
    assert sizes == [[2, 2 * 4 * 9], [6, 6 * 4 * 9]]


def test_refusals_name_the_kernel(splits):
    y = conv(conv(image(4), 4, 8), 8, 8)
    prepared, graph = splits.prepare(y)
    with pytest.raises(CoExecError, match=r"kernel 1 \(nn.conv2d.*needs all of kernel 0"):
        split_at(prepared, graph, [0, 1], "oc", 4)
    with pytest.raises(CoExecError, match=r"has no axis 'd' \(available: oc, h, w"):
        split_at(prepared, graph, [1], "d", 4)
    with pytest.raises(CoExecError, match=r"cut 9 .* must be a multiple of 1 between 0 and 8"):
        split_at(prepared, graph, [1], "oc", 9)
