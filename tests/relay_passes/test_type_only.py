"""Operators that read a type: constant where their value is constant, left alone otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.relay_passes.prepare.fold import FoldConstants
from tvm_coexec.relay_passes.prepare.type_only import TYPE_ONLY_OPS, ConcretizeTypes

pytestmark = pytest.mark.llvm

SHAPE = (2, 3, 5)


def const(*shape: int):
    return relay.const(np.random.default_rng(0).standard_normal(shape).astype("float32"))


CASES = {
    "full_like": lambda x: relay.full_like(x, relay.const(2.5)),
    "broadcast_to_like": lambda x: relay.broadcast_to_like(const(3, 1), x),
    "collapse_sum_like": lambda x: relay.collapse_sum_like(const(4, 2, 3, 5), x),
    "reshape_like": lambda x: relay.reshape_like(const(5, 6), x),
    "cast_like": lambda x: relay.cast_like(relay.const(np.arange(4)), x),
    "slice_like": lambda x: relay.slice_like(const(3, 4, 9), x, axes=(0, -1)),
    "shape_of": lambda x: relay.shape_of(x, "int64"),
    "ndarray_size": lambda x: relay.ndarray_size(x),
}


def typed(*exprs):
    body = exprs[0] if len(exprs) == 1 else relay.Tuple(exprs)
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body)))


def test_every_operator_has_a_case():
    assert set(CASES) == TYPE_ONLY_OPS


@pytest.mark.parametrize("name", CASES)
def test_folds_to_what_tvm_computes(name):
    mod = typed(CASES[name](relay.var("x", shape=SHAPE)))
    folded = FoldConstants()(ConcretizeTypes()(mod))["main"].body
    assert isinstance(folded, relay.Constant)
    assert tvm.ir.structural_equal(folded.checked_type, mod["main"].body.checked_type)
    run = relay.create_executor("graph", mod, target="llvm").evaluate()
    np.testing.assert_allclose(folded.data.numpy(), run(np.zeros(SHAPE, "float32")).numpy(), rtol=1e-5)


def test_slice_like_without_axes_takes_them_all():
    mod = typed(relay.slice_like(const(3, 4, 9), relay.var("x", shape=SHAPE)))
    value = FoldConstants()(ConcretizeTypes()(mod))["main"].body.data.numpy()
    np.testing.assert_array_equal(value, const(3, 4, 9).data.numpy()[:2, :3, :5])


@pytest.mark.parametrize("name", sorted(set(CASES) - {"full_like", "shape_of", "ndarray_size"}))
def test_what_depends_on_an_input_is_left_alone(name):
    call = CASES[name](relay.var("x", shape=SHAPE))
    value = relay.var("v", shape=call.args[0].data.shape, dtype=call.args[0].data.dtype)
    mod = typed(relay.Call(call.op, [value, *call.args[1:]], call.attrs))
    assert tvm.ir.structural_equal(ConcretizeTypes()(mod), mod)
    dynamic = typed(CASES[name](relay.var("x", shape=(relay.Any(), 3, 5))))
    assert tvm.ir.structural_equal(ConcretizeTypes()(dynamic), dynamic)


def test_prepare_leaves_no_constant_expression():
    """Also through tuples, and in models in let form, which are flattened first."""
    x, v, w = relay.var("x", shape=(1, 4, 6, 6)), relay.var("v"), relay.var("w")
    part = relay.split(relay.full_like(x, relay.const(3.0)), 2, axis=1)[1]
    wide = relay.sqrt(relay.broadcast_to_like(relay.exp(const(4, 1, 1)), x))
    total = relay.cast(relay.ndarray_size(x), "float32")
    half = relay.strided_slice(x, [0], [2], axes=[1])
    let = relay.Let(v, relay.multiply(relay.const(2.0), relay.const(0.5)), relay.Let(w, relay.exp(v), x * w))
    mod = Prepare()(typed(x * wide / total, relay.add(half, part), let))
    names = []
    relay.analysis.post_order_visit(
        mod["main"].body, lambda n: names.append(n.op.name) if isinstance(n, relay.Call) else None
    )
    assert sorted(names) == ["add", "divide", "multiply", "multiply", "strided_slice"]


def test_slopes_of_a_prelu_as_large_as_the_map():
    shape = (1, 4, 3, 5)
    x = relay.var("x", shape=shape)
    slopes = relay.reshape(relay.broadcast_to_like(const(4, 3, 1), x), (-1,))
    y = relay.reshape(relay.nn.prelu(relay.reshape(x, (-1,)), slopes, axis=0), shape)
    prelu = Prepare()(typed(y))["main"].body.args[0]
    assert isinstance(prelu.args[1], relay.Constant)
    np.testing.assert_array_equal(
        prelu.args[1].data.numpy(), np.broadcast_to(const(4, 3, 1).data.numpy(), shape).ravel()
    )
