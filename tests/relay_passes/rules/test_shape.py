"""Operators that move elements about."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relay

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def const(*shape: int):
    return relay.const(np.random.standard_normal(shape).astype("float32"))


def every_cut(axis) -> list[int]:
    return list(range(axis.granule, axis.extent, axis.granule))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concatenate(splits, axis):
    """A range falls on a run of fields: every cut, on and off their borders."""
    shapes = []
    for n in (2, 1, 3):
        shape = [2, 3, 4, 5]
        shape[axis] = n
        shapes.append(tuple(shape))
    fields = [relay.var(f"x{i}", shape=s) for i, s in enumerate(shapes)]
    splits.check(relay.concatenate(fields, axis=axis), expect={"batch", "oc", "h", "w"}, cuts=every_cut)


def test_concatenate_with_constant_and_repeated_field(splits):
    x = relay.var("x", shape=(1, 3, 4))
    y = relay.concatenate([x, const(1, 2, 4), x], axis=1)
    splits.check(y, expect={"m", "n"}, cuts=every_cut)


def test_stack(splits):
    x, y = relay.var("x", shape=(4, 5)), relay.var("y", shape=(4, 5))
    splits.check(relay.stack([x, y], axis=1), expect={"batch", "n"})


@pytest.mark.parametrize("axes", [None, (0, 2, 3, 1), (3, -4, 1, 2)])
def test_transpose(splits, axes):
    x = relay.var("x", shape=(2, 3, 4, 5))
    splits.check(relay.transpose(x, axes), expect={"batch", "oc", "h", "w"})


def test_layout_transform(splits):
    x = relay.var("x", shape=(2, 3, 4, 5))
    splits.check(relay.layout_transform(x, "NCHW", "NHWC"), expect={"batch", "oc", "h", "w"})
    _, graph = splits.prepare(relay.layout_transform(relay.var("x", shape=(1, 8, 4, 4)), "NCHW", "NCHW4c"))
    assert "packed" in graph.kernels[0].reason


@pytest.mark.parametrize(
    "shape,newshape,dims",
    [
        ((2, 6, 4, 5), (2, 6, 20), {0, 1, 2}),
        ((2, 6, 20), (2, 6, 4, 5), {0, 1, 2}),
        ((2, 6, 4, 5), (12, 4, 5), {0, 1, 2}),  # rows of images: an image is six of them
        ((12, 4, 5), (2, 6, 4, 5), {0, 2, 3}),
        ((1, 6, 4, 5), (1, 2, 3, 4, 5), {1, 3, 4}),  # groups: each is three channels
        ((1, 2, 3, 4, 5), (1, 6, 4, 5), {1, 2, 3}),
        ((1, 6, 4, 5), (1, 120), {1}),
        ((4, 6), (6, 4), set()),
        ((2, 1, 6), (2, 6), {0, 1}),
        ((3, 4), (1, 3, 1, 4, 1), {1, 3}),
        ((8, 3), (2, 12), {0}),
        ((2, 12), (4, 2, 3), {0}),
    ],
)
def test_reshape(splits, shape, newshape, dims):
    x = relay.var("x", shape=shape)
    seen = splits.check(relay.reshape(x, newshape), cuts=every_cut)
    assert {a.dim for a in seen.graph.kernels[0].axes} == dims


def test_reshape_with_wildcards(splits):
    x = relay.var("x", shape=(2, 6, 4, 5))
    splits.check(relay.reshape(x, (0, -1, 5)), expect={"batch", "m", "n"})
    splits.check(relay.reverse_reshape(x, (2, -1, 0)), expect={"batch", "m", "n"})


def test_squeeze_expand_flatten(splits):
    x = relay.var("x", shape=(3, 4, 1, 1))
    splits.check(relay.squeeze(x, [2, 3]), expect={"m", "n"})
    splits.check(relay.expand_dims(relay.squeeze(x, [3]), axis=1, num_newaxis=2), expect={"batch", "h"})
    splits.check(relay.nn.batch_flatten(relay.var("x", shape=(3, 4, 2, 5))), expect={"m", "n"}, cuts=every_cut)


def test_heads_from_features(splits):
    """(tokens, heads * size) to heads first and back: a head is a run of features."""
    x = relay.var("x", shape=(5, 12))
    y = relay.nn.dense(x, const(12, 12))
    heads = relay.transpose(relay.reshape(y, (5, 3, 4)), (1, 0, 2))
    seen = splits.check(heads, expect={"m", "n"})
    assert seen.graph.kernels[-1].name == "reshape+transpose"


def test_channel_shuffle_and_pixel_shuffle(splits):
    x = relay.var("x", shape=(1, 6, 4, 5))
    y = relay.reshape(relay.transpose(relay.reshape(x, (1, 2, 3, 4, 5)), (0, 2, 1, 3, 4)), (1, 6, 4, 5))
    splits.check(y, expect={"h", "w"})
    x = relay.var("x", shape=(1, 8, 3, 5))
    y = relay.transpose(relay.reshape(x, (1, 2, 2, 2, 3, 5)), (0, 1, 4, 2, 5, 3))
    splits.check(relay.reshape(y, (1, 2, 6, 10)), expect={"oc", "h", "w"}, cuts=every_cut)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_depth_to_space(splits, mode, layout):
    x = relay.var("x", shape=(2, 8, 3, 4) if layout == "NCHW" else (2, 3, 4, 8))
    y = relay.nn.depth_to_space(x, 2, layout=layout, mode=mode)
    splits.check(y, expect={"batch", "h", "w"} | ({"oc"} if mode == "CRD" else set()), cuts=every_cut)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_space_to_depth(splits, layout):
    x = relay.var("x", shape=(2, 3, 4, 6) if layout == "NCHW" else (2, 4, 6, 3))
    splits.check(relay.nn.space_to_depth(x, 2, layout=layout), expect={"batch", "h", "w"}, cuts=every_cut)


@pytest.mark.parametrize("width", [(1, 2), (4, 0), (0, 5), (3, 3)])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_pad(splits, mode, width):
    """Every cut, those among them that give one device nothing but padding."""
    x = relay.var("x", shape=(1, 2, 6, 3))
    y = relay.nn.pad(x, ((0, 0), (0, 1 if mode == "constant" else 0), width, (0, 0)), 0.5, mode)
    splits.check(y, expect={"oc", "h", "w"}, cuts=every_cut)


@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
def test_mirror_pad(splits, mode):
    x = relay.var("x", shape=(1, 2, 5, 4))
    y = relay.nn.mirror_pad(x, ((0, 0), (0, 0), (3, 2), (1, 3)), mode)
    splits.check(y, expect={"oc", "h", "w"}, cuts=every_cut)


@pytest.mark.parametrize(
    "begin,end,strides,axes",
    [
        ((1, 0, 2), (3, 4, 9), (1, 1, 1), None),
        ((0, 1), (4, 9), (1, 3), None),
        ((2,), (9,), (2,), (2,)),
        ((-5, 1), (-1, 3), (1, 1), (2, 0)),
        ((0,), (100,), (1,), (1,)),
        ((8, 0), (2, 4), (-2, 1), (2, 1)),
    ],
)
def test_strided_slice(splits, begin, end, strides, axes):
    x = relay.var("x", shape=(4, 5, 9))
    backwards = strides[0] < 0
    y = relay.strided_slice(x, begin, end, strides, axes)
    splits.check(y, expect={"batch", "m"} if backwards else {"batch", "m", "n"}, cuts=every_cut)


def test_strided_slice_by_size(splits):
    x = relay.var("x", shape=(4, 5, 9))
    y = relay.strided_slice(x, (1, 0, 3), (2, -1, 4), slice_mode="size")
    splits.check(y, expect={"batch", "m", "n"}, cuts=every_cut)


def test_slice_backwards_to_the_first_row(splits):
    x = relay.var("x", shape=(4, 5))
    y = relay.strided_slice(x, (3, 0), (-5, 4), (-1, 1))
    splits.check(y, expect={"n"}, cuts=every_cut)


def test_tile_repeat_broadcast(splits):
    x = relay.var("x", shape=(2, 1, 3))
    splits.check(relay.tile(x, (1, 4, 2)), expect={"batch"})
    splits.check(relay.tile(relay.var("x", shape=(3, 4)), (2, 1, 1)), expect={"m", "n"})
    splits.check(relay.repeat(x, 3, axis=2), expect={"batch", "n"}, cuts=every_cut)
    splits.check(relay.broadcast_to(x, (2, 4, 3)), expect={"batch", "n"})
    splits.check(relay.broadcast_to(relay.var("x", shape=(3,)), (4, 3)), expect={"n"})


def test_broadcast_to_like(splits):
    x, like = relay.var("x", shape=(3, 1)), relay.var("like", shape=(2, 3, 4))
    splits.check(relay.broadcast_to_like(x, like), expect={"batch", "m", "n"})


@pytest.mark.parametrize("axis,axes", [(0, {"batch", "m", "n"}), (1, {"batch", "m", "n"}), (None, {"m", "n"})])
def test_take(splits, axis, axes):
    x, i = relay.var("x", shape=(6, 5)), relay.var("i", shape=(3, 4), dtype="int32")
    inputs = {
        "x": np.random.standard_normal((6, 5)).astype("float32"),
        "i": np.random.randint(0, 5, (3, 4), dtype="int32"),
    }
    splits.check(relay.take(x, i, axis=axis), inputs=inputs, expect=axes)


def test_embedding(splits):
    i = relay.var("i", shape=(7,), dtype="int32")
    y = relay.nn.dense(relay.take(const(10, 8), i, axis=0), const(6, 8))
    splits.check(y, inputs={"i": np.arange(7, dtype="int32")}, expect={"m"})


def test_gather_and_one_hot(splits):
    x, i = relay.var("x", shape=(4, 6)), relay.var("i", shape=(4, 3), dtype="int32")
    inputs = {
        "x": np.random.standard_normal((4, 6)).astype("float32"),
        "i": np.random.randint(0, 6, (4, 3), dtype="int32"),
    }
    splits.check(relay.gather(x, 1, i), inputs=inputs, expect={"m", "n"})
    y = relay.one_hot(i, relay.const(1.0), relay.const(0.0), 5, 1, "float32")
    splits.check(y, inputs={"i": inputs["i"]}, expect={"batch", "n"})
