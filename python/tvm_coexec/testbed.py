"""Set up the process for timing CPU and GPU, also if the GPU is pocl or lavapipe, which run on the CPU's cores.

On such a test-bed the two devices get one core each: TVM's thread on one, pocl's worker on another. This needs
environment variables that are set before the OpenCL driver is opened and TVM's threads start (`prepare`), and the main
thread pinned afterwards, since TVM pins it to the core that pocl uses (`pin_main_thread`). On a machine with a real GPU
neither function has an effect.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from tvm_coexec.core.devices import is_pocl

ONE_CORE_EACH = {"TVM_NUM_THREADS": "1", "POCL_MAX_PTHREAD_COUNT": "1", "POCL_AFFINITY": "1", "LP_NUM_THREADS": "1"}

# Run in a separate process: a driver reads its variables only when it is opened.
_ASK = "from tvm_coexec.{} import runtime; d = runtime.devices()[0]; print(d.platform, d.name, sep='\\n')"
_LAVAPIPE = "llvmpipe"  # in the names of lavapipe's devices


@dataclass(frozen=True)
class TestBed:
    """Properties of the machine that matter for timing.

    Attributes
    ----------
    device : str or None
        Name of ``tvm.opencl(0)`` or ``tvm.vulkan(0)``; `None` without such a device.
    pocl : bool
        Whether that device uses the CPU's cores: pocl, or lavapipe for Vulkan.
    cores : tuple of int
        The cores that this process may use.
    """

    __test__ = False  # pytest would collect the class by its name

    device: str | None
    pocl: bool
    cores: tuple[int, ...]

    @property
    def description(self) -> str:
        """One line that describes both devices, for reports of timings."""
        if self.device is None:
            return "no such GPU"
        if not self.pocl:
            return f"GPU: {self.device}; the CPU uses {os.environ.get('TVM_NUM_THREADS', 'all')} threads"
        if len(self.cores) < 2:
            return f"test-bed: {self.device} by {self._driver} on the only core, so no speed-up is possible"
        return (
            f"test-bed: the GPU is {self._driver} ({self.device}) on core {self.cores[0]}, the CPU is one thread on "
            f"core {self.cores[1]}: two one-core devices, not a phone"
        )

    @property
    def _driver(self) -> str:
        return "lavapipe" if self.device and _LAVAPIPE in self.device else "pocl"


def prepare(gpu: str = "opencl") -> TestBed:
    """Inspect the machine and set the environment; call it before the first use of the GPU and of TVM's threads.

    Parameters
    ----------
    gpu : {"opencl", "vulkan"}

    Returns
    -------
    TestBed
    """
    done = subprocess.run([sys.executable, "-c", _ASK.format(gpu)], capture_output=True, text=True)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    platform, device = lines[:2] if len(lines) >= 2 else ("", None)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    bed = TestBed(device, shares_cores(platform, device or ""), cores)
    if bed.pocl:
        for name, value in ONE_CORE_EACH.items():
            os.environ.setdefault(name, value)
    return bed


def shares_cores(platform: str, name: str) -> bool:
    """Return whether a device is pocl or lavapipe, which run on the CPU's cores.

    Parameters
    ----------
    platform, name : str
        As the driver reports them.
    """
    return is_pocl(platform) or _LAVAPIPE in name


def pin_main_thread(bed: TestBed) -> None:
    """Pin this thread to another core than pocl's; call it after the first use of OpenCL and of TVM's CPU code.

    Parameters
    ----------
    bed : TestBed
    """
    if bed.pocl and len(bed.cores) > 1:
        os.sched_setaffinity(0, {bed.cores[1]})
