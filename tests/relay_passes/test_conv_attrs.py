"""Convolutions are complete after prepare, however they were written."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = pytest.mark.llvm


def calls_of(mod):
    found = []
    relay.analysis.post_order_visit(mod["main"].body, lambda n: found.append(n) if isinstance(n, relay.Call) else None)
    return found


@pytest.mark.parametrize("case", ["conv2d", "grouped", "nhwc", "conv1d", "transpose"])
def test_convolutions_that_leave_their_shape_to_their_weights(case):
    weight = {
        "conv2d": (6, 4, 3, 5), "grouped": (6, 2, 3, 3), "nhwc": (3, 1, 4, 6), "conv1d": (6, 4, 3),
        "transpose": (4, 6, 2, 2),
    }[case]  # fmt: skip
    data = {"nhwc": (1, 8, 9, 4), "conv1d": (1, 4, 9)}.get(case, (1, 4, 8, 9))
    x, w = relay.var("x", shape=data), relay.const(np.random.default_rng(0).standard_normal(weight).astype("float32"))
    y = {
        "conv2d": lambda: relay.nn.conv2d(x, w, padding=(1, 2)),
        "grouped": lambda: relay.nn.conv2d(x, w, groups=2),
        "nhwc": lambda: relay.nn.conv2d(x, w, data_layout="NHWC", kernel_layout="HWIO"),
        "conv1d": lambda: relay.nn.conv1d(x, w),
        "transpose": lambda: relay.nn.conv2d_transpose(x, w, strides=(2, 2)),
    }[case]()
    mod = tvm.IRModule.from_expr(y)
    call = next(k for k in calls_of(Prepare()(mod)) if "conv" in k.op.name)
    known = {"nhwc": weight[:2], "conv1d": (1, 3)}  # computed as a two-dimensional convolution
    assert tuple(map(int, call.attrs.kernel_size)) == known.get(case, weight[2:])
    assert int(call.attrs.channels) == 6
    split = tvm_coexec.partition_for_coexec(mod, ratio=0.5, axis="oc")
    assert tvm_coexec.plan_of(split).chains
