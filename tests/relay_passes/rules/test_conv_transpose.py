"""Transposed convolutions: strides, output padding, kernels smaller than the stride, groups."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def const(*shape: int):
    return relay.const(np.random.standard_normal(shape).astype("float32"))


@pytest.mark.parametrize(
    "kernel,strides,padding,output_padding",
    [
        ((3, 3), (1, 1), (1, 1, 1, 1), (0, 0)),
        ((4, 4), (2, 2), (1, 1, 1, 1), (0, 0)),  # what generators and decoders use
        ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
        ((2, 1), (3, 2), (0, 0, 0, 0), (0, 0)),  # kernel < stride: rows of zeros between
        ((1, 2), (3, 3), (0, 0, 0, 1), (2, 1)),
        ((5, 4), (2, 3), (4, 0, 2, 3), (1, 2)),
        ((7, 2), (3, 1), (6, 1, 0, 0), (0, 0)),
    ],
)
def test_conv2d_transpose(splits, kernel, strides, padding, output_padding):
    x = relay.var("x", shape=(2, 3, 5, 6))
    y = relay.nn.conv2d_transpose(
        x, const(3, 4, *kernel), channels=4, kernel_size=kernel, strides=strides, padding=padding,
        output_padding=output_padding,
    )  # fmt: skip
    splits.check(relay.nn.relu(y), expect={"oc", "h", "w", "batch"}, build="all" if kernel == (1, 2) else "any")


@pytest.mark.parametrize("channels,out,groups", [(4, 6, 2), (6, 3, 3), (4, 4, 4)])
def test_groups(splits, channels, out, groups):
    x = relay.var("x", shape=(1, channels, 5, 4))
    y = relay.nn.conv2d_transpose(
        x, const(channels, out // groups, 3, 4), channels=out, kernel_size=(3, 4), strides=(2, 2), padding=(1, 1, 1, 1),
        groups=groups,
    )  # fmt: skip
    seen = splits.check(y, expect={"oc", "h", "w"})
    assert seen.graph.kernels[0].named_axis("oc").granule == out // groups


def test_one_row_of_input(splits):
    x = relay.var("x", shape=(1, 3, 1, 2))
    y = relay.nn.conv2d_transpose(
        x, const(3, 2, 4, 4), channels=2, kernel_size=(4, 4), strides=(2, 3), padding=(0, 0, 1, 1)
    )
    splits.check(y, expect={"oc", "h", "w"}, build="all")


@pytest.mark.parametrize(
    "kernel,stride,padding,output_padding", [(4, 2, (1, 1), 0), (3, 4, (0, 2), 3), (1, 2, (0, 0), 1)]
)
def test_conv1d_transpose(splits, kernel, stride, padding, output_padding):
    x = relay.var("x", shape=(2, 3, 7))
    y = relay.nn.conv1d_transpose(
        x, const(3, 4, kernel), channels=4, kernel_size=(kernel,), strides=(stride,), padding=padding,
        output_padding=(output_padding,),
    )  # fmt: skip
    # as itself, too: it is computed in two dimensions where nothing forbids that
    with tvm.transform.PassContext(opt_level=3, disabled_pass=["CoExecComputeConv1dAs2d"]):
        splits.check(y, expect={"oc", "h", "batch"})
    splits.check(y, expect={"h", "batch"})


def test_conv3d_transpose(splits):
    x = relay.var("x", shape=(1, 3, 3, 4, 3))
    y = relay.nn.conv3d_transpose(
        x, const(3, 2, 3, 2, 4), channels=2, kernel_size=(3, 2, 4), strides=(2, 1, 2), padding=(1, 0, 1, 1, 1, 2),
        output_padding=(1, 0, 0),
    )  # fmt: skip
    splits.check(y, expect={"oc", "h", "w", "d"})


def test_between_convolutions(splits):
    x = relay.var("x", shape=(1, 3, 5, 6))
    y = relay.nn.conv2d(x, const(4, 3, 3, 3), padding=(1, 1))
    y = relay.nn.conv2d_transpose(
        y, const(4, 3, 4, 4), channels=3, kernel_size=(4, 4), strides=(2, 2), padding=(1, 1, 1, 1)
    )
    y = relay.nn.conv2d(relay.nn.relu(y), const(5, 3, 3, 3), padding=(1, 1), strides=(2, 1))
    splits.check(y, expect={"h", "w"})
