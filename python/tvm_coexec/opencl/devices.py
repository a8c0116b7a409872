"""The OpenCL devices of this machine, counters of the runtime, and how the host waits for a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tvm_coexec.core.errors import CoExecError

from . import load


@dataclass(frozen=True)
class DeviceInfo:
    """One OpenCL or Vulkan device as TVM sees it.

    Attributes
    ----------
    id : int
        ``tvm.opencl(id)`` or ``tvm.vulkan(id)``.
    platform, name, version, driver : str
        As the driver reports them.
    type : str
        ``gpu``, ``accelerator``, ``cpu`` or ``custom``.
    memory_mode : str
        ``buffer``, ``coarse``, ``fine`` or ``hostptr``; ``unsupported`` if the user requested one that the device
        lacks; ``stock`` under TVM's own OpenCL runtime.
    storage_layout : str
        Layout of a memory plan (`executor.memory.plan.LAYOUTS`) that `tvm_coexec.create` takes for the device; empty if
        it takes none, because of an unsupported mode or TVM's own runtime.
    compute_units : int
    global_bytes : int
        Size of the device's memory.
    unified : bool
        Whether device and host share memory.
    fp16, fp64 : bool
        Whether kernels may use these types.
    max_threads, local_bytes : int
        The most work-items in a work-group, and its memory; 0 if unknown.
    subgroup : int
        Work-items that run in lockstep; 1 if the API can't tell.
    max_buffers, max_binding_bytes : int
        Tensors that a kernel can take, and bytes of one of them.
    """

    id: int
    platform: str
    name: str
    version: str
    driver: str
    type: str
    memory_mode: str
    storage_layout: str
    compute_units: int
    global_bytes: int
    unified: bool
    fp16: bool
    fp64: bool
    max_threads: int = 0
    local_bytes: int = 0
    subgroup: int = 1
    max_buffers: int = 1024
    max_binding_bytes: int = 2**63 - 1


def devices() -> list[DeviceInfo]:
    """Return the OpenCL devices, in the order of ``tvm.opencl(0)``, ``tvm.opencl(1)``, ...

    Returns
    -------
    list of DeviceInfo

    Raises
    ------
    CoExecError
        If there is none; the message has the reason.
    """
    if (reason := load.why_unavailable()) is not None:
        raise CoExecError(reason)
    if load.is_ours():
        return [DeviceInfo(**fields) for fields in json.loads(load.call("devices"))]
    return _stock_devices()


def _stock_devices() -> list[DeviceInfo]:
    import tvm

    found: list[DeviceInfo] = []
    while (dev := tvm.opencl(len(found))).exist:
        found.append(
            DeviceInfo(
                id=len(found),
                platform="",
                name=dev.device_name,
                version=dev.compute_version,
                driver="",
                type="gpu",  # TVM's runtime uses CPUs only if there is no GPU, and does not report which
                memory_mode="stock",
                storage_layout="",
                compute_units=dev.multi_processor_count,
                global_bytes=dev.total_global_memory or 0,
                unified=False,
                fp16=False,
                fp64=False,
            )
        )
    return found


def stats() -> dict[str, int]:
    """Return counters since the start of the process or `reset_stats`.

    Returns
    -------
    dict of str to int
        Launches, copies, bytes, cache hits and bytes of live memory, by name.
    """
    return json.loads(load.call("stats"))


def reset_stats() -> None:
    """Set all counters to zero, except those of live memory."""
    load.call("reset_stats")


def wait_method(device: int = 0) -> dict[str, Any]:
    """Return how the host waits for a kernel in shared memory, and why.

    Parameters
    ----------
    device : int

    Returns
    -------
    dict
        ``method``: ``event`` (``clWaitForEvents``), ``poll`` (the host polls the event's status) or ``flag`` (a small
        kernel, enqueued after the one to wait for, sets a number in fine-grained memory). It is the value of
        ``TVM_COEXEC_OPENCL_WAIT``, by default the fastest. And by the name of each method that works on this device:
        seconds from the launch of a kernel of about 0.1 ms until the host has noticed its end, measured at the first
        call.
    """
    return json.loads(load.call("waiting", device))
