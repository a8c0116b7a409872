"""The runtimes of this package by the kind of GPU: OpenCL and Vulkan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from .opencl import runtime as opencl
from .opencl.devices import DeviceInfo
from .vulkan import runtime as vulkan


class GpuRuntime(Protocol):
    """What both runtimes answer."""

    def why_unavailable(self) -> str | None:
        """Return why TVM can't use a device; None if it can."""

    def runtime_name(self) -> str | None:
        """Return ``own``, ``tvm``, or `None` where there is no runtime."""

    def is_ours(self) -> bool:
        """Return whether this package's runtime serves the devices."""

    def why_not_ours(self, what: str) -> str:
        """Return the text of an error for the case that it does not."""

    def devices(self) -> list[DeviceInfo]:
        """Return the devices."""

    def wait_method(self, device: int = 0) -> dict[str, Any]:
        """Return how the host waits for a kernel."""


_RUNTIMES: dict[str, GpuRuntime] = {"opencl": opencl, "vulkan": vulkan}
# Types of tensors that some GPUs lack.
OPTIONAL_TYPES = ("float16", "float64")
_TYPES = {4: "opencl", 7: "vulkan"}  # kDLOpenCL, kDLVulkan


def runtime_of(kind: str) -> GpuRuntime | None:
    """Return the runtime for a kind of target, such as ``vulkan``; `None` for kinds that only TVM's own serve.

    Parameters
    ----------
    kind : str
    """
    return _RUNTIMES.get(kind)


def why_unavailable(kind: str) -> str | None:
    """Return why TVM can't use a device of a kind here, where that is known; `None` otherwise.

    Parameters
    ----------
    kind : str
    """
    found = runtime_of(kind)
    return None if found is None else found.why_unavailable()


def find_lacking_types(kind: str) -> set[str]:
    """Return which of `OPTIONAL_TYPES` the first device of a kind can't compute with, as far as that is known here.

    Parameters
    ----------
    kind : str
    """
    found = runtime_of(kind)
    if found is None or found.why_unavailable() is not None or not (devices := found.devices()):
        return set()
    return {name for name, has in zip(OPTIONAL_TYPES, (devices[0].fp16, devices[0].fp64), strict=True) if not has}


def kind_of_types(device_types: Iterable[int]) -> str:
    """Return the kind of the GPU of a module; ``opencl`` for a module without one.

    Parameters
    ----------
    device_types : iterable of int
        DLPack's device types.
    """
    return next((_TYPES[t] for t in device_types if t in _TYPES), "opencl")


def runtime_of_types(device_types: Iterable[int]) -> GpuRuntime:
    """Return the runtime that serves the GPU of a module; OpenCL's for a module without one.

    Parameters
    ----------
    device_types : iterable of int
        DLPack's device types.
    """
    return _RUNTIMES[kind_of_types(device_types)]


def serves_own(kind: str) -> bool:
    """Return whether this package's runtime serves devices of a kind.

    Parameters
    ----------
    kind : str
    """
    found = runtime_of(kind)
    return found is not None and found.is_ours()
