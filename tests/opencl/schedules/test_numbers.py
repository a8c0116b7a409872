"""Kernels made with our configurations compute what LLVM's do, on shapes that tiles do not fit."""

from __future__ import annotations

import pytest
import tvm

from tests.opencl.schedules import operators
from tvm_coexec.opencl.schedules import dispatch

pytestmark = pytest.mark.opencl

# Each class and trouble: one channel, prime extents, strides, dilation, uneven padding, groups, batches.
CASES = {
    "conv2d, the benchmark's": ("conv2d", ((1, 64, 56, 56), 64, (3, 3), 1, 1)),
    "conv2d, share of 13 channels": ("conv2d", ((1, 16, 56, 56), 13, (3, 3), 1, 1)),
    "conv2d, 27 of 55 rows with halo": ("conv2d", ((1, 16, 28, 55), 64, (3, 3), 1, (1, 1, 0, 1))),
    "conv2d, one channel": ("conv2d", ((1, 1, 9, 9), 1, (3, 3), 1, 1)),
    "conv2d, prime extents, batch of 2": ("conv2d", ((2, 7, 31, 37), 11, (5, 5), 1, 2)),
    "conv2d, seven by seven": ("conv2d", ((1, 40, 7, 7), 24, (3, 3), 1, 1)),
    "conv2d, thirteen by thirteen": ("conv2d", ((1, 24, 13, 13), 40, (3, 3), 1, 1)),
    "conv2d, stride 2": ("conv2d", ((1, 3, 47, 45), 20, (7, 7), 2, 3)),
    "conv2d, strides 3 and 1": ("conv2d", ((1, 5, 20, 19), 6, (3, 2), (3, 1), 0)),
    "conv2d, dilation": ("conv2d", ((1, 8, 23, 29), 12, (3, 3), 1, 2, 2)),
    "conv2d, flat kernel": ("conv2d", ((1, 12, 17, 17), 10, (1, 7), 1, (0, 3))),
    "conv2d, 1x1": ("conv2d", ((1, 37, 14, 14), 53, (1, 1))),
    "conv2d, 1x1, one row": ("conv2d", ((1, 8, 1, 56), 27, (1, 1))),
    "conv2d, 1x1, stride 2": ("conv2d", ((1, 16, 27, 27), 24, (1, 1), 2)),
    "group conv2d": ("conv2d", ((1, 136, 14, 14), 68, (1, 1), 1, 0, 1, 4)),
    "group conv2d, flat kernel": ("conv2d", ((2, 6, 13, 11), 15, (5, 3), 1, (2, 1), 1, 3)),
    "depthwise": ("conv2d", ((1, 27, 13, 13), 27, (3, 3), 1, 1, 1, 27)),
    "depthwise, stride 2": ("conv2d", ((2, 16, 28, 28), 16, (3, 3), 2, 1, 1, 16)),
    "depthwise, multiplied and dilated": ("conv2d", ((1, 5, 19, 23), 10, (5, 5), 1, 4, 2, 5)),
    "transposed, stride 2": ("conv2d_transpose", ((1, 9, 7, 11), 13, (4, 4), 2, 1)),
    "transposed, padded output": ("conv2d_transpose", ((1, 8, 9, 5), 6, (3, 3), 2, 1, 1)),
    "transposed, groups": ("conv2d_transpose", ((1, 8, 6, 6), 10, (3, 3), 1, 1, 0, 2)),
    "conv1d": ("conv1d", ((2, 7, 53), 13, 5, 1, 2)),
    "conv1d, stride and dilation": ("conv1d", ((1, 16, 120), 24, 3, 2, 0, 2)),
    "conv1d, groups": ("conv1d", ((1, 8, 40), 12, 3, 1, 1, 1, 2)),
    "conv1d, channels last": ("conv1d", ((1, 37, 8), 24, 3, 1, 1, 1, 1, "NWC")),
    "conv1d, channels last, groups": ("conv1d", ((2, 32, 32), 16, 3, 2, 1, 2, 2, "NWC")),
    "conv3d": ("conv3d", ((1, 3, 5, 13, 14), 7, (3, 3, 3), 1, 1)),
    "conv3d, stride 2, groups": ("conv3d", ((1, 4, 6, 9, 9), 6, (3, 3, 3), 2, 1, 2)),
    "dense, one row": ("dense", (1, 37, 100)),
    "dense, one input": ("dense", (5, 10, 1)),
    "dense, 33 rows": ("dense", (33, 37, 27)),
    "dense, 40 rows, one input": ("dense", (40, 10, 1)),
    "dense, 32 rows, 4 inputs": ("dense", (32, 10, 4)),
    "dense, 64 rows": ("dense", (64, 100, 64)),
    "dense, 70 rows, 257 inputs": ("dense", (70, 50, 257)),
    "dense, 64 rows, 31 inputs": ("dense", (64, 64, 31)),
    "dense, 33 rows, 3 inputs": ("dense", (33, 40, 3)),
    "matmul": ("matmul", (5, 10, 17)),
    "batch_matmul": ("batch_matmul", (3, 13, 27, 40)),
    "batch_matmul, whole vectors": ("batch_matmul", (2, 49, 64, 40, False, False)),
    "batch_matmul, a transposed": ("batch_matmul", (2, 5, 8, 1, True, True)),
    "batch_matmul, one vector of columns": ("batch_matmul", (2, 9, 8, 12)),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_llvm(case: str) -> None:
    build, arguments = CASES[case]
    assert operators.error_on_opencl(getattr(operators, build)(*arguments)) < 1e-5


@pytest.mark.parametrize(
    "case",
    [
        "conv2d, share of 13 channels",
        "conv2d, stride 2",
        "group conv2d",
        "depthwise",
        "transposed, padded output",
        "conv1d",
        "conv1d, channels last, groups",
        "dense, 33 rows",
        "dense, 70 rows, 257 inputs",
        "dense, 64 rows, 31 inputs",
        "dense, 33 rows, 3 inputs",
        "dense, 32 rows, 4 inputs",
        "batch_matmul",
    ],
)
def test_schedules_for_a_real_gpu_equal_llvm(case: str) -> None:
    """What is made for a GPU runs anywhere, if slowly."""
    build, arguments = CASES[case]
    target = tvm.target.Target("opencl -model=some_gpu", host="llvm")
    assert operators.error_on_opencl(getattr(operators, build)(*arguments), target) < 1e-5


def test_every_template_is_tried() -> None:
    """A class of operators without a case here would never have been run."""
    modules = {function.__module__.rsplit(".", 1)[1] for function in dispatch.TEMPLATES.values()}
    built = {build for build, _ in CASES.values()} | {"group_conv2d", "depthwise_conv2d"}
    assert modules <= built, modules - built
