"""The graph's data: sizes, axes and cuts, fingerprints."""

from __future__ import annotations

import numpy as np
import pytest

from tests.planner import graphs
from tvm_coexec import CoExecError
from tvm_coexec.core.kernel_graph import cuts_of, dtype_bytes, round_cut


def test_round_cut_keeps_the_ends_and_aligns():
    axis = graphs.straight(1).kernels[0].named_axis("oc")
    assert [round_cut(axis, r) for r in (0.0, 0.3, 0.5, 1.0)] == [0, 8, 16, 32]
    assert cuts_of(axis) == [4, 8, 12, 16, 20, 24, 28]


def test_dtype_bytes():
    assert [dtype_bytes(t) for t in ("float32", "float16", "int8", "bool", "int64", "uint1")] == [4, 2, 1, 1, 8, 1]


def test_fingerprint_depends_on_structure():
    assert graphs.straight(3).fingerprint() == graphs.straight(3).fingerprint()
    assert graphs.straight(3).fingerprint() != graphs.straight(4).fingerprint()


def test_round_cut_of_arrays():
    axis = graphs.straight(1).kernels[0].named_axis("oc")
    ratios = np.linspace(0, 1, 101)
    assert round_cut(axis, ratios).tolist() == [round_cut(axis, float(r)) for r in ratios]


def test_axis_raises_and_find_axis_does_not():
    kernel = graphs.straight(1).kernels[0]
    assert kernel.axis(2) is kernel.find_axis(2) is kernel.named_axis("h")
    assert kernel.find_axis(5) is None
    with pytest.raises(CoExecError, match=r"kernel 0 .* can't be split along dimension 5"):
        kernel.axis(5)


def test_values_that_leave():
    g = graphs.residual()
    assert g.is_live_out(len(g.kernels) - 1, range(len(g.kernels)))  # the model's output
    assert g.is_live_out(0, {0, 1, 2}) and not g.is_live_out(0, range(len(g.kernels)))
