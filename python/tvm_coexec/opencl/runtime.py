"""The OpenCL runtime: for a TVM that was built without one, and in place of the one that TVM has.

The public names of `load`, `devices`, `trace`, `memory` and `faults`.

Nothing here needs OpenCL to be installed: `install` registers the runtime, and the first use of a device opens the
drivers, and reads the environment variables that docs/environment.md lists.
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
