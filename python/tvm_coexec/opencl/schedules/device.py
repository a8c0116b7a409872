"""Determine the kind of device that a GPU target means.

Schedules for a SIMT GPU differ entirely from those for an OpenCL device that runs on CPU cores (pocl, Intel's CPU
runtime), on which a work-group is a loop and performance depends on a register tile that the compiler can vectorise. A
target does not distinguish them, so `device_traits` decides in this order:

1. the target's own attributes: ``-model=cpu`` or ``-model=pocl`` (also as ``-device=``) is a CPU, any other model or
   device, and a ``thread_warp_size`` above 1, a GPU;
2. a target kind other than ``opencl`` is a GPU;
3. a host of another architecture (``-mtriple`` of the target's host) means cross-compiling: a GPU, and the devices
   of the compiling machine are not queried;
4. else the first OpenCL device of this machine, queried once per process; a GPU if there is none.

The limits of a device come from the target's attributes, too. For kinds whose devices say more (`ask_limits_of`:
Vulkan's), what the target leaves open is that of the first such device of this machine, by the rules 1 and 3.

So a build depends on the local machine only if the target leaves the device open: name the device in the target when
compiling for another machine of the same architecture.
"""

from __future__ import annotations

import functools
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tvm.target import Target

from tvm_coexec.core.devices import runs_on_cpu_cores

from ..devices import DeviceInfo

_log = logging.getLogger("tvm_coexec")

_CPU_MODELS = ("cpu", "pocl", "pthread")
# Parts of LLVM's names of cores with AVX-512.
_AVX512 = (
    *("avx512", "cascadelake", "cooperlake", "cannonlake", "icelake", "tigerlake", "rocketlake", "sapphirerapids"),
    *("emeraldrapids", "graniterapids", "znver4", "znver5"),
)

# TVM's default for an OpenCL target without this limit; OpenCL guarantees twice as much.
_DEFAULT_LOCAL_BYTES = 16384
_GUARANTEED_LOCAL_BYTES = 32768
_DEFAULT_WARP = 32

# Functions that return this machine's first device, by kind of target.
_ask: dict[str, Callable[[], DeviceInfo | None]] = {}


class VectorUnit(NamedTuple):
    """Vectors of float32 that a core computes with: the elements of one, and the number of registers."""

    lanes: int
    registers: int


_SMALL_VECTORS = VectorUnit(4, 16)


@dataclass(frozen=True)
class DeviceTraits:
    """The properties of a device that schedules depend on.

    Attributes
    ----------
    is_cpu : bool
        Whether work-groups run as loops on a CPU core.
    max_threads : int
        Maximum number of work-items per work-group.
    local_bytes : int
        Maximum local ("shared") memory per work-group.
    warp : int
        Work-items that run in lockstep; 32 if the target does not state it.
    vector : VectorUnit
        Of the cores of a device that is a CPU.
    """

    is_cpu: bool
    max_threads: int
    local_bytes: int
    warp: int
    vector: VectorUnit = _SMALL_VECTORS


def is_gpu_target(target: Target | None) -> bool:
    """Return whether TVM compiles for a target with its GPU schedules."""
    return target is not None and any(key in ("gpu", "cuda", "opencl", "vulkan", "metal") for key in target.keys)


def has_textures(target: Target) -> bool:
    """Return whether TVM's schedules for a target keep tensors in textures, which only its own runtime has."""
    return target.kind.name == "opencl" and "adreno" in (*target.keys, target.attrs.get("device", ""))


