"""Convolutions: every axis, window geometry, group count, layout."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relay

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def const(*shape: int, dtype: str = "float32"):
    return relay.const(np.random.standard_normal(shape).astype(dtype))


@pytest.mark.parametrize(
    "extent,kernel,stride,dilation,padding",
    [
        (9, 1, 1, 1, (0, 0)),
        (19, 3, 1, 1, (1, 1)),
        (20, 5, 2, 1, (4, 0)),
        (17, 4, 3, 2, (1, 5)),
        (23, 7, 2, 3, (3, 18)),
        (11, 1, 3, 1, (0, 0)),
        (12, 2, 3, 1, (1, 0)),  # rows that no window reads
        (10, 1, 1, 1, (2, 1)),  # padding wider than the kernel: rows of the output made of padding alone
        (6, 3, 2, 1, (5, 4)),
    ],
)
def test_conv1d(splits, extent, kernel, stride, dilation, padding):
    x = relay.var("x", shape=(2, 3, extent))
    y = relay.nn.conv1d(x, const(4, 3, kernel), strides=stride, dilation=dilation, padding=padding)
    # Wider kernels are computed as two-dimensional convolutions between two views; each channel reads all of the first.
    members = None if kernel == 1 else (1, 2)
    seen = splits.check(relay.nn.relu(y), members=members, expect={"oc", "h", "batch"})
    assert sum(k.is_heavy for k in seen.graph.kernels) == 1


@pytest.mark.parametrize(
    "kernel,strides,dilation,padding",
    [
        ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
        ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        ((3, 2), (2, 3), (1, 1), (0, 1, 2, 0)),
        ((5, 1), (1, 2), (1, 1), (2, 0, 1, 0)),
        ((2, 3), (3, 1), (2, 3), (1, 3, 2, 6)),
        ((7, 4), (2, 1), (1, 2), (3, 2, 6, 3)),
        ((1, 1), (2, 2), (1, 1), (1, 0, 0, 1)),
    ],
)
def test_conv2d(splits, kernel, strides, dilation, padding):
    x = relay.var("x", shape=(2, 3, 13, 11))
    y = relay.nn.conv2d(x, const(6, 3, *kernel), strides=strides, dilation=dilation, padding=padding)
    splits.check(y, expect={"oc", "h", "w", "batch"})


@pytest.mark.parametrize(
    "channels,out,groups",
    [
        (4, 6, 2),
        (6, 9, 3),
        (5, 5, 5),  # depthwise
        (3, 6, 3),  # depthwise with a multiplier
        (6, 3, 3),  # several inputs for each output
    ],
)
def test_groups(splits, channels, out, groups):
    x = relay.var("x", shape=(2, channels, 8, 7))
    weight = const(out, channels // groups, 3, 3)
    y = relay.nn.conv2d(x, weight, padding=(1, 0, 0, 1), strides=(1, 2), groups=groups)
    seen = splits.check(relay.nn.relu(y), expect={"oc", "h", "w", "batch"})
    assert seen.graph.kernels[0].named_axis("oc").granule == out // groups


def test_channels_given_as_attribute(splits):
    x = relay.var("x", shape=(1, 4, 6, 6))
    y = relay.nn.conv2d(x, const(6, 2, 3, 3), channels=6, kernel_size=(3, 3), groups=2)
    splits.check(y, expect={"oc", "h", "w"})


def test_weight_computed_at_run_time(splits):
    """Weights that are an input are divided in main, as constants are at compile time."""
    x, w, b = relay.var("x", shape=(1, 3, 8, 8)), relay.var("w", shape=(7, 3, 3, 3)), relay.var("b", shape=(7,))
    y = relay.nn.relu(relay.nn.bias_add(relay.nn.conv2d(x, w, padding=(1, 1)), b))
    splits.check(y, expect={"oc", "h", "w"})


@pytest.mark.parametrize(
    "kernel,strides,dilation,padding,groups",
    [
        ((3, 1, 2), (1, 2, 1), (1, 1, 1), (1, 0, 0, 1, 0, 1), 1),
        ((2, 3, 3), (2, 1, 3), (2, 1, 1), (0, 2, 1, 1, 0, 1), 2),
    ],
)
def test_conv3d(splits, kernel, strides, dilation, padding, groups):
    x = relay.var("x", shape=(2, 4, 6, 5, 7))
    weight = const(6, 4 // groups, *kernel)
    y = relay.nn.conv3d(x, weight, strides=strides, dilation=dilation, padding=padding, groups=groups)
    splits.check(y, expect={"oc", "h", "w", "d", "batch"})


def test_conv1d_nwc(splits):
    x = relay.var("x", shape=(2, 15, 3))
    y = relay.nn.conv1d(x, const(3, 3, 5), strides=2, padding=(1, 2), data_layout="NWC", kernel_layout="WIO")
    splits.check(y, expect={"oc", "h", "batch"})


def test_conv3d_ndhwc(splits):
    x = relay.var("x", shape=(1, 5, 6, 4, 3))
    weight = const(3, 2, 3, 3, 4)
    y = relay.nn.conv3d(x, weight, padding=(1, 0, 1), data_layout="NDHWC", kernel_layout="DHWIO")
    splits.check(y, expect={"oc", "h", "w", "d"})


@pytest.mark.parametrize("strides,dilation", [((1, 2), (1, 1)), ((2, 1), (2, 1))])
def test_nhwc(splits, strides, dilation):
    x = relay.var("x", shape=(2, 9, 8, 3))
    weight = const(3, 2, 3, 6)
    y = relay.nn.conv2d(
        x, weight, strides=strides, dilation=dilation, padding=(1, 1, 2, 0), data_layout="NHWC", kernel_layout="HWIO"
    )
    splits.check(relay.nn.bias_add(y, const(6), axis=3), expect={"oc", "h", "w", "batch"})


@pytest.mark.parametrize("multiplier", [1, 2])
def test_nhwc_depthwise(splits, multiplier):
    x = relay.var("x", shape=(1, 9, 8, 4))
    y = relay.nn.conv2d(
        x,
        const(3, 3, 4, multiplier),
        padding=(1, 1, 0, 1),
        groups=4,
        channels=4 * multiplier,
        kernel_size=(3, 3),
        data_layout="NHWC",
        kernel_layout="HWOI",
    )
    seen = splits.check(y, expect={"oc", "h", "w"})
    assert seen.graph.kernels[0].named_axis("oc").granule == multiplier


def test_packed_layout_stays_whole(splits):
    x = relay.var("x", shape=(1, 1, 6, 6, 4))
    y = relay.nn.conv2d(
        x, const(1, 1, 3, 3, 4, 4), channels=4, kernel_size=(3, 3), data_layout="NCHW4c", kernel_layout="OIHW4i4o"
    )
    _, graph = splits.prepare(y)
    assert graph.kernels[0].axes == () and graph.kernels[0].reason == "layout NCHW4c is packed"
