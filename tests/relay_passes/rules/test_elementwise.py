"""Operators that work element by element, with every broadcast pattern; reductions and normalisations."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

from tvm_coexec.relay_passes.rules.elementwise import BROADCAST, UNARY

pytestmark = [pytest.mark.llvm, pytest.mark.slow]

POSITIVE = ("acosh", "log", "log2", "log10", "rsqrt", "sqrt")
WITHIN_ONE = ("acos", "asin", "atanh")
WHOLE = ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "left_shift", "right_shift")
TRUTH = ("logical_and", "logical_or", "logical_xor", "logical_not")
NUMBERS = ("divide", "power", "mod", "floor_mod", "trunc_mod", "floor_divide", "trunc_divide")
ATTRS = {
    "cast": dict(dtype="int32"),
    "clip": dict(a_min=-0.5, a_max=0.75),
    "nn.leaky_relu": dict(alpha=0.1),
    "fixed_point_multiply": dict(multiplier=1518500250, shift=-2),
}


def const(*shape: int, dtype: str = "float32"):
    return relay.const(np.random.standard_normal(shape).astype(dtype))


def dtype_of(name: str) -> str:
    return "int32" if name in (*WHOLE, "fixed_point_multiply") else "bool" if name in TRUTH else "float32"


def operator(name: str):
    if "fast" in name:  # what FastMath writes; they have no functions of their own
        return lambda x: relay.Call(relay.op.get(name), [x])
    found = relay
    for part in name.split("."):
        found = getattr(found, part)
    return found


def domain(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values that the operator takes."""
    values = rng.uniform(-2, 2, shape)
    if name in POSITIVE or name == "power":
        values = np.abs(values) + 1.01
    if name in WITHIN_ONE:
        values = values / 2.5
    if name in NUMBERS:
        values = np.abs(values) + 0.5
    if dtype_of(name) == "int32":
        values = np.abs(values * 5).astype("int32") + 1
    return (values > 0) if dtype_of(name) == "bool" else values.astype(dtype_of(name))


