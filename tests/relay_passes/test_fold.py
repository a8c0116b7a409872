"""Constant folding in numpy equals TVM's."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

from tvm_coexec.relay_passes.prepare.fold import FOLDERS, FoldConstants, pack

pytestmark = pytest.mark.llvm


def constant(*shape: int) -> relay.Constant:
    return relay.const((np.random.standard_normal(shape) ** 2 + 0.5).astype("float32"))


CASES = {
    "add": lambda: relay.add(constant(4, 1), constant(3)),
    "subtract": lambda: relay.subtract(constant(4, 3), constant(3)),
    "multiply": lambda: relay.multiply(constant(4, 3), constant(4, 1)),
    "divide": lambda: relay.divide(constant(4, 3), constant(3)),
    "negative": lambda: relay.negative(constant(5)),
    "sqrt": lambda: relay.sqrt(constant(5)),
    "rsqrt": lambda: relay.rsqrt(constant(5)),
    "expand_dims": lambda: relay.expand_dims(constant(5, 2), -1, 2),
    "squeeze": lambda: relay.squeeze(constant(5, 1, 2), [1]),
    "reshape": lambda: relay.reshape(constant(6, 2), (3, 4)),
    "transpose": lambda: relay.transpose(constant(2, 3, 4), (2, 0, 1)),
    "layout_transform": lambda: relay.layout_transform(constant(16, 8, 3, 3), "OIHW", "OIHW4i8o"),
}


def test_every_folder_has_a_case():
    assert set(CASES) == set(FOLDERS)


@pytest.mark.parametrize("name", CASES)
def test_equals_tvm(name):
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([], CASES[name]())))
    ours = FoldConstants()(mod)["main"].body
    theirs = relay.transform.FoldConstant()(mod)["main"].body
    assert isinstance(ours, relay.Constant)
    assert ours.data.dtype == theirs.data.dtype
    np.testing.assert_allclose(ours.data.numpy(), theirs.data.numpy(), rtol=1e-6)


def test_integer_division_and_others_are_left_to_tvm():
    seven = relay.const(np.array([7, -7], "int32"))
    two = relay.const(np.array([2, 2], "int32"))
    body = relay.Tuple([relay.divide(seven, two), relay.exp(constant(3))])
    folded = FoldConstants()(relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([], body))))["main"].body
    assert [f.data.numpy().tolist() for f in list(folded.fields)[:1]] == [[3, -3]]


@pytest.mark.parametrize(("source", "target"), [("OIHW16o", "OIHW"), ("OIHW", "OIHW5o"), ("OIHW", "OIH4h")])
def test_layouts_that_numpy_does_not_fold(source, target):
    assert pack(np.zeros((16, 8, 3, 3), "float32"), source, target) is None


SCALARS = {
    "add": lambda: relay.add(relay.const(1), relay.const(2)),
    "divide": lambda: relay.divide(relay.const(1.0), relay.const(3.0)),
    "rsqrt": lambda: relay.rsqrt(relay.const(2.5)),
    "chain": lambda: relay.negative(relay.sqrt(relay.multiply(relay.const(0.5), relay.const(3.0)))),
    "squeeze": lambda: relay.squeeze(constant(1, 1)),
    "reshape": lambda: relay.reshape(constant(1, 1), ()),
    "transpose": lambda: relay.transpose(relay.const(2.0)),
    "expand_dims": lambda: relay.expand_dims(relay.subtract(relay.const(2.0), relay.const(3.0)), 0, 2),
    "with an array": lambda: relay.multiply(relay.const(2.0), constant(3, 1)),
    "half": lambda: relay.rsqrt(relay.const(2.0, "float16")),
    "overflow": lambda: relay.add(relay.const(100, "int8"), relay.const(100, "int8")),
}


@pytest.mark.parametrize("name", SCALARS)
def test_scalars_keep_rank_and_type(name):
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([], SCALARS[name]())))
    ours, theirs = FoldConstants()(mod)["main"].body, relay.transform.FoldConstant()(mod)["main"].body
    assert tvm.ir.structural_equal(ours.checked_type, mod["main"].body.checked_type)
    assert ours.data.dtype == theirs.data.dtype
    np.testing.assert_allclose(ours.data.numpy(), theirs.data.numpy(), rtol=1e-3 if name == "half" else 1e-6)
