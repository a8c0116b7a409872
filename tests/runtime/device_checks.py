"""What must hold on one OpenCL device in every memory mode; test_memory_modes.py runs it in one process per mode.

A check is a function ``check_<name>(dev)`` that raises if something is wrong.
"""

from __future__ import annotations

import ctypes
import gc
import traceback
from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor, utils

from tvm_coexec.core.errors import one_line
from tvm_coexec.opencl import runtime

ADD = """
__kernel void add(__global float* a, __global float* b, __global float* c, float s) {
  int i = get_global_id(0);
  c[i] = a[i] + b[i] * s;
}
"""
# Long enough (a tenth of a second) for the host to do something meanwhile; the result tells if `a` was changed early.
SLOW = """
__kernel void slow(__global float* a, __global float* out, int rounds) {
  int i = get_global_id(0);
  float x = 0.0f;
  for (int r = 0; r < rounds; ++r) { x = x * 0.5f + sin(x); }
  out[i] = a[i] + (x > 100.0f ? 1.0f : 0.0f);
}
"""
ROUNDS = 1_000_000
_cache: dict[str, tvm.runtime.Module] = {}


def kernel(name: str) -> Callable[..., None]:
    """Return one of the kernels above."""
    if name not in _cache:
        source, types = {
            "add": (ADD, ["handle", "handle", "handle", "float32"]),
            "slow": (SLOW, ["handle", "handle", "int32"]),
        }[name]
        _cache[name] = runtime.source_module(source, name, types)
    return _cache[name][name]


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


def message(f: Callable[[], object]) -> str:
    """Return the text of the error that f must raise."""
    with pytest.raises(Exception, match=r"\S") as info:
        f()
    return one_line(info.value, 1 << 20)


def check_copies_keep_every_byte(dev: tvm.runtime.Device) -> None:
    for dtype in ("float32", "float16", "int8", "uint16", "int64", "float64", "bool"):
        for n in (1, 3, 1000, 300_001):
            values = (np.arange(n) % 2 == 0) if dtype == "bool" else (np.arange(n) % 101).astype(dtype)
            there = tvm.nd.array(values, dev)
            again = tvm.nd.empty(values.shape, dtype, dev)
            there.copyto(again)  # within the device
            np.testing.assert_array_equal(there.numpy(), values)
            np.testing.assert_array_equal(again.numpy(), values)


def check_empty_and_scalar_arrays(dev: tvm.runtime.Device) -> None:
    assert tvm.nd.empty((0, 4), "float32", dev).numpy().shape == (0, 4)
    assert float(tvm.nd.array(np.array(3.5, "float32"), dev).numpy()) == 3.5


def check_views_with_byte_offset(dev: tvm.runtime.Device) -> None:
    values = random(64, 128)
    base = tvm.nd.array(values, dev)
    rows = base._create_view((4, 128), "float32", 10 * 128 * 4)
    np.testing.assert_array_equal(rows.numpy(), values[10:14])
    rows.copyfrom(random(4, 128) + 1)  # host to a view
    values[10:14] = random(4, 128) + 1
    np.testing.assert_array_equal(base.numpy(), values)
    base._create_view((2, 128), "float32", 50 * 128 * 4).copyto(base._create_view((2, 128), "float32", 0))
    values[0:2] = values[50:52]
    np.testing.assert_array_equal(base.numpy(), values)
    odd = base._create_view((5,), "float32", 4)  # not aligned to anything
    np.testing.assert_array_equal(odd.numpy(), values.reshape(-1)[1:6])


def check_copy_over_the_end_is_refused(dev: tvm.runtime.Device) -> None:
    base = tvm.nd.array(random(16), dev)
    view = base._create_view((16,), "float32", 0)
    far = ctypes.cast(view.handle, ctypes.POINTER(type(view.handle.contents))).contents
    far.byte_offset = 32
    assert "reaches over the end" in message(view.numpy)


def check_strided_arrays_are_refused(dev: tvm.runtime.Device) -> None:
    values = tvm.nd.array(random(4, 6))
    there = tvm.nd.array(random(4, 6), dev)
    tensor = there.handle.contents
    strides = (ctypes.c_int64 * 2)(1, 4)
    tensor.strides = ctypes.cast(strides, type(tensor.strides))
    copy = tvm._ffi.base._LIB.TVMDeviceCopyDataFromTo
    assert copy(there.handle, values.handle, None) != 0
    text = tvm._ffi.base.py_str(tvm._ffi.base._LIB.TVMGetLastError())
    assert "not contiguous (shape (4, 6), strides (1, 4))" in text
    strides[0], strides[1] = 6, 1  # what a compact array has
    assert copy(there.handle, values.handle, None) == 0
    tensor.strides = None
    np.testing.assert_array_equal(there.numpy(), values.numpy())


