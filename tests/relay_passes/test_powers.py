"""Powers with constant exponents become products, roots and reciprocals, where no result changes."""

from __future__ import annotations

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")
relay = pytest.importorskip("tvm.relay")

from tests.relay_passes.ir_text import ir_text  # noqa: E402
from tvm_coexec.relay_passes.prepare import Prepare  # noqa: E402
from tvm_coexec.relay_passes.prepare.powers import EXACT, ROOTS, RewritePowers  # noqa: E402

pytestmark = pytest.mark.llvm
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-20, -1e-20, 6e-20, 1e19, -1e20, 3e38, 1e-38, 2.5e-39]
BASES = np.array([*SPECIAL, *np.random.default_rng(0).standard_normal(241) * 3], "float32")


def module(make, shape=(256,), dtype="float32") -> tvm.IRModule:
    x = relay.var("x", shape=shape, dtype=dtype)
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([x], make(x))))


def power(exponent, dtype="float32"):
    return lambda x: relay.power(x, relay.const(np.asarray(exponent), dtype))


def run(mod, x: np.ndarray) -> np.ndarray:
    with tvm.transform.PassContext(opt_level=0):
        return relay.create_executor("graph", mod, target="llvm").evaluate()(x).numpy()


def powers_in(mod) -> int:
    return ir_text(mod).count("power(")


@pytest.mark.parametrize("exponent", sorted(EXACT))
def test_any_base(exponent):
    """Negative, zero of either sign, infinite, NaN, and where the result overflows or is denormal."""
    mod = module(power(exponent))
    made = RewritePowers()(mod)
    assert powers_in(mod) == 1 and powers_in(made) == 0
    with np.errstate(all="ignore"):
        expected = np.power(BASES.astype("float64"), exponent).astype("float32")
    found = run(made, BASES)
    np.testing.assert_allclose(found, expected, rtol=5e-7, atol=3e-45)
    np.testing.assert_array_equal(np.signbit(found[expected == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.parametrize("exponent", sorted(ROOTS))
def test_roots_of_what_cannot_be_negative(exponent):
    mod = module(lambda x: power(exponent)(relay.mean(x * x, axis=1, keepdims=True) + relay.const(1e-5)), (16, 16))
    made = RewritePowers()(mod)
    assert powers_in(made) == 0
    x = np.random.default_rng(1).standard_normal((16, 16)).astype("float32")
    np.testing.assert_allclose(run(made, x), run(mod, x), rtol=1e-6)


NON_NEGATIVE = {
    "abs": relay.abs,
    "relu": relay.nn.relu,
    "exp": relay.exp,
    "clip": lambda x: relay.clip(x, 0.0, 6.0),
    "square": power(2.0),
    "maximum": lambda x: relay.maximum(x, relay.const(0.0)),
    "sum of squares": lambda x: x * x + relay.abs(x),
    "reshape": lambda x: relay.reshape(relay.abs(x), (16, 16)),
}
UNKNOWN = {
    "input": lambda x: x,
    "sum": lambda x: relay.abs(x) + x,
    "difference": lambda x: relay.abs(x) - relay.const(1.0),
    "product": lambda x: x * relay.const(2.0),
    "clip": lambda x: relay.clip(x, -1.0, 6.0),
    "cube": power(3.0),
    "negative constant": lambda x: relay.abs(x) + relay.const(-1e-5),
}


@pytest.mark.parametrize("base", list(NON_NEGATIVE))
def test_bases_that_are_known(base):
    assert powers_in(RewritePowers()(module(lambda x: power(0.5)(NON_NEGATIVE[base](x))))) == 0


@pytest.mark.parametrize("base", list(UNKNOWN))
def test_roots_of_others_stay(base):
    """The power of minus infinity is infinite, its root is NaN."""
    mod = module(lambda x: power(0.5)(UNKNOWN[base](x)))
    assert "power(" in ir_text(RewritePowers()(mod))


def test_others_stay():
    left = [
        module(power(0.3)),
        module(power([2.0] * 255 + [3.0])),
        module(power(2, "int32"), dtype="int32"),
        module(power(2.0, "float16"), dtype="float16"),
        module(lambda x: relay.power(relay.const(np.float32(2.0)), x)),
        module(lambda x: relay.power(x, x)),
        module(power(np.full((4, 1), 2.0)), (5,)),  # widens the result
    ]
    for mod in left:
        assert RewritePowers()(mod).same_as(mod)


def test_equal_elements_are_one_exponent():
    assert powers_in(RewritePowers()(module(power(np.full((5,), 2.0)), (3, 5)))) == 0


def test_double_precision():
    made = RewritePowers()(module(power(3.0, "float64"), dtype="float64"))
    x = BASES.astype("float64")
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(run(made, x), x**3, rtol=1e-15)


def test_prepare_runs_it_after_constants_are_folded():
    """The exponent of a model from ONNX is a constant expression."""
    exponent = relay.cast(relay.const(np.array(2, "int64")), "float32")
    mod = Prepare()(module(lambda x: relay.power(x, exponent)))
    assert powers_in(mod) == 0 and "multiply(" in ir_text(mod)
