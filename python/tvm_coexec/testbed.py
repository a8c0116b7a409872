"""Timing CPU and GPU side by side, also where the only OpenCL device is pocl, which runs on the CPU's own cores.

On such a machine a fair pair of devices is one core each: TVM's thread on one, pocl's worker on another. That takes
environment variables before the OpenCL driver is opened and TVM's threads are started (`prepare`), and pinning the main
thread after both, since TVM pins it to the core that pocl takes (`pin_main_thread`). On a machine with a real GPU both
change nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from tvm_coexec.core.devices import is_pocl

_ONE_CORE_EACH = {"TVM_NUM_THREADS": "1", "POCL_MAX_PTHREAD_COUNT": "1", "POCL_AFFINITY": "1"}

# Run in a process of its own, since a driver that has been opened reads its variables no more.
_ASK = "from tvm_coexec.opencl import runtime; d = runtime.devices()[0]; print(d.platform, d.name, sep='\\n')"


@dataclass(frozen=True)
class TestBed:
    """The machine as far as timing goes.

    Attributes
    ----------
    device : str or None
        The name of ``tvm.opencl(0)``; None if there is none.
    pocl : bool
        Whether that device is pocl, so shares its cores with the CPU.
    cores : tuple of int
        The cores that this process may use.
    """

    __test__ = False  # no test, whatever pytest thinks of the name

    device: str | None
    pocl: bool
    cores: tuple[int, ...]

    @property
    def description(self) -> str:
        """One line that says how to read timings from here."""
        if self.device is None:
            return "no OpenCL device"
        if not self.pocl:
            return f"GPU: {self.device}; the CPU uses {os.environ.get('TVM_NUM_THREADS', 'all')} threads"
        if len(self.cores) < 2:
            return f"test-bed: {self.device} by pocl on the only core: both devices share it, nothing can be gained"
        return (
            f"test-bed: the GPU is pocl ({self.device}) on core {self.cores[0]}, the CPU is one thread on core "
            f"{self.cores[1]}: two one-core devices, not a phone"
        )


def prepare() -> TestBed:
    """Look at the machine and set the environment; call it before the first use of OpenCL and of TVM's threads."""
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    platform, device = lines[:2] if len(lines) >= 2 else ("", None)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    bed = TestBed(device, is_pocl(platform), cores)
    if bed.pocl:
        for name, value in _ONE_CORE_EACH.items():
            os.environ.setdefault(name, value)
    return bed


def pin_main_thread(bed: TestBed) -> None:
    """Move this thread off pocl's core; call it after OpenCL and TVM's CPU code have both been used once."""
    if bed.pocl and len(bed.cores) > 1:
        os.sched_setaffinity(0, {bed.cores[1]})
