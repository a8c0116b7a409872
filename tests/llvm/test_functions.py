"""`erf` on LLVM targets: numbers, vectors, other types, and TVM's own without the hook."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relay, te

from tests import models
from tvm_coexec.llvm import functions

pytestmark = pytest.mark.llvm

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-30, 1.0, -1.0, 4.0, -4.0, 3.4e38]


def compile_erf(count: int) -> Any:
    x = relay.var("x", shape=(count,))
    with tvm.transform.PassContext(opt_level=3):
        return relay.build(tvm.IRModule.from_expr(relay.Function([x], relay.erf(x))), target="llvm")


def test_equals_the_exact_function() -> None:
    x = np.concatenate([np.linspace(-6, 6, 100_003), np.logspace(-30, 0, 301), SPECIAL]).astype("float32")
    (got,) = models.run(compile_erf(len(x)), {"x": x}, (tvm.cpu(),))
    np.testing.assert_allclose(got, [math.erf(v) for v in x], rtol=2.5e-7, atol=1e-38)
    assert np.array_equal(np.signbit(got[~np.isnan(x)]), np.signbit(x[~np.isnan(x)]))
    assert np.abs(got[np.isfinite(x)]).max() <= 1.0


def test_double_precision_stays_the_library_s() -> None:
    x = te.placeholder((64,), dtype="float64")
    y = te.compute((64,), lambda i: te.erf(x[i]))
    compiled = tvm.build(te.create_schedule(y.op), [x, y], target="llvm")
    values, out = np.linspace(-3, 3, 64), tvm.nd.empty((64,), "float64")
    compiled(tvm.nd.array(values), out)
    np.testing.assert_allclose(out.numpy(), [math.erf(v) for v in values], rtol=1e-15)


def test_is_vectorised_with_the_hook_only() -> None:
    def calls_the_library() -> bool:
        lib = compile_erf(64).get_lib()
        return "@erff" in (lib.imported_modules or [lib])[0].get_source("ll")

    assert not calls_the_library()
    functions.uninstall()
    try:
        assert calls_the_library()
    finally:
        functions.install()
    assert not calls_the_library()
