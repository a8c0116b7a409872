"""The Vulkan runtime: over wgpu-native, for a TVM that was built without one.

The public names of `load` and `devices`; counters, traces and faults are those of `opencl.runtime`. Nothing here needs
Vulkan to be installed: `install` registers the runtime, and the first use of a device opens the driver. Environment
variables (all optional; read when the driver is opened):

================================  =====================================================================================
``TVM_COEXEC_VULKAN``             ``tvm``: no Vulkan runtime of this package
``TVM_COEXEC_VULKAN_DEVICES``     which devices, in which order: as ``TVM_COEXEC_OPENCL_DEVICES``
``TVM_COEXEC_VULKAN_WAIT``        ``event`` or ``poll``: how the host waits; default ``auto``: the faster, measured once
``TVM_COEXEC_VULKAN_PROFILE``     ``1``: times of kernels from the start, see `opencl.runtime.kernel_times`
``TVM_COEXEC_VULKAN_FAULTS``      for tests: faults to inject, see `opencl.runtime.inject_fault`
``TVM_COEXEC_LIBWGPU``            wgpu-native's library, instead of that of the Python package ``wgpu``
================================  =====================================================================================
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
