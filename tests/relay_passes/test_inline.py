"""Segment functions put back into main."""

from __future__ import annotations

import pytest

tvm = pytest.importorskip("tvm")
relay = pytest.importorskip("tvm.relay")

from tests.relay_passes.ir_text import ir_text  # noqa: E402
from tvm_coexec.relay_passes.inline import inline_functions  # noqa: E402


def module() -> tvm.IRModule:
    """Main calls `outer` twice on one value, and `outer` calls `inner`."""
    mod = tvm.IRModule()
    a = relay.var("a", shape=(2, 3))
    inner, outer = relay.GlobalVar("inner"), relay.GlobalVar("outer")
    mod[inner] = relay.Function([a], relay.tanh(a), relay.TensorType((2, 3)))
    b, c = relay.var("b", shape=(2, 3)), relay.var("c", shape=(2, 3))
    body = relay.Tuple([relay.Call(inner, [b]) + c, c])
    mod[outer] = relay.Function([b, c], body, relay.TupleType([relay.TensorType((2, 3))] * 2))
    x = relay.var("x", shape=(2, 3))
    shared = relay.nn.relu(x)
    first = relay.Call(outer, [shared, x])
    second = relay.Call(outer, [relay.TupleGetItem(first, 0), shared])
    mod["main"] = relay.Function([x], relay.Tuple([relay.TupleGetItem(second, 0), relay.TupleGetItem(second, 1)]))
    return relay.transform.InferType()(mod)


def test_nested_calls_and_shared_values():
    made = inline_functions(module())
    assert [v.name_hint for v in made.get_global_vars()] == ["main"]
    lines = ir_text(made).splitlines()
    assert sum("nn.relu" in line for line in lines) == 1, "a value read twice is computed once"
    assert sum("tanh" in line for line in lines) == 2
    assert sum(" add(" in line for line in lines) == 2


def test_module_without_functions_stays_what_it_is():
    x = relay.var("x", shape=(2, 3))
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([x], relay.nn.relu(x))))
    assert ir_text(inline_functions(mod)) == ir_text(mod)
