"""What stays whole, with the reason, and chains next to it."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

from tvm_coexec.relay_passes.extract import extract

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def const(*shape: int):
    return relay.const(np.random.standard_normal(shape).astype("float32"))


def conv(x, channels: int, out: int):
    return relay.nn.relu(relay.nn.conv2d(x, const(out, channels, 3, 3), padding=(1, 1)))


def test_kernels_that_return_tuples(splits):
    """They run on one device; chains before and after them are none the worse."""
    x = relay.var("x", shape=(1, 4, 9, 8))
    best = relay.topk(conv(x, 4, 6), 5, axis=3, ret_type="both")
    y = relay.nn.relu(conv(best[0], 6, 4))
    out = relay.Tuple([y, best[1]])
    _, graph = splits.prepare(out)
    top = next(k for k in graph.kernels if k.op == "topk")
    assert not top.axes and "topk stays on the CPU" in top.reason and len(top.outputs) == 2
    splits.check(out, members=[0], expect={"oc", "h", "w"}, build="none")
    last = next(k.index for k in graph.kernels if k.index > top.index and k.is_heavy)
    splits.check(out, members=[last], expect={"oc", "h", "w"})


def test_an_operator_that_returns_a_tuple_stays_whole(splits):
    x = relay.var("x", shape=(2, 9))
    _, graph = splits.prepare(relay.op.dft(x, x)[1])
    assert [(k.axes, k.reason) for k in graph.kernels] == [((), "dft returns a tuple")]


def test_a_field_read_by_a_chain(splits):
    x = relay.var("x", shape=(1, 4, 9, 8))
    best = relay.topk(x, 5, axis=3, ret_type="both")
    y = conv(best[0], 4, 6) + relay.reshape(relay.sum(best[0], axis=[1, 3]), (1, 1, 9, 1))
    _, graph = splits.prepare(y)
    chain = [k.index for k in graph.kernels if k.op != "topk"]
    splits.check(y, members=chain, axes={"h"}, expect={"h"})


def test_gated_linear_unit_and_shuffle_unit(splits):
    """Halves of a split are slices, which carry chains."""
    x = relay.var("x", shape=(1, 4, 9, 8))
    a, b = relay.split(conv(x, 4, 8), 2, axis=1)
    # channels divide, too, though both halves need most of what is before them
    splits.check(a * relay.sigmoid(b), expect={"oc", "h", "w"})
    left, right = relay.split(relay.var("x", shape=(1, 6, 8, 6)), 2, axis=1)
    y = relay.concatenate([left, conv(right, 3, 3)], axis=1)
    y = relay.reshape(relay.transpose(relay.reshape(y, (1, 2, 3, 8, 6)), (0, 2, 1, 3, 4)), (1, 6, 8, 6))
    splits.check(y, expect={"h", "w"})


def test_two_parts_of_a_concatenation(splits):
    """Everything between the parts is computed; the planner counts the fields whole rather than too little."""
    x = relay.var("x", shape=(4, 5))
    a, b = relay.split(relay.concatenate([x, x], axis=1), 2, axis=1)
    seen = splits.check(a * relay.sigmoid(b), expect={"m", "n"})
    assert seen.graph.kernels[-1].named_axis("n").needs == (None,)
    a, b = relay.split(relay.concatenate([relay.tanh(x), x], axis=1), 2, axis=1)
    seen = splits.check(a * relay.sigmoid(b), expect={"m"}, build="none")


@pytest.mark.parametrize("kind", ["functions", "control flow", "closure"])
def test_models_that_cannot_be_planned(kind):
    x = relay.var("x", shape=(1, 4))
    if kind == "functions":
        mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.relu(x)))
        y = relay.var("y", shape=(1, 4))
        mod["helper"] = relay.Function([y], relay.tanh(y))
        want = "the module has other functions than main (helper)"
    elif kind == "control flow":
        c = relay.var("c", shape=(), dtype="bool")
        mod = tvm.IRModule.from_expr(relay.Function([c, x], relay.If(c, relay.nn.relu(x), x)))
        want = "the model has control flow or closures (If)"
    else:
        y = relay.var("y", shape=(1, 4))
        mod = tvm.IRModule.from_expr(relay.Function([x], relay.Call(relay.Function([y], relay.tanh(y)), [x])))
        want = "the model has control flow or closures (Function, calls of functions)"
    graph = extract(relay.transform.InferType()(mod))
    assert graph.kernels == () and graph.reason == want


def test_dynamic_kernel_between_static_ones(splits):
    x, n = relay.var("x", shape=(1, 4, 9, 8)), relay.var("n", shape=(relay.Any(),))
    y = relay.Tuple([conv(x, 4, 6), relay.nn.relu(n)])
    _, graph = splits.prepare(y)
    reasons = {k.name: k.reason for k in graph.kernels}
    assert reasons == {"nn.conv2d+nn.relu": "", "nn.relu": "its shape is dynamic"}


def test_let_bound_model(splits):
    x, v = relay.var("x", shape=(1, 4, 9, 8)), relay.var("v")
    y = relay.Let(v, conv(x, 4, 6), relay.nn.relu(v + const(6, 1, 1)))
    splits.check(y, expect={"oc", "h", "w"})


def test_unused_input_and_no_operator(splits):
    x, unused = relay.var("x", shape=(1, 4, 9, 8)), relay.var("unused", shape=(3,))
    mod = tvm.IRModule.from_expr(relay.Function([unused, x], conv(x, 4, 6)))
    splits.check(mod, axes={"h"}, expect={"h"})
    _, graph = splits.prepare(relay.Tuple([x]))
    assert graph.kernels == () and graph.outputs == (-1,)


def test_opt_level_0_leaves_operators_unfused(splits):
    x = relay.var("x", shape=(1, 4, 9, 8))
    with tvm.transform.PassContext(opt_level=0):
        seen = splits.check(conv(x, 4, 6), expect={"oc", "h", "w"}, build="none")
    assert [k.name for k in seen.graph.kernels] == ["nn.conv2d", "nn.relu"]
