"""Type relations that are kept find what TVM's own find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import tvm
from tvm import relay
from tvm.ir import Op
from tvm.relay.testing.temp_op_attr import TempOpAttr
from tvm.relay.transform import mixed_precision

from tvm_coexec import hooks
from tvm_coexec.hooks import type_relations

pytestmark = pytest.mark.llvm

nn = relay.nn
MAP, MAP_3D = (1, 16, 20, 18), (1, 16, 7, 9, 8)
# Per operator: what makes a call, and shapes of its inputs.
CALLS: dict[str, tuple[Callable, tuple[tuple[int, ...], ...]]] = {
    "nn.conv1d": (lambda x, w: nn.conv1d(x, w, strides=2), ((1, 16, 20), (8, 16, 3))),
    "nn.conv1d_transpose": (lambda x, w: nn.conv1d_transpose(x, w, strides=(2,)), ((1, 16, 20), (16, 8, 3))),
    "nn.conv2d": (lambda x, w: nn.conv2d(x, w, padding=(1, 0)), (MAP, (8, 16, 3, 3))),
    "nn.conv2d_transpose": (lambda x, w: nn.conv2d_transpose(x, w, strides=(2, 2)), (MAP, (16, 8, 3, 3))),
    "nn.conv3d": (lambda x, w: nn.conv3d(x, w, padding=(1, 1, 1)), (MAP_3D, (8, 16, 3, 3, 3))),
    "nn.conv3d_transpose": (lambda x, w: nn.conv3d_transpose(x, w, strides=(2, 2, 2)), (MAP_3D, (16, 8, 3, 3, 3))),
    "nn.contrib_conv2d_NCHWc": (
        lambda x, w: nn.contrib_conv2d_nchwc(
            x, w, kernel_size=(3, 3), channels=16, data_layout="NCHW8c", kernel_layout="OIHW8i8o"
        ),
        ((1, 2, 20, 18, 8), (2, 2, 3, 3, 8, 8)),
    ),
    "nn.contrib_depthwise_conv2d_NCHWc": (
        lambda x, w: nn.contrib_depthwise_conv2d_nchwc(
            x, w, kernel_size=(3, 3), channels=16, groups=16, data_layout="NCHW8c", kernel_layout="OIHW1i8o"
        ),
        ((1, 2, 20, 18, 8), (2, 1, 3, 3, 1, 8)),
    ),
    "nn.contrib_conv2d_winograd_without_weight_transform": (
        lambda x, w: nn.contrib_conv2d_winograd_without_weight_transform(x, w, 4, kernel_size=(3, 3), channels=8),
        (MAP, (6, 6, 8, 16)),
    ),
    "nn.contrib_conv3d_winograd_without_weight_transform": (
        lambda x, w: nn.contrib_conv3d_winograd_without_weight_transform(
            x, w, 4, kernel_size=(3, 3, 3), channels=8, padding=(1, 1, 1)
        ),
        (MAP_3D, (6, 6, 6, 8, 16)),
    ),
    "nn.contrib_conv2d_gemm_without_weight_transform": (
        lambda x, w: nn.contrib_conv2d_gemm_without_weight_transform(
            x, w, kernel_size=(3, 3), channels=8, data_layout="NHWC", kernel_layout="HWIO"
        ),
        ((1, 20, 18, 16), (2, 9, 4, 16)),
    ),
    "nn.deformable_conv2d": (
        lambda x, o, w: nn.deformable_conv2d(x, o, w, kernel_size=(3, 3), channels=8, padding=(1, 1)),
        (MAP, (1, 18, 20, 18), (8, 16, 3, 3)),
    ),
    "nn.upsampling": (lambda x: nn.upsampling(x, 2, 3), (MAP,)),
    "nn.upsampling3d": (lambda x: nn.upsampling3d(x, 2, 3, 2), (MAP_3D,)),
    "nn.depth_to_space": (lambda x: nn.depth_to_space(x, 2), (MAP,)),
    "nn.space_to_depth": (lambda x: nn.space_to_depth(x, 2), (MAP,)),
    "image.resize1d": (lambda x: relay.image.resize1d(x, (31,)), ((1, 16, 20),)),
    "image.resize2d": (lambda x: relay.image.resize2d(x, (31, 40)), (MAP,)),
    "image.resize3d": (lambda x: relay.image.resize3d(x, (3, 4, 5)), (MAP_3D,)),
    "layout_transform": (lambda x: relay.layout_transform(x, "NCHW", "NCHW8c"), (MAP,)),
}


@contextmanager
def stock(name: str) -> Iterator[None]:
    """TVM's own relation."""
    relation = type_relations._installed[name]
    relation.op.add_type_rel(relation.name)
    try:
        yield
    finally:
        relation.op.add_type_rel(relation.own_name)


