"""Building, exporting and running on both devices, against the unsplit model."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor

import tvm_coexec
from tests import models
from tests.measuring.meters import quick
from tvm_coexec import CoExecError
from tvm_coexec.measuring import choose_costs

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


@pytest.fixture(scope="module")
def devices():
    return tvm.cpu(0), tvm.opencl(0)


@pytest.mark.parametrize("axis", ["oc", "h", "ic", "auto"])
@pytest.mark.parametrize("ratio", [0, 0.3, 0.5, 0.7, 1])
def test_residual_net_equals_the_unsplit_one(ratio, axis, devices):
    mod = models.residual_net()
    inputs = models.input_of(mod)
    lib = tvm_coexec.build(mod, ratio=ratio, axis=axis)
    models.assert_same(models.run(lib, inputs, devices), models.reference(mod, inputs))


def test_auto_measures_here_and_is_right(devices, tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(choose_costs, "measure", functools.partial(choose_costs.measure, make_meter=quick))
    mod = models.fire_net()
    inputs = models.input_of(mod)
    split = tvm_coexec.partition_for_coexec(mod, profile="measure")
    assert "measured here" in tvm_coexec.plan_of(split).costs
    assert len(list((tmp_path / "profiles").glob("*.json"))) == 1
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(split, target=tvm_coexec.targets())
    models.assert_same(models.run(lib, inputs, devices), models.reference(mod, inputs))


def test_exported_library_runs_in_stock_tvm(devices, tmp_path):
    mod = models.fire_net()
    inputs = models.input_of(mod)
    path = str(tmp_path / "net.so")
    tvm_coexec.build(mod, ratio=0.5).export_library(path)
    lib = tvm.runtime.load_module(path)
    module = graph_executor.GraphModule(lib["default"](*devices))
    module.set_input(**inputs)
    module.run()
    models.assert_same([module.get_output(0).numpy()], models.reference(mod, inputs))


def test_create_finds_the_devices(devices, tmp_path):
    mod = models.fire_net()
    inputs = models.input_of(mod)
    path = str(tmp_path / "net.so")
    built = tvm_coexec.build(mod, ratio=0.5)
    built.export_library(path)
    for lib in (built, tvm.runtime.load_module(path)):
        for given in (None, devices, [devices[1], devices[0]]):
            module = tvm_coexec.create(lib, given)
            module.set_input(**inputs)
            module.run()
            models.assert_same([module.get_output(0).numpy()], models.reference(mod, inputs))


def test_create_names_the_missing_device(devices):
    lib = tvm_coexec.build(models.fire_net(), ratio=0.5)
    with pytest.raises(CoExecError, match="the module also needs a device of type opencl"):
        tvm_coexec.create(lib, [tvm.cpu(0)])
    with pytest.raises(CoExecError, match=r"needs device opencl\(7\), which is not available"):
        tvm_coexec.create(lib, [tvm.cpu(0), tvm.opencl(7)])
    with pytest.raises(CoExecError, match="not a graph executor factory"):
        tvm_coexec.create(built_for_nothing())


def built_for_nothing() -> tvm.runtime.Module:
    """A module without a graph."""
    a = tvm.te.placeholder((4,), name="a")
    b = tvm.te.compute((4,), lambda i: a[i] + 1.0, name="b")
    return tvm.build(tvm.te.create_prim_func([a, b]), target="llvm")


def test_parameters_may_come_apart_from_the_module(devices):
    rng = np.random.default_rng(0)
    x, w = relay.var("x", shape=(1, 8, 12, 12)), relay.var("w", shape=(16, 8, 3, 3))
    y = relay.nn.conv2d(x, w, channels=16, kernel_size=(3, 3), padding=(1, 1))
    mod = tvm.IRModule.from_expr(relay.Function([x, w], y))
    params = {"w": tvm.nd.array(rng.standard_normal((16, 8, 3, 3)).astype("float32"))}
    inputs = {"x": rng.standard_normal((1, 8, 12, 12)).astype("float32")}
    want = models.reference(mod, {**inputs, "w": params["w"].numpy()})
    for axis in ("oc", "h", "ic"):
        bound = tvm_coexec.build(mod, params, ratio=0.5, axis=axis)
        models.assert_same(models.run(bound, inputs, devices), want)
        free = tvm_coexec.build(mod, ratio=0.5, axis=axis)  # the weight stays an input, sliced at run time
        models.assert_same(models.run(free, {**inputs, "w": params["w"].numpy()}, devices), want)


def test_several_outputs_and_inputs(devices):
    rng = np.random.default_rng(4)
    x, z = relay.var("x", shape=(2, 8, 15, 15)), relay.var("z", shape=(2, 12, 15, 15))
    a = models.conv(rng, x, 8, 12)
    b = relay.add(models.conv(rng, a, 12, 12, relu=False), z)
    parts = relay.split(b, 3, axis=1)
    mod = tvm.IRModule.from_expr(relay.Function([x, z], relay.Tuple([a, parts[2], relay.nn.max_pool2d(b, (2, 2)), x])))
    inputs = models.input_of(mod)
    want = models.reference(mod, inputs)
    for ratio in (0.5, 1):
        for axis in ("h", "oc", "batch"):
            lib = tvm_coexec.build(mod, ratio=ratio, axis=axis)
            models.assert_same(models.run(lib, inputs, devices), want)


def test_runs_again_with_other_inputs(devices):
    mod = models.residual_net()
    module = tvm_coexec.create(tvm_coexec.build(mod, ratio=0.5, axis="h"))
    for seed in range(3):
        inputs = models.input_of(mod, seed)
        module.set_input(**inputs)
        module.run()
        models.assert_same([module.get_output(0).numpy()], models.reference(mod, inputs))


def test_control_flow_free_whole_model_builds_for_both_targets(devices):
    """A model with nothing to split is built for the CPU and runs all the same."""
    x = relay.var("x", shape=(2, 5))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.softmax(relay.exp(x))))
    inputs = models.input_of(mod)
    lib = tvm_coexec.build(mod, ratio=0.5)
    models.assert_same(models.run(lib, inputs, devices), models.reference(mod, inputs))


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_other_types(dtype, devices):
    if dtype == "float16" and not tvm_coexec.opencl.runtime.devices()[0].fp16:
        with pytest.raises(tvm.TVMError, match=r"[Hh]alf"):  # pocl's CPU devices have none; the message says so
            check_type(dtype, devices)
    else:
        check_type(dtype, devices)


def check_type(dtype, devices):
    rng = np.random.default_rng(5)
    x = relay.var("x", shape=(1, 8, 12, 12), dtype=dtype)
    values = rng.integers(-3, 4, (16, 8, 3, 3)) if dtype == "int8" else rng.standard_normal((16, 8, 3, 3))
    out = {"out_dtype": "int32"} if dtype == "int8" else {}
    w = relay.const(values.astype(dtype))
    y = relay.nn.relu(relay.nn.conv2d(x, w, channels=16, kernel_size=(3, 3), padding=(1, 1), **out))
    mod = tvm.IRModule.from_expr(relay.Function([x], y))
    data = rng.integers(-3, 4, (1, 8, 12, 12)) if dtype == "int8" else rng.standard_normal((1, 8, 12, 12))
    inputs = {"x": data.astype(dtype)}
    want = models.reference(mod, inputs)
    for axis in ("oc", "h", "ic"):
        lib = tvm_coexec.build(mod, ratio=0.5, axis=axis)
        models.assert_same(models.run(lib, inputs, devices), want, 2e-2 if dtype == "float16" else 0.0)
