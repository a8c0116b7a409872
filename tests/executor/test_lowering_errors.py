"""A kernel that TVM can't lower: its operators are named, and what to do."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tvm.relay")

import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tvm_coexec import CoExecError
from tvm_coexec.executor.lowering_errors import explain_lowering

pytestmark = pytest.mark.llvm

CPU = tvm.target.Target("llvm")


def harmonics(channels: int = 5, apart: bool = False, dense: bool = False) -> tvm.IRModule:
    """A value and a shifted copy of it, as models of music stack harmonics.

    TVM's concatenation for CPUs is written in its IR, and takes the value from a buffer that is larger than it, since
    the fused shift seems to read beyond its end.
    """
    x = relay.var("x", shape=(1, channels, 31))
    weight = relay.const(np.random.default_rng(1).standard_normal((31, 31)).astype("float32"))
    first = relay.reshape(relay.nn.dense(relay.reshape(x, (-1, 31)), weight), (1, channels, 31)) if dense else x
    y = first * relay.const(2.0) + relay.const(1.0)
    if apart:
        y = relay.annotation.stop_fusion(y)
    shifted = relay.strided_slice(y, [0, 0, 7], [1, channels, 31])
    stacked = relay.concatenate([relay.nn.pad(shifted, [[0, 0], [0, 0], [0, 7]]), y], axis=1)
    return relay.transform.InferType()(
        tvm.IRModule.from_expr(relay.Function([x], relay.nn.relu(relay.transpose(stacked, (0, 2, 1)))))
    )


@pytest.mark.slow
@pytest.mark.parametrize("dense", [False, True], ids=["whole", "divided"])
def test_the_operators_are_named(dense):
    """Also where copies between the devices are kernels in front of it."""
    mod = harmonics(8, dense=dense)
    with pytest.raises(tvm.TVMError), tvm.transform.PassContext(opt_level=3):
        relay.build(mod, "llvm")
    for options in ({"ratio": 0.5}, {"profile": "generic"}):
        with pytest.raises(CoExecError) as err:
            tvm_coexec.build(mod, **options)
        text = str(err.value)
        assert "\n" not in text and text.startswith("TVM can't compile the fused kernel ")
        assert "multiply+add+strided_slice+" in text
        assert (
            "concatenate" in text
            and "for llvm, also without co-execution (Check failed: " in text
            and "stop_fusion" in text
        )


def test_what_the_sentence_says_helps():
    mod = harmonics(apart=True)
    inputs = {"x": np.random.default_rng(0).standard_normal((1, 5, 31)).astype("float32")}
    with tvm.transform.PassContext(opt_level=3):
        lib = tvm_coexec.build(mod, ratio=0.5)
    module = tvm_coexec.create(lib)
    module.run(**inputs)
    y = 2 * inputs["x"] + 1
    shifted = np.concatenate([y[:, :, 7:], np.zeros((1, 5, 7), "float32")], axis=2)
    want = np.maximum(np.concatenate([shifted, y], axis=1).transpose(0, 2, 1), 0)
    models.assert_same([module.get_output(0).numpy()], [want])


def test_other_errors_stay_as_they_are():
    with pytest.raises(tvm.TVMError, match="of another kind"), explain_lowering(CPU):
        raise tvm.TVMError("of another kind")
    with pytest.raises(ValueError, match="no error of TVM"), explain_lowering(CPU):
        raise ValueError("no error of TVM")
    with explain_lowering(CPU), tvm.transform.PassContext(opt_level=3):
        relay.build(models.conv_chain(1), "llvm")
