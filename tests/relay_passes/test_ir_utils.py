"""Utilities of several passes."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm")

from tvm import relay, tir

from tvm_coexec.relay_passes import ir_utils


def test_dims_of_types_that_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A type is never taken for an earlier one that had its address, however many there are."""
    monkeypatch.setattr(ir_utils, "_MOST_TYPES", 16)
    for n in range(200):
        assert ir_utils.dims_of(relay.TensorType((n, 3, 2 * n))) == (n, 3, 2 * n)
    assert len(ir_utils._DIMS) <= 16


def test_dims_of_dynamic_and_scalar_types() -> None:
    assert ir_utils.dims_of(relay.TensorType((2, relay.Any(), tir.Var("n", "int64")))) == (2, -1, -1)
    assert ir_utils.dims_of(relay.TensorType(())) == ()
