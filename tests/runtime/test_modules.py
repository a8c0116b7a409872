"""Modules: the format of stock TVM in both directions, the VM, imports, and life time."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relay

from tests.runtime import device_checks, process
from tvm_coexec.opencl import runtime

pytestmark = pytest.mark.opencl

# The model makes it a GPU's code: that of CPU cores our schedules would change (see schedules/indices.py).
EXPORT = """
import sys, tvm
from tvm import te
if {with_runtime}:
    import tvm_coexec
a = te.placeholder((64,), name="a")
s = te.var("s", dtype="int16")
b = te.compute((64,), lambda i: a[i] + s.astype("float32"), name="b")
schedule = te.create_schedule(b.op)
schedule[b].bind(b.op.axis[0], te.thread_axis("threadIdx.x"))
f = tvm.build(schedule, [a, s, b], tvm.target.Target("opencl -model=gpu", host="llvm"), name="plus")
f.export_library({path!r})
report(tvm.get_global_func("device_api.opencl", allow_missing=True) is not None)
"""


def blob(path: Path) -> bytes:
    """Return the bytes of the modules that export_library has packed into a library."""
    symbol = ctypes.CDLL(str(path))
    start = ctypes.addressof(ctypes.c_char.in_dll(symbol, "__tvm_dev_mblob"))
    return ctypes.string_at(start + 8, ctypes.c_uint64.from_address(start).value)


def test_exported_modules_are_those_of_stock_tvm_byte_for_byte(tmp_path: Path) -> None:
    stock, ours = tmp_path / "stock.so", tmp_path / "ours.so"
    # TVM's own source module (a TVM without any OpenCL runtime writes it in the format of the OpenCL runtime)
    assert process.run(EXPORT.format(with_runtime=False, path=str(stock))) is False
    assert process.run(EXPORT.format(with_runtime=True, path=str(ours))) is True
    assert blob(stock) == blob(ours) and b"plus_kernel" in blob(ours)

    f = tvm.runtime.load_module(str(stock))["plus"]
    a = tvm.nd.array(np.arange(64, dtype="float32"), tvm.opencl(0))
    f(a, -3, a)
    np.testing.assert_array_equal(a.numpy(), np.arange(64, dtype="float32") - 3)


def test_a_cut_off_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    process.run(EXPORT.format(with_runtime=True, path=str(path)))
    data, whole = path.read_bytes(), blob(path)
    at = data.index(whole)
    source = data.index(b"// Function: plus_kernel", at)
    damaged = tmp_path / "damaged.so"
    # The length of the source (8 bytes before it) becomes absurd.
    damaged.write_bytes(data[: source - 8] + (1 << 40).to_bytes(8, "little") + data[source:])
    with pytest.raises(tvm.TVMError) as info:
        tvm.runtime.load_module(str(damaged))
    assert "module's data is damaged or of another version of TVM: export the model again" in str(info.value)
    damaged.write_bytes(data[: source - 8] + (1 << 20).to_bytes(8, "little") + data[source:])
    with pytest.raises(tvm.TVMError) as info:
        tvm.runtime.load_module(str(damaged))
    assert "module's data is cut off: export the model again" in str(info.value)


def test_relay_vm() -> None:
    mod, params = device_checks.conv_net()
    x = device_checks.random(1, 8, 14, 14)
    outs = []
    for target, dev in (("llvm", tvm.cpu()), (tvm.target.Target("opencl", host="llvm"), tvm.opencl(0))):
        with tvm.transform.PassContext(opt_level=3):
            exe = relay.vm.compile(mod, target, params=params)
        vm = tvm.runtime.vm.VirtualMachine(exe, dev)
        outs.append(vm.run(tvm.nd.array(x, dev)).numpy())
    np.testing.assert_allclose(outs[1], outs[0], rtol=1e-4, atol=1e-6)


def test_functions_keep_their_module_alive() -> None:
    source = "__kernel void k(__global float* a) { a[0] += 1; }"
    f = runtime.source_module(source, "k", ["handle"])["k"]
    gc.collect()
    a = tvm.nd.array(np.zeros(1, "float32"), tvm.opencl(0))
    f(a, 1, 1)
    assert a.numpy()[0] == 1


def test_modules_import_each_other() -> None:
    """TVM walks through the fields of our module: imports, and functions found through them."""
    outer = runtime.source_module("__kernel void k() { }", "k", [])
    inner = runtime.source_module("__kernel void inner(__global float* a) { a[0] = 5; }", "inner", ["handle"])
    outer.import_module(inner)
    assert [m.type_key for m in outer.imported_modules] == ["opencl"]
    assert outer.implements_function("k") and not outer.implements_function("inner")
    assert outer.implements_function("inner", query_imports=True)
    a = tvm.nd.array(np.zeros(1, "float32"), tvm.opencl(0))
    outer.get_function("inner", query_imports=True)(a, 1, 1)
    assert a.numpy()[0] == 5


def test_modules_are_given_back() -> None:
    def rss_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    source = "/* {} */ __kernel void k(__global float* a) {{ a[0] += 1; }}"
    a = tvm.nd.array(np.zeros(1, "float32"), tvm.opencl(0))
    start = 0
    for i in range(300):
        runtime.source_module(source.format("x" * 100_000), "k", ["handle"])["k"]
        if i == 100:
            start = rss_bytes()
    assert rss_bytes() - start < 16 << 20  # 200 rounds of 200 kB
    assert a.numpy()[0] == 0


def test_heterogeneous_build_runs_on_both_devices() -> None:
    on = relay.annotation.on_device
    cpu, gpu = tvm.cpu(), tvm.opencl(0)
    x = relay.var("x", shape=(1, 64))
    w = relay.const(device_checks.random(32, 64) * 0.1)
    y = on(relay.nn.relu(on(relay.nn.dense(relay.device_copy(x, cpu, gpu), w), gpu)), gpu)
    body = on(relay.nn.softmax(relay.device_copy(y, gpu, cpu)), cpu)
    mod = tvm.IRModule.from_expr(relay.Function([x], body))
    targets = [tvm.target.Target("llvm"), tvm.target.Target("opencl", host="llvm")]
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(mod, targets)
    g = tvm.contrib.graph_executor.GraphModule(lib["default"](cpu, gpu))
    value = device_checks.random(1, 64)
    g.set_input("x", value)
    g.run()
    z = np.maximum(value @ (device_checks.random(32, 64) * 0.1).T, 0)
    expected = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    np.testing.assert_allclose(g.get_output(0).numpy(), expected, rtol=1e-5)