@pytest.fixture
def forgotten() -> None:
    """Nothing is known."""
    for relation in type_relations._installed.values():
        relation.forget()


def module(name: str) -> tvm.IRModule:
    make, shapes = CALLS[name]
    inputs = [relay.var(f"x{i}", shape=shape) for i, shape in enumerate(shapes)]
    mod = tvm.IRModule.from_expr(relay.Function(inputs, relay.Tuple([make(*inputs), make(*inputs)])))
    assert mod["main"].body.fields[0].op.name == name
    return mod


def types(mod: tvm.IRModule) -> tvm.ir.Type:
    return relay.transform.InferType()(mod)["main"].body.checked_type


def asked(name: str, monkeypatch) -> list:
    """What TVM's relation is asked from now on."""
    relation, calls = type_relations._installed[name], []
    monkeypatch.setattr(relation, "_infer", lambda *args, f=relation._infer: (calls.append(args), f(*args))[1])
    return calls


@pytest.mark.parametrize("name", CALLS)
def test_types_are_those_of_tvm(name, forgotten, monkeypatch):
    with stock(name):
        wanted = types(module(name))
    calls = asked(name, monkeypatch)
    assert tvm.ir.structural_equal(types(module(name)), wanted)
    assert len(calls) == 2  # once to solve, once to learn
    assert tvm.ir.structural_equal(types(module(name)), wanted)  # other objects with the same contents
    assert tvm.ir.structural_equal(types(relay.transform.InferType()(module(name))), wanted)
    assert len(calls) == 2


def test_all_slow_relations_are_tried():
    tried = {*CALLS, "qnn.conv2d", "qnn.conv2d_transpose"}
    assert set(type_relations._installed) == set(type_relations.OPERATORS) == tried


@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose"])
def test_quantised_convolutions(name, forgotten, monkeypatch):
    calls = asked(f"qnn.{name}", monkeypatch)
    x, w = relay.var("x", shape=MAP, dtype="uint8"), relay.var("w", shape=(16, 16, 3, 3), dtype="int8")
    scale, zero = relay.const(1.0), relay.const(0)
    make = getattr(relay.qnn.op, name)
    mod = tvm.IRModule.from_expr(make(x, w, zero, zero, scale, scale, kernel_size=(3, 3), channels=16))
    height, width = (18, 16) if name == "conv2d" else (22, 20)
    for _ in range(2):
        assert types(mod) == relay.TensorType((1, 16, height, width), "int32")
    assert len(calls) == 2


def test_types_and_attributes_that_differ_are_told_apart(forgotten):
    x, w = relay.var("x", shape=MAP), relay.var("w", shape=(8, 16, 3, 3))
    call = nn.conv2d(x, w)
    assert types(tvm.IRModule.from_expr(call)) == relay.TensorType((1, 8, 18, 16))
    for shape, dtype, wanted in (((2, 16, 20, 18), "float32", (2, 8, 18, 16)), (MAP, "float16", (1, 8, 18, 16))):
        other = relay.Call(
            call.op,
            [relay.var("x", shape=shape, dtype=dtype), relay.var("w", shape=(8, 16, 3, 3), dtype=dtype)],
            call.attrs,
        )
        assert types(tvm.IRModule.from_expr(other)) == relay.TensorType(wanted, dtype)
    assert types(tvm.IRModule.from_expr(nn.conv2d(x, w, strides=(2, 2)))) == relay.TensorType((1, 8, 9, 8))
    assert types(tvm.IRModule.from_expr(nn.conv2d(x, w, out_dtype="float64"))).dtype == "float64"


