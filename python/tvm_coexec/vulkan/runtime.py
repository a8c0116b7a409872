"""The Vulkan runtime: over wgpu-native, for a TVM that was built without one.

The public names of `load` and `devices`; counters, traces and faults are those of `opencl.runtime`. Nothing here needs
Vulkan to be installed: `install` registers the runtime, and the first use of a device opens the driver, and reads the
environment variables that docs/environment.md lists.
"""

from __future__ import annotations

from .devices import devices, first_device, wait_method
from .load import call, install, is_ours, runtime_name, wgpu_library, why_not_ours, why_unavailable

__all__ = [
    "call",
    "devices",
    "first_device",
    "install",
    "is_ours",
    "runtime_name",
    "wait_method",
    "wgpu_library",
    "why_not_ours",
    "why_unavailable",
]
