"""Attributes of segments are read as they were written."""

from __future__ import annotations

import pytest

tvm = pytest.importorskip("tvm")
relay = pytest.importorskip("tvm.relay")

from tvm_coexec.core.kernel_graph import REDUCED  # noqa: E402
from tvm_coexec.relay_passes.attrs import CHAIN, JOIN, SHARE, WHOLE, SegmentAttrs, device_of  # noqa: E402

pytestmark = pytest.mark.llvm

CHAIN_ATTRS = SegmentAttrs(
    3, CHAIN, "split", (4, 5, 7), axis="h", dim=2, cut=6, extent=13, result_dims=(2, 3), result_cuts=(6, 0)
)


def function(attrs: SegmentAttrs) -> relay.Function:
    x = relay.var("x", shape=(1, 4))
    func = relay.Function([x], relay.nn.relu(x), None, [], attrs.to_attrs())
    return relay.transform.InferType()(tvm.IRModule({"f": func, "main": relay.Function([], relay.const(0))}))["f"]


@pytest.mark.parametrize(
    "attrs",
    [
        SegmentAttrs(0, WHOLE, "gpu", (0,)),
        CHAIN_ATTRS,
        CHAIN_ATTRS.of_share("cpu"),
        CHAIN_ATTRS.of_join(7),
        SegmentAttrs(1, CHAIN, "split", (2,), "ic", REDUCED, 8, 16, (REDUCED,), (8,)),
    ],
)
def test_round_trip(attrs):
    made = function(attrs)
    assert SegmentAttrs.read(made) == attrs
    assert device_of(made) == attrs.device
    # and through TVM's own JSON
    assert SegmentAttrs.read(tvm.ir.load_json(tvm.ir.save_json(made))) == attrs


def test_roles():
    share, join = CHAIN_ATTRS.of_share("gpu"), CHAIN_ATTRS.of_join(7)
    assert (share.role, share.device, share.cut, share.result_cuts) == (SHARE, "gpu", 6, ())
    assert (join.role, join.device, join.kernels, join.extent) == (JOIN, "cpu", (7,), 0)
    assert not CHAIN_ATTRS.reduces and not join.reduces


def test_other_functions_have_none():
    x = relay.var("x", shape=(1,))
    assert SegmentAttrs.read(relay.Function([x], x)) is None
    assert SegmentAttrs.read(relay.Function([x], x).with_attr("Primitive", 1)) is None
    assert device_of(relay.op.get("add")) is None
