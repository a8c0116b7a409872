"""Find the parameters of this machine's devices: what the kernel and the drivers say, and the bandwidth of a copy."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tvm_coexec.core.devices import runs_on_cpu_cores
from tvm_coexec.cost_models.device_parameters import DeviceParameters

if TYPE_CHECKING:
    import tvm

# FLOPs of one core in a cycle by instruction set, the widest first: lanes x 2 for a multiply-add x units (two, in the
# cores that have these instructions; one where there is no multiply-add of vectors).
_FLOPS_PER_CYCLE = (("avx512f", 64), ("fma", 32), ("avx", 16), ("asimd", 16), ("neon", 8), ("sse", 8))
_COPY_BYTES = 1 << 26
_REPEATS = 3
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def find_cpu_parameters(root: Path = Path("/"), bandwidth: bool = True) -> DeviceParameters:
    """Return the parameters of the CPU for the cores that this process may use.

    Parameters
    ----------
    root : Path
        Folder of ``proc`` and ``sys``.
    bandwidth : bool
        Whether to measure the bandwidth, which takes some 0.1 s; otherwise it is unknown.
    """
    cores = sorted(os.sched_getaffinity(0))
    cpuinfo = _read(root / "proc/cpuinfo")
    clock_hz = max(_clock_hz(root, core) for core in cores) or _clock_in(cpuinfo)
    flags = {f for line in cpuinfo.splitlines() if line.lower().startswith(("flags", "features")) for f in line.split()}
    per_cycle = next((n for name, n in _FLOPS_PER_CYCLE if name in flags), 0)
    caches = _find_caches(root / f"sys/devices/system/cpu/cpu{cores[0]}/cache")
    return DeviceParameters(
        "cpu",
        peak_flops_per_s=float(len(cores) * clock_hz * per_cycle),
        bandwidth_bytes_per_s=measure_bandwidth() if bandwidth else 0.0,
        cores=len(cores),
        clock_hz=clock_hz,
        l1_bytes=caches.get(1, 0),
        l2_bytes=caches.get(2, 0),
        l3_bytes=caches.get(3, 0),
    )


def find_gpu_parameters(device: tvm.runtime.Device, cpu: DeviceParameters | None = None) -> DeviceParameters:
    """Return what a driver tells of a GPU: compute units, clock, local memory; the rest is given by hand.

    Parameters
    ----------
    device : tvm.runtime.Device
        May be on an RPC server.
    cpu : DeviceParameters, optional
        The CPU of the same machine: if the GPU is made of its cores, it has their parameters.
    """
    units, mhz = int(device.multi_processor_count or 0), float(device.max_clock_rate or 0)
    local = int(device.max_shared_memory_per_block or 0)
    if runs_on_cpu_cores(str(device.device_name or "")):
        if cpu is None:
            return DeviceParameters("cores", cores=units, clock_hz=mhz * 1e6, l1_bytes=local)
        share = units / max(1, cpu.cores)
        return replace(cpu, kind="cores", cores=units, peak_flops_per_s=share * cpu.peak_flops_per_s)
    return DeviceParameters("gpu", cores=units, clock_hz=mhz * 1e6, l1_bytes=local)


def measure_bandwidth() -> float:
    """Return the bytes per second that a copy beyond the caches of most machines reads and writes, on one core."""
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.zeros_like(source)
    shortest = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        np.copyto(target, source)
        shortest = min(shortest, time.perf_counter() - start)
    return float(f"{2 * _COPY_BYTES / shortest:.3e}")


def _clock_hz(root: Path, core: int) -> float:
    text = _read(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq")
    return float(text) * 1e3 if text.strip().isdigit() else 0.0


def _clock_in(cpuinfo: str) -> float:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "cpu MHz":
            try:
                return float(value) * 1e6
            except ValueError:
                return 0.0
    return 0.0


def _find_caches(folder: Path) -> dict[int, int]:
    """Return the bytes of the data caches by level."""
    found = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = (_read(index / name).strip() for name in ("level", "type", "size"))
        number, unit = size[:-1], size[-1:]
        if level.isdigit() and kind != "Instruction" and number.isdigit() and unit in _UNITS:
            found[int(level)] = int(number) * _UNITS[unit]
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
