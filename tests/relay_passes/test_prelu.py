"""Flattened PReLUs become what they were."""

from __future__ import annotations

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")
relay = pytest.importorskip("tvm.relay")

from tests.relay_passes.ir_text import ir_text  # noqa: E402
from tvm_coexec.relay_passes.prepare.prelu import UnflattenPRelu  # noqa: E402


def flattened(shape: tuple[int, ...], slopes: np.ndarray):
    """As TVM's ONNX importer writes PRelu."""
    x = relay.var("x", shape=shape)
    wide = relay.broadcast_to_like(relay.const(slopes.astype("float32")), x)
    y = relay.nn.prelu(relay.reshape(x, (-1,)), relay.reshape(wide, (-1,)), axis=0)
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([x], relay.reshape(y, shape))))


def run(mod, x: np.ndarray) -> np.ndarray:
    with tvm.transform.PassContext(opt_level=1):
        return relay.create_executor("graph", mod, target="llvm").evaluate()(x).numpy()


@pytest.mark.llvm
@pytest.mark.parametrize("slopes,axis", [((4, 1, 1), 1), ((1, 4, 1, 1), 1), ((5,), 3), ((), 1), ((1,), 1)])
def test_slopes_along_one_axis(slopes, axis):
    values = np.random.uniform(-1, 1, slopes)
    mod = flattened((2, 4, 3, 5), values)
    made = UnflattenPRelu()(mod)
    n = (2, 4, 3, 5)[axis]
    assert ir_text(made).splitlines() == [
        "def @main(%x: float32[2, 4, 3, 5])",
        f"  %0 = nn.prelu(%x, const float32[{n}])  {{axis={axis}}} -> float32[2, 4, 3, 5]",
        "  return %0",
    ]
    x = np.random.standard_normal((2, 4, 3, 5)).astype("float32")
    if axis == 1:
        np.testing.assert_array_equal(run(made, x), run(mod, x))


@pytest.mark.llvm
def test_others_are_left_alone():
    mod = flattened((2, 4, 3, 5), np.ones((4, 3, 1)))
    assert UnflattenPRelu()(mod).same_as(mod)
    x = relay.var("x", shape=(2, 4))
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([x], relay.reshape(x, (8,)))))
    assert UnflattenPRelu()(mod).same_as(mod)
