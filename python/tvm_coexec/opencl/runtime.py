"""The OpenCL runtime: for a TVM that was built without one, and in place of the one that TVM has.

The public names of `load`, `devices`, `trace`, `memory` and `faults`.

Nothing here needs OpenCL to be installed: `install` registers the runtime, and the first use of a device opens the
drivers. Environment variables (all optional; read when the drivers are opened):

=================================  ====================================================================================
``TVM_COEXEC_OPENCL``              ``own`` or ``tvm``: whose runtime serves OpenCL devices in a TVM built with
                                   ``USE_OPENCL=ON``; default: this package's, unless TVM's own is in use already
``TVM_COEXEC_OPENCL_DEVICES``      which devices, in which order: a comma list of ``all``, ``gpu``, ``cpu``,
                                   ``accelerator``, ``P:D`` (platform and device index as in clinfo), or part of a
                                   platform's or device's name; default ``all``: GPUs, then accelerators, then CPUs
``TVM_COEXEC_OPENCL_MEMORY``       ``buffer``, ``coarse``, ``fine`` (shared virtual memory) or ``hostptr``; default
                                   ``auto``: the cheapest sharing that the device has, ``buffer`` on discrete GPUs
``TVM_COEXEC_OPENCL_WAIT``         ``event``, ``poll`` or ``flag``: how the host waits for a kernel in shared memory;
                                   default ``auto``: the fastest, measured once per process
``TVM_COEXEC_OPENCL_BUILD_OPTIONS``  options for the OpenCL compiler, such as ``-cl-fast-relaxed-math``
``TVM_COEXEC_OPENCL_PROFILE``      ``1``: profiling queues from the start, see `kernel_times`
``TVM_COEXEC_OPENCL_STAGING_MB``   host memory for uploads that wait for the device; default 256
``TVM_COEXEC_CACHE_DIR``           folder for kernel binaries; default ``~/.cache/tvm_coexec`` (``XDG_CACHE_HOME`` is
                                   respected), where pocl is left to its own cache; ``off``: no cache
``TVM_COEXEC_LIBOPENCL``           the OpenCL library to open instead of searching the usual paths
``TVM_COEXEC_OPENCL_COPIES``       ``blocking``: copies wait for all kernels, as TVM's own runtime makes them, to
                                   measure plans for it; default ``ordered``
``TVM_COEXEC_OPENCL_FAULTS``       for tests: faults to inject, such as ``launch:3,delay:500:7``; see `inject_fault`
=================================  ====================================================================================
"""

from __future__ import annotations

from .devices import DeviceInfo, devices, reset_stats, stats, wait_method
from .faults import clear_faults, fault_hits, inject_delays, inject_fault
from .load import (
    LIBRARY_NAME,
    copies_block,
    install,
    is_ours,
    library_path,
    runtime_name,
    use,
    why_not_ours,
    why_unavailable,
)
from .memory import host_view, source_module
from .trace import KernelTime, kernel_times, set_profiling, trace_module, trace_start, trace_take

__all__ = [
    "LIBRARY_NAME",
    "DeviceInfo",
    "KernelTime",
    "clear_faults",
    "copies_block",
    "devices",
    "fault_hits",
    "host_view",
    "inject_delays",
    "inject_fault",
    "install",
    "is_ours",
    "kernel_times",
    "library_path",
    "reset_stats",
    "runtime_name",
    "set_profiling",
    "source_module",
    "stats",
    "trace_module",
    "trace_start",
    "trace_take",
    "use",
    "wait_method",
    "why_not_ours",
    "why_unavailable",
]
