"""Pooling: rounding modes, what padding counts, dilation, global and adaptive pooling."""

from __future__ import annotations

import pytest
from tvm import relay

pytestmark = [pytest.mark.llvm, pytest.mark.slow]

GEOMETRIES = [
    ((2, 2), (2, 2), (1, 1), (0, 0, 0, 0)),
    ((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    ((3, 2), (2, 3), (1, 1), (0, 1, 2, 0)),
    ((2, 3), (3, 1), (2, 1), (1, 2, 0, 1)),
    ((3, 1), (1, 2), (3, 1), (2, 0, 5, 0)),
]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("size,strides,dilation,padding", GEOMETRIES)
def test_max_pool2d(splits, size, strides, dilation, padding, ceil_mode):
    x = relay.var("x", shape=(2, 3, 12, 11))
    y = relay.nn.max_pool2d(x, size, strides, dilation, padding, ceil_mode=ceil_mode)
    splits.check(y, expect={"oc", "h", "w", "batch"})


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("size,strides,dilation,padding", GEOMETRIES[1:4])
def test_avg_pool2d(splits, size, strides, dilation, padding, ceil_mode, count_include_pad):
    x = relay.var("x", shape=(2, 3, 12, 10))
    y = relay.nn.avg_pool2d(
        x, size, strides, dilation, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad
    )
    splits.check(y, expect={"oc", "h", "w", "batch"})


def test_last_window_begins_in_the_padding(splits):
    """With ceil_mode and a wide stride the last window may hold nothing but padding."""
    x = relay.var("x", shape=(1, 2, 7, 7))
    y = relay.nn.max_pool2d(x, (2, 2), (3, 3), padding=(0, 0, 2, 2), ceil_mode=True)
    splits.check(y, axes={"oc"}, expect={"oc"})


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pool1d(splits, kind):
    x = relay.var("x", shape=(2, 3, 17))
    pool = getattr(relay.nn, f"{kind}_pool1d")
    splits.check(pool(x, (3,), (2,), padding=(1, 2), ceil_mode=True), expect={"oc", "h", "batch"})


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pool3d(splits, kind):
    x = relay.var("x", shape=(1, 3, 6, 7, 5))
    pool = getattr(relay.nn, f"{kind}_pool3d")
    y = pool(x, (2, 3, 2), (1, 2, 2), padding=(1, 0, 0, 0, 1, 1), ceil_mode=True)
    splits.check(y, expect={"oc", "h", "w", "d"})


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_nhwc(splits, kind):
    x = relay.var("x", shape=(2, 9, 8, 3))
    pool = getattr(relay.nn, f"{kind}_pool2d")
    y = pool(x, (3, 2), (2, 1), padding=(1, 0, 1, 1), layout="NHWC")
    splits.check(y, expect={"oc", "h", "w", "batch"})


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_global_pool(splits, kind, layout):
    x = relay.var("x", shape=(2, 6, 5, 7) if layout == "NCHW" else (2, 5, 7, 6))
    pool = getattr(relay.nn, f"global_{kind}_pool2d")
    splits.check(pool(x, layout=layout), expect={"oc", "batch"})


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("size,axes", [((3, 4), {"oc", "h"}), ((6, 7), {"oc", "h", "w"}), ((1, 3), {"oc"})])
def test_adaptive_pool2d(splits, kind, size, axes):
    """Rows divide only where all windows are equal."""
    x = relay.var("x", shape=(1, 3, 6, 7))
    pool = getattr(relay.nn, f"adaptive_{kind}_pool2d")
    splits.check(pool(x, size), expect=axes)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_adaptive_pool_1d_and_3d(splits, kind):
    x = relay.var("x", shape=(2, 3, 9))
    splits.check(getattr(relay.nn, f"adaptive_{kind}_pool1d")(x, (3,)), expect={"oc", "h", "batch"})
    x = relay.var("x", shape=(1, 3, 4, 6, 5))
    splits.check(getattr(relay.nn, f"adaptive_{kind}_pool3d")(x, (2, 4, 5)), expect={"oc", "h", "d"})


def test_whole_numbers(splits):
    x = relay.var("x", shape=(1, 3, 8, 8), dtype="int8")
    splits.check(relay.nn.max_pool2d(x, (3, 3), (2, 2), padding=(1, 1, 1, 1)), expect={"oc", "h", "w"})