def test_attributes_that_a_pass_changes_in_place(forgotten):
    """ToMixedPrecision writes the type of sums into the attributes; in some versions into those that the call has."""

    def made() -> tvm.IRModule:
        x, w = (relay.var(n, shape=s, dtype="float16") for n, s in (("x", MAP), ("w", (8, 16, 3, 3))))
        mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([x, w], nn.conv2d(x, w))))
        always = lambda call, mixed: [mixed_precision.MIXED_PRECISION_ALWAYS, "float32", mixed]  # noqa: E731
        with TempOpAttr("nn.conv2d", "FTVMMixedPrecisionConversionType", always):
            return relay.transform.ToMixedPrecision("float16")(mod)

    with stock("nn.conv2d"):
        wanted = made()
    assert 'out_dtype="float32"' in wanted.astext() and "cast" in wanted.astext()
    assert tvm.ir.structural_equal(made(), wanted)


def test_a_weight_without_a_type_gets_one(forgotten):
    for _ in range(2):
        x, w = relay.var("x", shape=MAP), relay.var("w")
        mod = tvm.IRModule.from_expr(relay.Function([x, w], nn.conv2d(x, w, kernel_size=(3, 3), channels=8)))
        assert relay.transform.InferType()(mod)["main"].params[1].checked_type == relay.TensorType((8, 16, 3, 3))


def test_open_sizes(forgotten):
    x, w = relay.var("x", shape=(relay.Any(), 16, 20, 18)), relay.var("w", shape=(8, 16, 3, 3))
    for _ in range(2):
        found = types(tvm.IRModule.from_expr(relay.Function([x, w], nn.conv2d(x, w))))
        assert isinstance(found.shape[0], tvm.tir.Any) and [int(n) for n in found.shape[1:]] == [8, 18, 16]


def test_wrong_shapes_are_refused_in_the_same_words(forgotten, capfd):
    def message() -> str:
        x, w = relay.var("x", shape=MAP), relay.var("w", shape=(8, 4, 3, 3))
        with pytest.raises(tvm.TVMError):
            types(tvm.IRModule.from_expr(relay.Function([x, w], nn.conv2d(x, w, kernel_size=(3, 3), channels=8))))
        return capfd.readouterr().err

    types(module("nn.conv2d"))
    with stock("nn.conv2d"):
        wanted = message()
    assert "16" in wanted and "4" in wanted
    assert message() == wanted


def test_what_is_kept_is_limited(forgotten, monkeypatch):
    monkeypatch.setattr(type_relations, "MOST", 3)
    relation = type_relations._installed["nn.conv2d"]
    for n in range(1, 9):
        x, w = relay.var("x", shape=(n, *MAP[1:])), relay.var("w", shape=(8, 16, 3, 3))
        assert types(tvm.IRModule.from_expr(nn.conv2d(x, w))) == relay.TensorType((n, 8, 18, 16))
        assert 1 <= sum(map(len, relation._by_hash.values())) <= 3 and 1 <= len(relation._by_address) <= 3


def test_passes_are_not_counted_twice(forgotten):
    """Learning is no pass of the user's."""
    timing = tvm.ir.instrument.PassTimingInstrument()
    with tvm.transform.PassContext(instruments=[timing]):
        relay.transform.InferType()(module("nn.conv2d"))
        assert timing.render().count("InferType") == 1


def test_installing_again_changes_nothing():
    before = dict(type_relations._installed)
    hooks.install("relations")
    assert type_relations._installed == before
    constraint = Op.get("nn.conv2d").op_type.type_constraints[0]
    assert constraint.func.name == "tvm.relay.type_relation.tvm_coexec.nn.conv2d"
