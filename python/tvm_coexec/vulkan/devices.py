"""The Vulkan devices of this machine, and how the host waits for one."""

from __future__ import annotations

import functools
import json
from typing import Any

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl.devices import DeviceInfo

from . import load


def devices() -> list[DeviceInfo]:
    """Return the Vulkan devices, in the order of ``tvm.vulkan(0)``, ``tvm.vulkan(1)``, ...

    Returns
    -------
    list of DeviceInfo

    Raises
    ------
    CoExecError
        If there is none, or if TVM's own Vulkan runtime is in use; the message has the reason.
    """
    if (reason := load.why_unavailable()) is not None:
        raise CoExecError(reason)
    return [DeviceInfo(**fields) for fields in json.loads(load.call("devices"))]


@functools.lru_cache(maxsize=1)
def first_device() -> DeviceInfo | None:
    """Return the first device, asked for once per process; None if there is none."""
    try:
        return devices()[0]
    except CoExecError:
        return None


def wait_method(device: int = 0) -> dict[str, Any]:
    """Return how the host waits for a kernel, as `opencl.devices.wait_method`."""
    return json.loads(load.call("waiting", device))
