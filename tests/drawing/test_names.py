"""A kernel is named by its anchor operator, whatever is fused before and after it."""

from __future__ import annotations

import pytest

from tvm_coexec.core.kernel_graph import Kernel, Tensor
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.drawing.names import LONGEST, crop, main_operator, name_kernel

HEAVY = {"conv": OpKind.CONV, "dense": OpKind.DENSE, "matmul": OpKind.BATCH_MATMUL}


def kernel(name: str, op: str, **attrs: object) -> Kernel:
    # Of the kinds only those that make a kernel compute-intensive matter here.
    kinds = [next((kind for word, kind in HEAVY.items() if word in n), OpKind.OTHER) for n in name.split("+")]
    return Kernel(0, name, op, attrs, outputs=(Tensor((1, 32, 8, 8), "float32"),), kinds=tuple(kinds))


@pytest.mark.parametrize(
    ("name", "op", "attrs", "shown"),
    [
        ("nn.conv2d+add+nn.relu", "nn.conv2d", {"kernel_size": [3, 5]}, "conv 3x5"),
        ("concatenate+nn.relu+nn.conv2d+add", "nn.conv2d", {"kernel_size": [1, 1], "groups": 4}, "conv 1x1"),
        ("nn.pad+nn.conv2d", "nn.conv2d", {"kernel_size": [3, 3], "groups": 32}, "dw 3x3"),
        ("nn.conv3d_transpose+add", "nn.conv3d_transpose", {"kernel_size": [2, 2, 2]}, "deconv 2x2x2"),
        ("reshape+transpose+nn.batch_matmul+divide", "nn.batch_matmul", {}, "batch mm"),
        ("reshape+nn.dense+add+tanh", "nn.dense", {}, "dense"),
        # no convolution, no product: not the first operator, and not the last
        ("reshape+add+divide+erf+add+multiply+reshape", "reshape", {}, "erf"),
        ("concatenate+multiply+add+nn.relu", "nn.relu", {}, "concat"),
        ("multiply+mean+copy", "copy", {}, "mean"),
        ("add+nn.max_pool2d+nn.relu", "nn.relu", {}, "max pool"),
        ("transpose+add+reshape", "reshape", {}, "add"),
        ("reshape+transpose+reshape", "reshape", {}, "reshape"),
        ("custom.operator_of_a_user", "custom.operator_of_a_user", {}, "opera\u2026 user"),
        ("", "nn.softmax", {}, "softmax"),
    ],
)
def test_names(name, op, attrs, shown):
    assert name_kernel(kernel(name, op, **attrs)) == shown and len(shown) <= LONGEST + 1


def test_compute_intensive_operators_are_found_first():
    assert main_operator(kernel("exp+nn.matmul+sum", "nn.matmul")) == "matmul"


def test_long_names_keep_both_ends():
    assert crop("encoder_layer_11") == "encod\u2026er_11" and crop("x") == "x"
