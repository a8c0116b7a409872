"""Reshapes of one value to one shape become one."""

from __future__ import annotations

import pytest
import tvm
from tvm import relay

from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.relay_passes.prepare.merge_reshapes import MergeReshapes

pytestmark = pytest.mark.llvm


def merged(*values) -> list[str]:
    """Names of the operators that are left, in order."""
    x = relay.analysis.free_vars(relay.Tuple(values))
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(x, relay.Tuple(values))))
    out = MergeReshapes()(mod)
    names: list[str] = []
    relay.analysis.post_order_visit(
        out["main"].body, lambda n: names.append(n.op.name) if isinstance(n, relay.Call) else None
    )
    tvm.ir.assert_structural_equal(out["main"].body.checked_type, mod["main"].body.checked_type)
    return names


def test_equal_views_are_merged():
    x = relay.var("x", shape=(1, 4, 6))
    twins = [relay.reshape(x, (4, 6)), relay.reshape(x, (-1, 6)), relay.squeeze(x, [0])]
    assert merged(*map(relay.tanh, twins)) == ["reshape", "tanh", "tanh", "tanh"]


def test_views_of_merged_views_are_merged():
    x = relay.var("x", shape=(1, 4, 6))
    twins = [relay.reshape(relay.reshape(x, (4, 6)), (24,)) for _ in range(2)]
    assert merged(*twins) == ["reshape", "reshape"]


def test_what_differs_stays():
    x, y = relay.var("x", shape=(4, 6)), relay.var("y", shape=(4, 6))
    kept = [relay.reshape(x, (6, 4)), relay.reshape(y, (6, 4)), relay.reshape(x, (24,)), relay.tanh(x), relay.tanh(x)]
    assert merged(*kept) == ["reshape", "reshape", "reshape", "tanh", "tanh"]


def test_prepare_merges():
    x = relay.var("x", shape=(1, 4, 6))
    y = relay.reshape(x, (4, 6)) + relay.exp(relay.reshape(x, (4, 6)))
    mod = Prepare()(tvm.IRModule.from_expr(relay.Function([x], y)))
    assert mod["main"].astext(show_meta_data=False).count("reshape") == 1
