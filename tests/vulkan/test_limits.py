"""Schedules for a Vulkan device's limits: those of the device here, of a target, and of a smaller device."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import numpy as np
import pytest
import tvm
from tvm import relay, te
from tvm.contrib import graph_executor

import tvm_coexec
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl.devices import DeviceInfo
from tvm_coexec.opencl.schedules.device import DeviceTraits, ask_limits_of, device_traits
from tvm_coexec.vulkan import codegen, runtime

pytestmark = [pytest.mark.llvm, pytest.mark.vulkan]


def here() -> DeviceInfo:
    found = runtime.first_device()
    assert found is not None
    return found


def target(gpu: str = "vulkan", cpu: str = "llvm") -> tvm.target.Target:
    return tvm_coexec.targets(cpu, gpu)[1]


@pytest.fixture
def small_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeviceInfo]:
    """A device with the least that Vulkan allows, or as many work-items as a parameter says: lavapipe takes more."""
    threads = getattr(request, "param", 128)
    small = dataclasses.replace(here(), max_threads=threads, local_bytes=16384, subgroup=8)
    monkeypatch.setattr(codegen, "first_device", lambda: small)
    ask_limits_of("vulkan", lambda: small)
    yield small
    ask_limits_of("vulkan", runtime.first_device)


def test_limits_are_the_devices_where_the_target_leaves_them_open() -> None:
    device = here()
    warp = device.subgroup if device.subgroup > 1 else 32
    assert device_traits(target()) == DeviceTraits(False, min(256, device.max_threads), device.local_bytes, warp)


@pytest.mark.parametrize(
    "gpu, cpu, wanted",
    [
        ("vulkan -max_num_threads=64 -max_shared_memory_per_block=8192", "llvm", (64, 8192)),
        ("vulkan -model=other", "llvm", (256, 16384)),
        ("vulkan", "llvm -mtriple=aarch64-linux-gnu", (256, 16384)),
    ],
)
def test_limits_of_other_devices_are_the_targets(gpu: str, cpu: str, wanted: tuple[int, int], small_device) -> None:
    traits = device_traits(target(gpu, cpu))
    assert (traits.max_threads, traits.local_bytes) == wanted


def test_a_small_device_limits_schedules_and_target(small_device: DeviceInfo) -> None:
    made = target()
    assert device_traits(made) == DeviceTraits(False, 128, 16384, 8)
    assert made.attrs["max_num_threads"] == 128 and made.attrs["max_threads_per_block"] == 128
    assert target("vulkan -max_num_threads=64").attrs["max_num_threads"] == 64


def many_kernels() -> tuple[tvm.IRModule, np.ndarray]:
    """Kernels of this package's schedules, and of TVM's own: reductions, a softmax, pooling."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> relay.Constant:
        return relay.const((rng.standard_normal(shape) * 0.1).astype("float32"))

    x = relay.var("x", shape=(1, 32, 30, 30))
    y = relay.nn.conv2d(x, weight(64, 32, 3, 3), channels=64, kernel_size=(3, 3), padding=(1, 1))
    y = relay.nn.conv2d(y, weight(64, 1, 3, 3), groups=64, channels=64, kernel_size=(3, 3), strides=(2, 2))
    z = relay.nn.max_pool2d(y, (2, 2), (2, 2))
    rows = relay.reshape(z, (64, 49))
    d = relay.nn.dense(rows, weight(512, 49))
    out = [relay.nn.softmax(d), relay.sum(x), relay.mean(d, axis=1), relay.max(x, axis=[1, 3], keepdims=True)]
    out += [relay.argmax(x, axis=[2, 3]), relay.nn.global_avg_pool2d(x)]
    inputs = rng.standard_normal((1, 32, 30, 30)).astype("float32")
    return tvm.IRModule.from_expr(relay.Function([x], relay.Tuple(out))), inputs


def run(lib: object, device: tvm.runtime.Device, x: np.ndarray) -> list[np.ndarray]:
    module = graph_executor.GraphModule(lib["default"](device))
    module.set_input("x", x)
    module.run()
    return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]


@pytest.mark.parametrize("small_device", [128, 256], indirect=True)
@pytest.mark.parametrize("options", ["", " -thread_warp_size=8"])
def test_a_small_device_gets_kernels_that_fit(options: str, small_device: DeviceInfo) -> None:
    mod, x = many_kernels()
    lib = relay.build(mod, target(f"vulkan{options}"))
    groups = [
        int(a) * int(b) * int(c)
        for module in lib.get_lib().imported_modules
        for a, b, c in re.findall(r"@workgroup_size\((\d+), (\d+), (\d+)\)", module.get_source())
    ]
    assert len(groups) > 8 and max(groups) <= small_device.max_threads
    wanted = run(relay.build(mod, "llvm"), tvm.cpu(), x)
    for a, b in zip(run(lib, tvm.vulkan(0), x), wanted, strict=True):
        if a.dtype == "int32":
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_shared_memory_beyond_the_devices_is_refused(small_device: DeviceInfo) -> None:
    x = te.placeholder((20000,), name="x")
    y = te.compute((20000,), lambda i: x[i] + 1.0, name="y")
    schedule = te.create_schedule(y.op)
    block, thread = schedule[y].split(y.op.axis[0], 10000)
    schedule[y].bind(block, te.thread_axis("blockIdx.x"))
    cached = schedule.cache_read(x, "shared", [y])
    schedule[cached].compute_at(schedule[y], block)
    inner = schedule[y].split(thread, 64)[1]
    schedule[y].bind(inner, te.thread_axis("threadIdx.x"))
    with pytest.raises((CoExecError, tvm.TVMError), match="have 40000 bytes of shared memory, the device 16384"):
        tvm.build(schedule, [x, y], target())


def test_a_kernel_that_does_not_fit_is_refused(small_device: DeviceInfo) -> None:
    x = relay.var("x", shape=(64, 64, 64))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.exp(x)))
    with pytest.raises((CoExecError, tvm.TVMError), match="work-groups have 256 items, the device takes 128"):
        relay.build(mod, tvm.target.Target("vulkan", host="llvm"))
