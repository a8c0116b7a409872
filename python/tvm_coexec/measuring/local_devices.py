"""The devices of this machine: whether kernels for two targets can run on them, and their names."""

from __future__ import annotations

import platform

import tvm
from tvm.target import Target

from tvm_coexec import gpu_runtimes
from tvm_coexec.core.devices import MEMORY_OF_MODE
from tvm_coexec.cost_models.device_names import name_device
from tvm_coexec.opencl import runtime

from .host_info import cpu_name, cpu_threads


def why_not_here(cpu: Target, gpu: Target) -> str:
    """Return why kernels for these targets can't run on this machine; empty if they can."""
    device = tvm.runtime.Device(gpu.get_target_device_type(), 0)
    if not device.exist:
        return gpu_runtimes.why_unavailable(gpu.kind.name) or f"no {gpu.kind.name} device"
    triple = str(cpu.attrs.get("mtriple", "")) or platform.machine()
    if triple.split("-")[0] not in (platform.machine(), {"arm64": "aarch64"}.get(platform.machine(), "")):
        return f"the CPU target is for {triple}"
    return ""


def gpu_name(gpu: Target) -> str:
    """Return the name of this machine's first device for a target."""
    device = tvm.runtime.Device(gpu.get_target_device_type(), 0)
    return str(device.device_name or device.device_type)


def name_devices(gpu: Target) -> dict[str, str]:
    """Return the names of both devices, as in `Profile.names`."""
    return {"cpu": name_device(cpu_name(), cpu_threads()), "gpu": name_device(gpu_name(gpu))}


def memory_here(gpu: Target) -> str:
    """Return how this package's runtime has tensors cross between this machine's devices; see `Costs.memory`."""
    if runtime_here(gpu) == "tvm":
        return "copied"
    found = gpu_runtimes.runtime_of(gpu.kind.name)
    return "copied" if found is None else MEMORY_OF_MODE.get(found.devices()[0].memory_mode, "copied")


def runtime_here(gpu: Target) -> str:
    """Return whose runtime, ``own`` or ``tvm``, copies between this machine's devices; see `Costs.runtime`."""
    found = gpu_runtimes.runtime_of(gpu.kind.name)
    if found is None or found.runtime_name() == "tvm":
        return "tvm"
    return "tvm" if gpu.kind.name == "opencl" and runtime.copies_block() else "own"
