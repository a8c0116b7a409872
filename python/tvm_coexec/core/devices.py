"""Names of OpenCL runtimes, kinds of memory, and OpenCL devices that are made of the CPU's own cores."""

from __future__ import annotations

import re

from .errors import CoExecError

# Kinds of GPUs that this package has a runtime for.
GPU_NAMES = {"opencl": "OpenCL", "vulkan": "Vulkan"}
# This package's, whose copies wait for the commands that they depend on; and TVM's own, whose copies wait for all.
RUNTIMES = ("own", "tvm")
# How tensors cross between the devices (see `cost_models.Costs`); and in the runtime's memory modes.
MEMORY = ("copied", "mapped", "shared")
MEMORY_OF_MODE = {"fine": "shared", "coarse": "mapped", "hostptr": "mapped", "buffer": "copied"}

# Words in a device's or platform's name that only CPUs bear; "basic" and "pthread" are pocl's.
_CPU_NAMES = re.compile(
    r"\b(cpu|pocl|pthread|portable computing language|llvmpipe|xeon|epyc|ryzen|core\(tm\))|^basic", re.IGNORECASE
)


def check_memory(memory: str, runtime: str) -> None:
    """Raise `CoExecError` for memory that a runtime can't share: TVM's own always copies."""
    if runtime == "tvm" and memory != "copied":
        raise CoExecError(f"memory '{memory}': TVM's own OpenCL runtime copies every tensor; leave memory out")


def is_pocl(platform: str) -> bool:
    """Whether an OpenCL platform is pocl, by its name."""
    return "portable computing language" in platform.lower()


def runs_on_cpu_cores(*names: str) -> bool:
    """Whether an OpenCL device is made of CPU cores, by the names of device and platform."""
    return any(_CPU_NAMES.search(name) for name in names)


def has_work_groups(device: str, name: str) -> bool:
    """Whether kernels of a device have this package's schedules for work-groups on CPU cores.

    Parameters
    ----------
    device : str
        ``cpu`` or ``gpu``.
    name : str
        Of the device, as profiles have it.
    """
    return device == "gpu" and runs_on_cpu_cores(name)


def parse_memory(value: object) -> str:
    """Return the kind of memory by name; `ValueError` for another value."""
    if value not in MEMORY:
        raise ValueError(f"memory '{value}'")
    return str(value)


def parse_runtime(value: object) -> str:
    """Return the name of an OpenCL runtime; `ValueError` for another value."""
    if value not in RUNTIMES:
        raise ValueError(f"runtime '{value}'")
    return str(value)