def check_kernels_see_uploads_and_downloads_see_kernels(dev: tvm.runtime.Device) -> None:
    n = 4096
    a, b, c = (tvm.nd.array(random(n) + k, dev) for k in range(3))
    x, y = a.numpy(), b.numpy()
    for step in range(20):
        kernel("add")(a, b, c, 0.5, n // 64, 64)
        np.testing.assert_array_equal(c.numpy(), x + y * np.float32(0.5))
        x = random(n) * step
        a.copyfrom(x)


def check_kernel_arguments_with_byte_offset(dev: tvm.runtime.Device) -> None:
    n = 1024
    values = random(4 * n)
    base, out = tvm.nd.array(values, dev), tvm.nd.array(np.zeros(n, "float32"), dev)
    first, third = base._create_view((n,), "float32", 0), base._create_view((n,), "float32", 2 * n * 4)
    kernel("add")(first, third, out, 2.0, n // 64, 64)
    np.testing.assert_array_equal(out.numpy(), values[:n] + values[2 * n : 3 * n] * 2)
    kernel("add")(first, out, third, 1.0, n // 64, 64)  # written through a view
    np.testing.assert_array_equal(base.numpy()[2 * n : 3 * n], values[:n] + out.numpy())
    odd = base._create_view((n,), "float32", 4)
    if runtime.devices()[0].memory_mode in ("buffer", "hostptr"):
        assert "CL_MISALIGNED_SUB_BUFFER_OFFSET" in message(lambda: kernel("add")(odd, odd, out, 1.0, n // 64, 64))
    else:
        kernel("add")(odd, odd, out, 1.0, n // 64, 64)
        np.testing.assert_array_equal(out.numpy(), base.numpy()[1 : n + 1] * 2)


def check_launch_returns_before_the_kernel_ends(dev: tvm.runtime.Device) -> None:
    a, out = tvm.nd.array(random(64), dev), tvm.nd.array(np.zeros(64, "float32"), dev)
    kernel("slow")(a, out, 1, 1, 64)  # compiled now
    dev.sync()
    runtime.reset_stats()
    host = tvm.nd.array(random(64) + 1)
    for _ in range(5):  # on a busy machine this thread may sleep for longer than a kernel takes
        kernel("slow")(a, out, ROUNDS, 1, 64)
        # The source of a busy upload is staged: that is how the runtime says that the kernel still runs.
        host.copyto(a)
        if runtime.stats()["uploads_staged"] > 0:
            return
    raise AssertionError("every kernel had ended when its launch returned")


def check_upload_does_not_overtake_a_reader(dev: tvm.runtime.Device) -> None:
    values, later = random(64), tvm.nd.array(random(64) + 5)
    a, out = tvm.nd.array(values, dev), tvm.nd.array(np.zeros(64, "float32"), dev)
    for _ in range(3):
        kernel("slow")(a, out, ROUNDS, 1, 64)
        later.copyto(a)  # comes back at once; the kernel must still see the old values
        later.copyfrom(np.full(64, np.nan, "float32"))  # the source may be changed, too
        np.testing.assert_array_equal(out.numpy(), values)
        np.testing.assert_array_equal(a.numpy(), random(64) + 5)
        later.copyfrom(random(64) + 5)
        a.copyfrom(values)


def check_upload_does_not_overtake_a_writer(dev: tvm.runtime.Device) -> None:
    a, out = tvm.nd.array(random(64), dev), tvm.nd.array(np.zeros(64, "float32"), dev)
    new = tvm.nd.array(random(64) + 9)
    kernel("slow")(a, out, ROUNDS, 1, 64)
    new.copyto(out)
    np.testing.assert_array_equal(out.numpy(), new.numpy())


def check_copies_within_the_device_are_ordered(dev: tvm.runtime.Device) -> None:
    a, b, c = (tvm.nd.array(random(64) * k, dev) for k in (1, 2, 3))
    kernel("slow")(a, b, ROUNDS, 1, 64)
    b.copyto(c)
    kernel("slow")(c, a, ROUNDS, 1, 64)
    np.testing.assert_array_equal(a.numpy(), random(64))
    np.testing.assert_array_equal(c.numpy(), random(64))


def check_streams(dev: tvm.runtime.Device) -> None:
    one, two = dev.create_raw_stream(), dev.create_raw_stream()
    try:
        a, b, c = (tvm.nd.array(random(64) * k, dev) for k in (1, 2, 3))
        dev.set_raw_stream(one)
        kernel("slow")(a, b, ROUNDS, 1, 64)
        dev.set_raw_stream(two)
        kernel("slow")(b, c, ROUNDS, 1, 64)  # ordered by what it reads, though on another stream
        dev.sync(two)
        np.testing.assert_array_equal(c.numpy(), random(64))
        dev.set_raw_stream(one)
        kernel("slow")(a, c, ROUNDS, 1, 64)
        dev.sync()
        kernel("add")(a, a, b, 1.0, 1, 64)
    finally:
        dev.set_raw_stream(ctypes.c_void_p())
        dev.free_raw_stream(one)
        dev.free_raw_stream(two)
    np.testing.assert_array_equal(b.numpy(), random(64) * 2)
    kernel("add")(a, b, c, 0.0, 1, 64)  # on the default one again
    np.testing.assert_array_equal(c.numpy(), random(64))
    assert "not one that was created" in message(lambda: dev.sync(ctypes.c_void_p(0x1234)))


def check_host_view(dev: tvm.runtime.Device) -> None:
    a, b = tvm.nd.array(random(64), dev), tvm.nd.array(np.zeros(64, "float32"), dev)
    if runtime.devices()[0].memory_mode == "buffer":
        refused = a
        assert "not visible to the CPU" in message(lambda: runtime.host_view(refused))
        return
    runtime.reset_stats()
    gc.collect()
    live = runtime.stats()["live_bytes"]
    on_host = runtime.host_view(a)
    a.copyto(on_host)
    np.testing.assert_array_equal(on_host.numpy(), random(64))
    for k in range(3):
        on_host.copyfrom(np.full(64, k, "float32"))
        on_host.copyto(a)
        kernel("slow")(a, b, ROUNDS, 1, 64)
        kernel("add")(a, b, a, 1.0, 1, 64)
        a.copyto(on_host)  # waits for the kernels
        np.testing.assert_array_equal(on_host.numpy(), np.full(64, 2 * k, "float32"))
    stats = runtime.stats()
    assert stats["copies_elided"] == 7 and stats["uploads"] == 0 and stats["downloads"] == 0, stats
    del a
    np.testing.assert_array_equal(on_host.numpy(), np.full(64, 4, "float32"))  # keeps the memory alive
    assert runtime.stats()["live_bytes"] == live
    del on_host
    assert runtime.stats()["live_bytes"] == live - 64 * 4


def check_workspace_memory(dev: tvm.runtime.Device) -> None:
    lib = tvm._ffi.base._LIB
    lib.TVMBackendAllocWorkspace.restype = ctypes.c_void_p
    args = (ctypes.c_int(dev.device_type), ctypes.c_int(dev.device_id))

    def take(n: int) -> int:
        return lib.TVMBackendAllocWorkspace(*args, ctypes.c_uint64(n), 2, 32)

    first, second = take(1000), take(1000)
    assert first and second and first != second
    assert lib.TVMBackendFreeWorkspace(*args, ctypes.c_void_p(first)) == 0
    assert take(900) == first  # kept and used again
    assert lib.TVMBackendFreeWorkspace(*args, ctypes.c_void_p(first)) == 0
    assert lib.TVMBackendFreeWorkspace(*args, ctypes.c_void_p(second)) == 0


def check_too_large_an_allocation(dev: tvm.runtime.Device) -> None:
    text = message(lambda: tvm.nd.empty((1 << 50,), "float32", dev))
    assert f"allocating {1 << 52} bytes on opencl(0)" in text and "CL_" in text, text


def check_memory_scopes(dev: tvm.runtime.Device) -> None:
    assert tvm.nd.empty((4,), "float32", dev, "global").shape == (4,)
    assert "'global.texture' is not supported" in message(lambda: tvm.nd.empty((4,), "float32", dev, "global.texture"))


def check_host_memory_as_argument_is_refused(dev: tvm.runtime.Device) -> None:
    a = tvm.nd.array(random(64), dev)
    text = message(lambda: kernel("add")(a, tvm.nd.array(random(64)), a, 1.0, 1, 64))
    assert text == "argument 1 of kernel 'add' is not memory of an OpenCL device: copy the array there first", text


def check_wrong_number_of_values(dev: tvm.runtime.Device) -> None:
    a = tvm.nd.array(random(64), dev)
    assert "takes 4 arguments and 2 grid sizes, but was called with 3 values" in message(lambda: kernel("add")(a, a, a))


def check_too_large_a_work_group(dev: tvm.runtime.Device) -> None:
    a = tvm.nd.array(random(1 << 16), dev)
    text = message(lambda: kernel("add")(a, a, a, 1.0, 1, 1 << 16))
    assert "launching kernel 'add' on opencl(0)" in text and "local size (65536, 1, 1)" in text, text
    assert "CL_INVALID_WORK_GROUP_SIZE" in text or "CL_INVALID_WORK_ITEM_SIZE" in text, text


def check_empty_grid_launches_nothing(dev: tvm.runtime.Device) -> None:
    a = tvm.nd.array(random(64), dev)
    runtime.reset_stats()
    kernel("add")(a, a, a, 1.0, 0, 64)
    assert runtime.stats()["launches"] == 0
    np.testing.assert_array_equal(a.numpy(), random(64))


def conv_net() -> tuple[tvm.IRModule, dict[str, np.ndarray]]:
    x = relay.var("x", shape=(1, 8, 14, 14))
    w, v = relay.var("w", shape=(16, 8, 3, 3)), relay.var("v", shape=(4, 16, 1, 1))
    y = relay.nn.relu(relay.nn.conv2d(x, w, padding=(1, 1), channels=16, kernel_size=(3, 3)))
    y = relay.nn.conv2d(relay.nn.max_pool2d(y, (2, 2), (2, 2)), v, channels=4, kernel_size=(1, 1))
    mod = tvm.IRModule.from_expr(relay.Function([x, w, v], relay.nn.softmax(relay.nn.batch_flatten(y))))
    return mod, {"w": random(16, 8, 3, 3) * 0.1, "v": random(4, 16, 1, 1) * 0.1}


def check_relay_module_in_memory_and_exported(dev: tvm.runtime.Device) -> None:
    mod, params = conv_net()
    x = random(1, 8, 14, 14)

    def run(lib: tvm.runtime.Module, on: tvm.runtime.Device) -> np.ndarray:
        g = graph_executor.GraphModule(lib["default"](on))
        g.set_input("x", x)
        g.run()
        return g.get_output(0).numpy()

    with tvm.transform.PassContext(opt_level=3):
        reference = run(relay.build(mod, "llvm", params=params), tvm.cpu())
        lib = relay.build(mod, tvm.target.Target("opencl", host="llvm"), params=params)
    np.testing.assert_allclose(run(lib, dev), reference, rtol=1e-5, atol=1e-7)
    folder = utils.tempdir()
    path = folder.relpath("lib.so")
    lib.export_library(path)
    loaded = tvm.runtime.load_module(path)
    np.testing.assert_allclose(run(loaded, dev), reference, rtol=1e-5, atol=1e-7)

    def device_module(m: tvm.runtime.Module) -> tvm.runtime.Module:
        if m.type_key == "opencl":
            return m
        return next(d for i in m.imported_modules if (d := device_module(i)) is not None)

    ours, theirs = device_module(lib.get_lib()), device_module(loaded)
    assert ours.get_source() == theirs.get_source() and "__kernel" in ours.get_source()
    assert ours.is_binary_serializable and ours.is_runnable and not ours.is_dso_exportable
    assert tvm.get_global_func("runtime.ModuleGetFormat")(ours) == "cl"


def check_memory_is_given_back(dev: tvm.runtime.Device) -> None:
    def rss_bytes() -> int:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * 4096

    n = 1 << 18
    host, a, b = np.zeros(n, "float32"), tvm.nd.array(random(n), dev), tvm.nd.array(random(n), dev)
    gc.collect()
    live, start = runtime.stats()["live_bytes"], 0
    for i in range(200):
        c = tvm.nd.array(host, dev)
        kernel("add")(a, b, c, 1.0, n // 64, 64)
        c.copyto(tvm.cpu())
        tvm.nd.array(host).copyto(c)
        kernel("add")(c, b, c, 1.0, n // 64, 64)
        tvm.nd.array(host).copyto(c)
        if i == 50:
            dev.sync()
            start = rss_bytes()
    del c
    dev.sync()
    assert runtime.stats()["live_bytes"] == live
    assert rss_bytes() - start < 32 << 20  # 150 rounds of at least 1 MiB each


def check_stats_count(dev: tvm.runtime.Device) -> None:
    a = tvm.nd.array(random(64), dev)
    b = tvm.nd.array(random(64), dev)
    runtime.reset_stats()
    a.copyfrom(random(64))
    kernel("add")(a, a, b, 1.0, 1, 64)
    a.copyto(b)
    b.numpy()
    got = runtime.stats()
    assert (got["uploads"], got["upload_bytes"]) == (1, 256)
    assert (got["downloads"], got["download_bytes"]) == (1, 256)
    assert (got["device_copies"], got["device_copy_bytes"], got["launches"]) == (1, 256, 1)


def names() -> list[str]:
    return [name.removeprefix("check_") for name in globals() if name.startswith("check_")]


def run_all() -> dict[str, str | None]:
    """Return for each check None, or what went wrong."""
    results: dict[str, str | None] = {}
    for name in names():
        try:
            globals()[f"check_{name}"](tvm.opencl(0))
            results[name] = None
        except (Exception, pytest.fail.Exception):
            results[name] = traceback.format_exc()
    return results
