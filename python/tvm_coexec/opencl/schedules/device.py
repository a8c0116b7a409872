"""What kind of device a GPU target stands for.

Schedules for a SIMT GPU and for an OpenCL device that is made of CPU cores (pocl, Intel's CPU runtime) have nothing in
common: there a work-group is a loop, and what counts is a register tile that the compiler can vectorise. A target says
little about that, so `device_traits` decides, in this order:

1. what the target says itself: ``-model=cpu`` or ``-model=pocl`` (also as ``-device=``) is a CPU, any other model or
   device, and a ``thread_warp_size`` above 1, a GPU;
2. a target kind other than ``opencl`` is a GPU;
3. a host of another architecture (``-mtriple`` of the target's host) means cross-compiling: a GPU, and the devices
   of the compiling machine are not asked;
4. else the first OpenCL device of this machine, asked once for each process; a GPU if there is none.

So a compilation depends on the local machine only where the target leaves it open: name the device in the target when
compiling for another machine of the same architecture.
"""

from __future__ import annotations

import functools
import logging
import platform
from dataclasses import dataclass

from tvm.target import Target

from tvm_coexec.core.devices import runs_on_cpu_cores

_log = logging.getLogger("tvm_coexec")

_CPU_MODELS = ("cpu", "pocl", "pthread")

# TVM writes this limit into every OpenCL target that names none; OpenCL guarantees twice as much.
_DEFAULT_LOCAL_BYTES = 16384
_GUARANTEED_LOCAL_BYTES = 32768


@dataclass(frozen=True)
class DeviceTraits:
    """The properties of a device that schedules depend on.

    Attributes
    ----------
    is_cpu : bool
        Whether work-groups run as loops on a CPU core.
    max_threads : int
        Work-items per work-group at most.
    local_bytes : int
        Local ("shared") memory per work-group at most.
    warp : int
        Work-items that run in lockstep; 32 where the target does not say.
    """

    is_cpu: bool
    max_threads: int
    local_bytes: int
    warp: int


def is_gpu_target(target: Target | None) -> bool:
    """Whether TVM compiles for this target with its GPU schedules."""
    return target is not None and any(key in ("gpu", "cuda", "opencl", "vulkan", "metal") for key in target.keys)


def device_traits(target: Target) -> DeviceTraits:
    """Return what is known of the device behind a GPU target; see the module for how."""
    warp = int(target.attrs.get("thread_warp_size", 1))
    local_bytes = int(target.attrs.get("max_shared_memory_per_block", _DEFAULT_LOCAL_BYTES))
    is_cpu = _is_cpu(target, warp)
    if is_cpu and local_bytes == _DEFAULT_LOCAL_BYTES:
        local_bytes = _GUARANTEED_LOCAL_BYTES
    return DeviceTraits(
        is_cpu=is_cpu,
        max_threads=int(target.attrs.get("max_num_threads", 256)),
        local_bytes=local_bytes,
        warp=warp if warp > 1 else 32,
    )


def _is_cpu(target: Target, warp: int) -> bool:
    named = {str(target.attrs.get(key, "")).lower() for key in ("device", "model")} - {"", "unknown"}
    if named:
        return any(name.startswith(_CPU_MODELS) for name in named)
    if target.kind.name != "opencl" or warp > 1 or _is_foreign(target.host):
        return False
    return _local_device_is_cpu()


def _is_foreign(host: Target | None) -> bool:
    """Whether code for this host is meant for another architecture than the one that compiles."""
    triple = str(host.attrs.get("mtriple", "")) if host is not None else ""
    return bool(triple) and _architecture(triple.split("-")[0]) != _architecture(platform.machine())


def _architecture(name: str) -> str:
    name = name.lower()
    return {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}.get(name, name)


@functools.lru_cache(maxsize=1)
def _local_device_is_cpu() -> bool:
    from tvm_coexec.core.errors import CoExecError

    from .. import runtime

    try:
        device = runtime.devices()[0]
    except CoExecError as reason:
        _log.debug("schedules for a GPU, since no OpenCL device could be asked: %s", reason)
        return False
    names = (device.name, device.platform, device.version)
    is_cpu = device.type == "cpu" or runs_on_cpu_cores(*names)
    _log.debug("schedules for %s: %s", "a CPU" if is_cpu else "a GPU", " ".join(names))
    return is_cpu