def device_traits(target: Target) -> DeviceTraits:
    """Return the properties of the device that a GPU target means; the module's docstring has the rules.

    Parameters
    ----------
    target : Target

    Returns
    -------
    DeviceTraits
    """
    warp = int(target.attrs.get("thread_warp_size", 1))
    is_cpu = _is_cpu(target, warp)
    most_threads = int(target.attrs.get("max_num_threads", 256))
    found = local_device(target)
    if found is not None:
        if warp == 1:
            warp = found.subgroup
        most_threads = min(most_threads, found.max_threads or most_threads)
    default_local = (found.local_bytes if found is not None else 0) or _DEFAULT_LOCAL_BYTES
    local_bytes = int(target.attrs.get("max_shared_memory_per_block", default_local))
    if is_cpu and local_bytes == _DEFAULT_LOCAL_BYTES:
        local_bytes = _GUARANTEED_LOCAL_BYTES
    return DeviceTraits(
        is_cpu=is_cpu,
        max_threads=most_threads,
        local_bytes=local_bytes,
        warp=warp if warp > 1 else _DEFAULT_WARP,
        vector=find_vector_unit("" if not is_cpu or _is_foreign(target.host) else _local_device_name()),
    )


def find_vector_unit(device: str) -> VectorUnit:
    """Return the vectors of the cores that an OpenCL device consists of; small ones if they are unknown.

    Parameters
    ----------
    device : str
        Its name. pocl's contains LLVM's name of the cores, such as ``skylake-avx512`` or ``cortex-a76``.
    """
    if not device:
        return _SMALL_VECTORS
    if any(name in device.lower() for name in _AVX512):
        return VectorUnit(16, 32)
    return VectorUnit(8, 16) if _architecture(platform.machine()) == "x86_64" else VectorUnit(4, 32)


def ask_limits_of(kind: str, ask: Callable[[], DeviceInfo | None]) -> None:
    """Take the limits that targets of a kind leave open from this machine's first device.

    Parameters
    ----------
    kind : str
        Such as ``vulkan``.
    ask : callable
        Returns the device; `None` if there is none.
    """
    _ask[kind] = ask


def local_device(target: Target) -> DeviceInfo | None:
    """Return this machine's first device, if a target may mean it and its limits are known.

    Parameters
    ----------
    target : Target

    Returns
    -------
    DeviceInfo or None
        `None` for kinds without `ask_limits_of`, for targets that name a device, and for another machine's.
    """
    ask = _ask.get(target.kind.name)
    return None if ask is None or _names(target) or _is_foreign(target.host) else ask()


def _names(target: Target) -> set[str]:
    return {str(target.attrs.get(key, "")).lower() for key in ("device", "model")} - {"", "unknown"}


def _is_cpu(target: Target, warp: int) -> bool:
    if named := _names(target):
        return any(name.startswith(_CPU_MODELS) for name in named)
    if target.kind.name != "opencl" or warp > 1 or _is_foreign(target.host):
        return False
    return _local_device_is_cpu()


def _is_foreign(host: Target | None) -> bool:
    """Return whether a host has another architecture than the compiling machine."""
    triple = str(host.attrs.get("mtriple", "")) if host is not None else ""
    return bool(triple) and _architecture(triple.split("-")[0]) != _architecture(platform.machine())


def _architecture(name: str) -> str:
    name = name.lower()
    return {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}.get(name, name)


@functools.lru_cache(maxsize=1)
def _local_device_name() -> str:
    """Return the name of the first OpenCL device of this machine; empty if there is none."""
    from tvm_coexec.core.errors import CoExecError

    from .. import runtime

    try:
        return runtime.devices()[0].name
    except CoExecError:
        return ""


@functools.lru_cache(maxsize=1)
def _local_device_is_cpu() -> bool:
    from tvm_coexec.core.errors import CoExecError

    from .. import runtime

    try:
        device = runtime.devices()[0]
    except CoExecError as reason:
        _log.debug("schedules for a GPU, since no OpenCL device could be queried: %s", reason)
        return False
    names = (device.name, device.platform, device.version)
    is_cpu = device.type == "cpu" or runs_on_cpu_cores(*names)
    _log.debug("schedules for %s: %s", "a CPU" if is_cpu else "a GPU", " ".join(names))
    return is_cpu