@pytest.mark.parametrize("name", UNARY)
def test_unary(splits, name):
    shape = (2, 3, 5, 4)
    x = relay.var("x", shape=shape, dtype=dtype_of(name))
    y = operator(name)(x, **ATTRS.get(name, {}))
    inputs = {"x": domain(name, shape, np.random.default_rng(0))}
    splits.check(y, inputs=inputs, cuts=lambda a: [a.extent // 2], axes={"oc", "h"}, expect={"oc", "h"})


@pytest.mark.parametrize("name", [n for n in BROADCAST if n != "where"])
def test_binary(splits, name):
    rng = np.random.default_rng(0)
    a, b = (2, 3, 5, 1), (3, 1, 4)
    x, y = (relay.var(n, shape=s, dtype=dtype_of(name)) for n, s in (("x", a), ("y", b)))
    inputs = {"x": domain(name, a, rng), "y": domain(name, b, rng)}
    splits.check(
        operator(name)(x, y),
        inputs=inputs,
        cuts=lambda a: [a.extent // 2],
        expect={"batch", "oc", "h", "w"},
    )


@pytest.mark.parametrize(
    "a,b",
    [
        ((2, 3, 4, 5), (2, 3, 4, 5)),
        ((2, 3, 4, 5), ()),
        ((2, 3, 4, 5), (5,)),
        ((2, 3, 4, 5), (3, 1, 1)),
        ((1, 3, 1, 5), (2, 1, 4, 1)),
        ((2, 1, 4, 5), (1, 3, 4, 5)),
        ((4, 5), (2, 3, 1, 1)),
    ],
)
def test_broadcast(splits, a, b):
    x, y = relay.var("x", shape=a), relay.var("y", shape=b)
    splits.check(relay.maximum(x + y, relay.const(0.1)), expect={"batch", "oc", "h", "w"})


def test_broadcast_with_constants(splits):
    x = relay.var("x", shape=(1, 6, 4, 5))
    y = x * const(6, 1, 1) + const(1, 6, 4, 1)
    seen = splits.check(y, expect={"oc", "h", "w"})
    assert seen.graph.kernels[0].named_axis("oc").weights and not seen.graph.kernels[0].named_axis("w").weights


@pytest.mark.parametrize("condition", [(2, 3, 4, 5), (3, 1, 1), (1, 1, 4, 5)])
def test_where(splits, condition):
    c = relay.var("c", shape=condition, dtype="bool")
    x, y = relay.var("x", shape=(2, 3, 4, 5)), relay.var("y", shape=(5,))
    splits.check(relay.where(c, x, y), expect={"batch", "oc", "h", "w"})


@pytest.mark.parametrize("name,axis", [("bias_add", 1), ("bias_add", -1), ("prelu", 1), ("prelu", 3)])
def test_vector_on_axis(splits, name, axis):
    x = relay.var("x", shape=(2, 4, 5, 6))
    vector = const((2, 4, 5, 6)[axis])
    splits.check(getattr(relay.nn, name)(x, vector, axis=axis), expect={"batch", "oc", "h", "w"})


@pytest.mark.parametrize("shape,axes", [((6,), {"n"}), ((4, 6), {"m", "n"}), ((2, 3, 4), {"batch", "m", "n"})])
def test_ranks(splits, shape, axes):
    splits.check(relay.tanh(relay.var("x", shape=shape)), expect=axes)


def test_rank_six(splits):
    seen = splits.check(relay.tanh(relay.var("x", shape=(2, 2, 1, 3, 2, 2))))
    assert seen.axes == {"dim0", "dim1", "dim3", "dim4", "dim5"}


@pytest.mark.parametrize("name", ["mean", "sum", "max", "min", "prod", "variance", "argmax", "argmin", "logsumexp"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reduction(splits, name, keepdims):
    x = relay.var("x", shape=(2, 6, 5, 4))
    axis = 2 if name.startswith("arg") else (2, 3)
    kept = {"m", "n"} if not keepdims else {"batch", "oc"}
    if name in ("variance", "logsumexp"):  # two kernels: the second calls its axes what the first does
        kept = {"batch", "oc"}
    if name.startswith("arg"):
        kept = {"batch", "m", "n"} if not keepdims else {"batch", "oc", "h"}  # the only spatial axis with rows
    splits.check(operator(name)(x, axis, keepdims), expect=kept, tolerance=1e-4)


@pytest.mark.parametrize("name", ["all", "any"])
def test_truth_of_all(splits, name):
    x = relay.var("x", shape=(4, 3, 5), dtype="bool")
    splits.check(operator(name)(x, axis=1), expect={"m", "n"})


@pytest.mark.parametrize(
    "axis,exclude,kept", [((-1,), False, {"batch", "m", "n"}), ((1,), True, {"n"}), (None, False, set())]
)
def test_reduction_axes(splits, axis, exclude, kept):
    x = relay.var("x", shape=(2, 6, 5, 4))
    splits.check(relay.sum(x, axis=axis, exclude=exclude), expect=kept)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "fast_softmax"])
@pytest.mark.parametrize("axis,kept", [(1, {"batch", "h", "w"}), (-1, {"batch", "oc", "h"})])
def test_softmax(splits, name, axis, kept):
    x = relay.var("x", shape=(2, 4, 5, 3))
    splits.check(getattr(relay.nn, name)(x, axis=axis), expect=kept)


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_along_one_axis(splits, name):
    x = relay.var("x", shape=(4, 5, 3))
    splits.check(operator(name)(x, axis=1), expect={"batch", "n"})


@pytest.mark.parametrize("size", [1, 3, 5])
def test_lrn(splits, size):
    """Across channels a share takes half a window of neighbours along."""
    x = relay.var("x", shape=(2, 9, 4, 3))
    seen = splits.check(relay.nn.lrn(x, size, axis=1, bias=2.0, alpha=0.7, beta=0.75), expect={"batch", "oc", "h", "w"})
    assert seen.graph.kernels[0].named_axis("oc").needs[0].apply(3, 5) == (3 - size // 2, 5 + size // 2)


@pytest.mark.parametrize("kind", ["batch", "layer", "group", "instance", "l2"])
def test_normalisation(splits, kind):
    """Normalisations arrive as their parts; they divide along what they do not average over."""
    x = relay.var("x", shape=(2, 6, 4, 5))
    if kind == "batch":
        y = relay.nn.batch_norm(x, *[relay.const(np.random.uniform(0.5, 1.5, 6).astype("float32")) for _ in range(4)])[
            0
        ]
        want = {"batch", "oc", "h", "w"}
    elif kind == "layer":
        y, want = relay.nn.layer_norm(x, const(5), const(5)), {"batch", "oc", "h"}
    elif kind == "group":
        y, want = relay.nn.group_norm(x, const(6), const(6), num_groups=2), {"batch", "oc"}
    elif kind == "instance":
        y, want = relay.nn.instance_norm(x, const(6), const(6)), {"batch", "oc"}
    else:
        y, want = relay.nn.l2_normalize(x, 1e-3, axis=[1]), {"batch", "h", "w"}
    splits.check(y, expect=want, tolerance=1e-4)


@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "hard_swish", "swish", "mish", "elu"])
def test_activations_of_many_parts(splits, kind):
    x = relay.var("x", shape=(1, 4, 5, 6))
    one, half = relay.const(1.0), relay.const(0.5)
    y = {
        "gelu": lambda: half * x * (one + relay.erf(x * relay.const(2**-0.5))),
        "gelu_tanh": lambda: (
            half * x * (one + relay.tanh(relay.const(0.797885) * (x + relay.const(0.044715) * x * x * x)))
        ),
        "hard_swish": lambda: x * relay.clip(x + relay.const(3.0), 0, 6) / relay.const(6.0),
        "swish": lambda: x * relay.sigmoid(x),
        "mish": lambda: x * relay.tanh(relay.log(one + relay.exp(x))),
        "elu": lambda: relay.where(relay.greater(x, relay.const(0.0)), x, relay.exp(x) - one),
    }[kind]()
    seen = splits.check(y, expect={"oc", "h", "w"})
    # an element needs itself alone, however many ways lead to it
    assert all(need.paths == ((),) for axis in seen.graph.kernels[0].axes for need in axis.needs)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int64"])
def test_types(splits, dtype):
    x, y = relay.var("x", shape=(1, 4, 3, 5), dtype=dtype), relay.var("y", shape=(4, 1, 1), dtype=dtype)
    splits.check(relay.cast(relay.maximum(x, y), "float32"), expect={"oc", "h", "w"})


def test_dynamic_shape_stays_whole(splits):
    x = relay.var("x", shape=(relay.Any(), 4))
    _, graph = splits.prepare(relay.nn.relu(x))
    assert graph.kernels[0].axes == () and graph.kernels[0].reason == "its shape is dynamic"


def test_unknown_operator_stays_whole(splits):
    x, y = relay.var("x", shape=(1, 4, 8, 8)), relay.var("y", shape=(1, 2, 8, 8))
    _, graph = splits.prepare(relay.image.grid_sample(x, y))
    assert graph.kernels[0].reason == "no split rule for operator image.grid_sample"


def test_every_name_is_an_operator_of_tvm():
    known = set(tvm.ir.Op.list_op_names())
    assert set(UNARY) | set(BROADCAST) <= known
