"""Fields of split become slices."""

from __future__ import annotations

import pytest

tvm = pytest.importorskip("tvm")
relay = pytest.importorskip("tvm.relay")

from tests.relay_passes.ir_text import ir_text  # noqa: E402
from tvm_coexec.relay_passes.prepare import Prepare  # noqa: E402
from tvm_coexec.relay_passes.prepare.split_to_slices import SplitFieldsToSlices  # noqa: E402


def module(body, *params):
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(list(params), body)))


def test_equal_and_given_borders():
    x = relay.var("x", shape=(2, 6, 9))
    a, b = relay.split(x, 3, axis=1), relay.split(x, (2, 7), axis=-1)
    made = SplitFieldsToSlices()(module(relay.Tuple([a[0], a[2], b[1], b[2]]), x))
    assert ir_text(made).splitlines() == [
        "def @main(%x: float32[2, 6, 9])",
        "  %0 = strided_slice(%x)  {strides=[1], axes=[1], begin=[0], end=[2]} -> float32[2, 2, 9]",
        "  %1 = strided_slice(%x)  {strides=[1], axes=[1], begin=[4], end=[6]} -> float32[2, 2, 9]",
        "  %2 = strided_slice(%x)  {strides=[1], axes=[2], begin=[2], end=[7]} -> float32[2, 6, 5]",
        "  %3 = strided_slice(%x)  {strides=[1], axes=[2], begin=[7], end=[9]} -> float32[2, 6, 2]",
        "  return (%0, %1, %2, %3)",
    ]


def test_other_modules_are_left_alone():
    x = relay.var("x", shape=(2, 6))
    for body in (relay.nn.relu(x), relay.topk(x, 2, ret_type="both")[0], relay.split(x, 2, axis=1).astuple()):
        mod = module(body, x)
        assert SplitFieldsToSlices()(mod).same_as(mod)
    y = relay.var("y", shape=(relay.Any(), 6))
    mod = module(relay.split(y, 2, axis=1)[0], y)
    assert SplitFieldsToSlices()(mod).same_as(mod)


def test_prepare_does_it():
    x = relay.var("x", shape=(2, 6))
    halves = relay.split(x, 2, axis=1)
    made = Prepare()(tvm.IRModule.from_expr(relay.Function([x], halves[0] * relay.sigmoid(halves[1]))))
    assert " split(" not in ir_text(made)
