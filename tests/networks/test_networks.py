"""A thin slice of benchmarks/equality: a real network, co-executed, against onnxruntime; test_demo.py has another."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relay

import tvm_coexec
from tvm_coexec.models import zoo

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow]


@pytest.mark.parametrize(("name", "ratio", "axis"), [("shufflenet", 0.3, "oc")])
def test_equals_onnxruntime(name, ratio, axis):
    model = zoo.load(name)
    inputs = zoo.inputs(model)
    mod, params = relay.frontend.from_onnx(model, {k: v.shape for k, v in inputs.items()})
    lib = tvm_coexec.build(mod, params, ratio=ratio, axis=axis)
    assert len(tvm_coexec.plan_of(lib.ir_mod).chains) >= 2
    module = tvm_coexec.create(lib)
    module.set_input(**inputs)
    module.run()
    want = zoo.reference(model, inputs)[0]
    got = module.get_output(0).numpy()
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
