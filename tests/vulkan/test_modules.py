"""Modules for Vulkan: compiled, exported, loaded and run by TVM's own executor, and by hand."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor

import tvm_coexec
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import runtime as opencl
from tvm_coexec.vulkan import load, runtime

pytestmark = [pytest.mark.llvm, pytest.mark.vulkan]

HEAD = """@group(0) @binding(0) var<storage, read> a : array<f32>;
@group(0) @binding(1) var<storage, read_write> b : array<f32>;

struct PODArgs {
  factor: f32,
  packGridDimX: u32
}
@group(0) @binding(2) var<uniform> podArgs : PODArgs;

@compute @workgroup_size(4, 1, 1)
fn scale(@builtin(workgroup_id) blockIdx : vec3<u32>, @builtin(num_workgroups) gridDim : vec3<u32>,
         @builtin(local_invocation_id) threadIdx : vec3<u32>) {
  let g = blockIdx.z * gridDim.x + blockIdx.x;
  if (g > podArgs.packGridDimX) { return; }
"""
SCALE = HEAD + "  let i = g * 4u + threadIdx.x;\n  b[i] = a[i] * podArgs.factor;\n}\n"


def scale_module(source: str = SCALE) -> tvm.runtime.Module:
    return load.call("source_module", source, "scale", "handle handle float32", "blockIdx.x threadIdx.x")


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_devices_say_what_schedules_need() -> None:
    first = runtime.devices()[0]
    assert first.memory_mode == "buffer" and first.storage_layout == "copied"
    assert first.max_threads >= 256 and first.max_buffers >= 8 and first.subgroup >= 1
    device = tvm.vulkan(0)
    assert device.exist and device.device_name == first.name and device.max_threads_per_block == first.max_threads
    assert not tvm.vulkan(31).exist


@pytest.mark.parametrize("n", [1, 3, 4, 1001])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "int64"])
def test_arrays_of_any_size_go_there_and_back(n: int, dtype: str) -> None:
    values = np.random.randint(0, 100, n).astype(dtype)
    array = tvm.nd.array(values, tvm.vulkan(0))
    np.testing.assert_array_equal(array.numpy(), values)
    other = tvm.nd.empty((n,), dtype, tvm.vulkan(0))
    array.copyto(other)
    np.testing.assert_array_equal(other.copyto(tvm.cpu()).numpy(), values)


def test_more_work_groups_than_a_dimension_takes() -> None:
    n = 4 * 70001
    a = np.random.rand(n).astype("float32")
    there, back = tvm.nd.array(a, tvm.vulkan(0)), tvm.nd.array(np.zeros(n, "float32"), tvm.vulkan(0))
    scale_module()["scale"](there, back, 3.0, n // 4, 4)
    np.testing.assert_array_equal(back.numpy(), a * np.float32(3))


def test_a_shader_that_does_not_compile_is_one_line_and_the_next_works() -> None:
    a = tvm.nd.array(np.ones(4, "float32"), tvm.vulkan(0))
    b = tvm.nd.empty((4,), "float32", tvm.vulkan(0))
    broken = scale_module(SCALE.replace("podArgs.factor;", "nothing_of_this_name;"))
    with pytest.raises(tvm.TVMError, match="building the kernel 'scale' for vulkan") as failure:
        broken["scale"](a, b, 2.0, 1, 4)
    assert "nothing_of_this_name" in str(failure.value)
    scale_module()["scale"](a, b, 2.0, 1, 4)
    np.testing.assert_array_equal(b.numpy(), np.full(4, 2, "float32"))


def test_out_of_memory_is_one_line_and_the_next_works() -> None:
    with pytest.raises(tvm.TVMError, match=r"allocating \d+ bytes on vulkan\(0\).*VULKAN_OUT_OF_MEMORY"):
        tvm.nd.empty((1 << 42,), "float32", tvm.vulkan(0))
    assert tvm.nd.array(np.ones(4, "float32"), tvm.vulkan(0)).numpy().sum() == 4


def test_a_lost_device_is_one_line_and_the_next_works() -> None:
    a = tvm.nd.array(np.ones(4, "float32"), tvm.vulkan(0))
    b = tvm.nd.empty((4,), "float32", tvm.vulkan(0))
    opencl.inject_fault("lost", 1, 1)
    try:
        with pytest.raises(tvm.TVMError, match=r"VULKAN_DEVICE_LOST \(-20002\)"):
            scale_module()["scale"](a, b, 2.0, 1, 4)
    finally:
        opencl.clear_faults()
    scale_module()["scale"](a, b, 2.0, 1, 4)
    np.testing.assert_array_equal(b.numpy(), np.full(4, 2, "float32"))


def compile_and_use(connection: Connection) -> None:
    """Compile in a forked process, then use the device there."""
    x = relay.var("x", shape=(4,))
    relay.build(tvm.IRModule.from_expr(relay.Function([x], relay.exp(x))), tvm_coexec.targets("llvm", "vulkan")[1])
    try:
        tvm.nd.array(np.ones(4, "float32"), tvm.vulkan(0))
    except tvm.TVMError as err:
        connection.send(str(err))


def test_a_forked_process_can_compile_but_not_use_the_device() -> None:
    assert tvm.nd.array(np.ones(4, "float32"), tvm.vulkan(0)).numpy().sum() == 4
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=compile_and_use, args=(there,), daemon=True)
    child.start()
    answered = here.poll(60)
    child.kill()
    assert answered and "forked from one that had opened the driver" in here.recv()


def network() -> tuple[tvm.IRModule, dict[str, np.ndarray], np.ndarray]:
    """A small network of many kinds of kernels, its weights, and an input."""
    shapes = {"w": (10, 6, 3, 3), "v": (10, 1, 3, 3), "b": (10,)}
    x = relay.var("x", shape=(1, 6, 17, 13))
    w, v, b = (relay.var(name, shape=shape) for name, shape in shapes.items())
    y = relay.nn.relu(relay.nn.bias_add(relay.nn.conv2d(x, w, padding=(1, 1), channels=10, kernel_size=(3, 3)), b))
    y = relay.nn.conv2d(y, v, groups=10, channels=10, kernel_size=(3, 3), padding=(1, 1), strides=(2, 2))
    y = relay.concatenate([relay.tanh(y), relay.erf(y), relay.nn.max_pool2d(y, (3, 3), padding=(1, 1))], axis=1)
    y = relay.nn.softmax(relay.nn.batch_flatten(relay.nn.global_avg_pool2d(y)))
    random = np.random.RandomState(3)
    params = {name: random.randn(*shape).astype("float32") for name, shape in shapes.items()}
    return tvm.IRModule.from_expr(relay.Function([x, w, v, b], y)), params, random.randn(1, 6, 17, 13).astype("float32")


def run(lib: object, devices: list[tvm.runtime.Device], x: np.ndarray) -> np.ndarray:
    module = graph_executor.GraphModule(lib["default"](*devices))
    module.set_input("x", x)
    module.run()
    return module.get_output(0).numpy()


@pytest.mark.parametrize("name", ["vulkan", "webgpu"])
def test_an_exported_module_runs_in_tvms_executor(name: str, tmp_path: Path) -> None:
    mod, params, x = network()
    wanted = run(relay.build(mod, "llvm", params=params), [tvm.cpu()], x)
    gpu = tvm_coexec.targets("llvm", name)[1]
    assert gpu.kind.name == "vulkan"
    lib = relay.build(mod, gpu, params=params)
    lib.export_library(str(tmp_path / "net.so"))
    loaded = tvm.runtime.load_module(str(tmp_path / "net.so"))
    assert relative_error(run(loaded, [tvm.vulkan(0)], x), wanted) <= 1e-4
    assert relative_error(run(lib, [tvm.vulkan(0)], x), wanted) <= 1e-4


@pytest.mark.parametrize("axis", ["oc", "h"])
def test_a_split_network_equals_the_whole(axis: str, tmp_path: Path) -> None:
    mod, params, x = network()
    wanted = run(relay.build(mod, "llvm", params=params), [tvm.cpu()], x)
    lib = tvm_coexec.build(mod, params, gpu="vulkan", ratio=0.5, axis=axis)
    assert relative_error(run(lib, [tvm.cpu(), tvm.vulkan(0)], x), wanted) <= 1e-4
    lib.export_library(str(tmp_path / "both.so"))
    module = tvm_coexec.create(tvm.runtime.load_module(str(tmp_path / "both.so")))
    for _ in range(3):
        module.set_input("x", x)
        module.run()
        assert relative_error(module.get_output(0).numpy(), wanted) <= 1e-4


def small_types() -> tuple[relay.Function, dict[str, np.ndarray]]:
    """Kernels that read, write and compute with 8 and 16 bits and booleans, with values that wrap."""
    shapes = {"a": ("int8", (3, 7)), "b": ("uint8", (3, 7)), "c": ("int16", (3, 7)), "m": ("bool", (3, 7))}
    a, b, c, m = (relay.var(name, shape=shape, dtype=dtype) for name, (dtype, shape) in shapes.items())
    total = a + relay.const(100, "int8")
    product = relay.cast(b, "int16") * c
    masked = relay.where(relay.logical_and(m, relay.greater(a, relay.const(0, "int8"))), total, relay.negative(a))
    out = relay.Tuple([total, product, masked, relay.equal(a, masked), relay.max(b, axis=1), relay.cast(c, "uint8")])
    random = np.random.RandomState(5)
    inputs = {
        n: random.randint(0, 255, s).astype(d) if d != "bool" else random.rand(*s) > 0.5 for n, (d, s) in shapes.items()
    }
    return relay.Function([a, b, c, m], out), inputs


def test_small_integers_and_booleans() -> None:
    func, inputs = small_types()
    results = []
    for target, device in (("llvm", tvm.cpu()), (tvm_coexec.targets("llvm", "vulkan")[1], tvm.vulkan(0))):
        module = graph_executor.GraphModule(relay.build(tvm.IRModule.from_expr(func), target)["default"](device))
        module.set_input(**inputs)
        module.run()
        results.append([module.get_output(i).numpy() for i in range(module.get_num_outputs())])
    for wanted, found in zip(*results, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_wgsl_lacks_stays_on_the_cpu_and_the_report_says_why() -> None:
    x = relay.var("x", shape=(4, 6), dtype="int64")
    y = relay.cast(relay.nn.relu(x), "float32") * relay.const(2.0)
    partition = relay.transform.CoExecPartition("llvm", "vulkan", ratio=1.0)
    split = partition(tvm.IRModule.from_expr(relay.Function([x], y)))
    assert "tensor of int64, which WGSL lacks" in partition.report.to_text()
    assert [s.device for s in tvm_coexec.plan_of(split).segments] == ["cpu"]


def test_a_kernel_that_wgsl_can_not_express_is_refused_by_name() -> None:
    x = relay.var("x", shape=(4, 6), dtype="int64")
    mod = tvm.IRModule.from_expr(relay.Function([x], x + x))
    with pytest.raises((CoExecError, tvm.TVMError), match="tensor of int64, which WGSL lacks"):
        relay.build(mod, tvm_coexec.targets("llvm", "vulkan")[1])
