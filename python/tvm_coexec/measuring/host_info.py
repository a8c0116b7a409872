"""Properties of the machine that accompany measurements: names, clock, load."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from pathlib import Path
from typing import Any

import tvm

from tvm_coexec import llvm
from tvm_coexec.opencl import schedules

# Cores that other processes use, above which times are not reliable.
BUSY_CORES = 0.2


def cpu_name() -> str:
    """Return the model name of the CPU."""
    return _cpuinfo("model name") or platform.processor()


def cpu_threads() -> str:
    """Return the number of threads of TVM's CPU code, as text."""
    return os.environ.get("TVM_NUM_THREADS", "all")


def clock_mhz() -> float:
    """Return the clock, in MHz, of the first core that this thread may run on; 0 if unknown."""
    core = min(os.sched_getaffinity(0))
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq").read_text(encoding="ascii")
        return float(text) / 1e3
    except (OSError, ValueError):
        pass
    try:
        return float(_cpuinfo("cpu MHz", core))
    except ValueError:
        return 0.0


def other_cpu_s() -> float:
    """Return the CPU seconds that other processes have used so far; 0 if unknown.

    The resolution is a clock tick, usually 0.01 s.
    """
    try:
        with open("/proc/stat", encoding="ascii") as f:
            user, nice, system, _, _, irq, soft_irq, steal = map(int, f.readline().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK") - time.process_time()


def header_of(devices: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return the header of a dataset for these devices."""
    return {"devices": devices, "tvm": tvm.__version__, "schedules": schedules_digest()}


def schedules_digest() -> str:
    """Return a digest of the schedules, since measurements with different schedules must not be mixed."""
    files = [f for package in (schedules, llvm) for f in sorted(Path(package.__path__[0]).glob("*.py"))]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def _cpuinfo(field: str, core: int = 0) -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            values = [line.split(":", 1)[1].strip() for line in f if line.startswith(field)]
    except OSError:
        return ""
    return values[min(core, len(values) - 1)] if values else ""
