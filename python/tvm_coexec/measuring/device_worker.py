"""Handle of the process that runs kernels and plans on the devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from tvm.target import Target

from tvm_coexec import testbed
from tvm_coexec.core.devices import is_pocl, runs_on_cpu_cores
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import load, runtime
from tvm_coexec.targets import target_text
from tvm_coexec.vulkan import runtime as vulkan

from . import CORES, protocol, timer
from .worker import Child, ChildError

START_S = 300  # for the first answer: drivers are opened, threads started


class DeviceWorker:
    """A process that uses the devices, so that a crash or hang does not end the caller.

    Parameters
    ----------
    setting : Setting
    serve : callable
        Function that runs in the process; a subclass of `timer.Timer` answers more requests.

    Attributes
    ----------
    timed_s, others_s : float
        Seconds that were timed, and CPU seconds that other processes used meanwhile.
    """

    def __init__(self, setting: protocol.Setting, serve: Callable[..., None] = timer.serve):
        self._child = Child("fresh", serve, setting)
        self.timed_s = self.others_s = 0.0

    def devices(self, cpu: Target, gpu: Target) -> dict[str, dict[str, str]]:
        """Return names and targets as in the header of a dataset; `CoExecError` if the devices can't be used."""
        try:
            devices = self._child.call("hello", START_S)
        except ChildError as err:
            raise CoExecError(f"the devices can't be used: {err}") from None
        for name, target in (("cpu", cpu), ("gpu", gpu)):
            devices[name]["target"] = target_text(target)
        return devices

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Return what is known of the devices (see `DeviceParameters.to_json`), by device; empty if nothing is."""
        try:
            return self._child.call("parameters", START_S)
        except ChildError:
            return {}

    def call(self, request: Any, timeout_s: float) -> Any:
        """Send a request and return the answer; raises `ChildError`."""
        return self._child.call(request, timeout_s)

    def time(self, request: Any, timeout_s: float) -> protocol.Timed:
        """Send a request to time something; raises `ChildError`."""
        try:
            timed = self._child.call(request, timeout_s + (START_S if self._child.restarts < 0 else 0))
        except ChildError as err:
            raise ChildError(f"running: {err}") from None
        self._count_load(timed)
        return timed

    def time_batch(
        self, requests: Sequence[protocol.TimeRequest], timeout_s: float
    ) -> list[protocol.Timed | ChildError]:
        """Time libraries that wait for quiet moments together; return each result, or the library's error.

        Raises
        ------
        ChildError
            If the process failed: one of the libraries may have ended it.
        """
        timeout_s += sum(r.patience_s for r in requests) + (START_S if self._child.restarts < 0 else 0)
        answers = self._child.call(protocol.TimeBatch(tuple(requests)), timeout_s)
        for timed in answers:
            if isinstance(timed, protocol.Timed):
                self._count_load(timed)
        return [ChildError(f"running: {a}") if isinstance(a, str) else a for a in answers]

    def _count_load(self, timed: protocol.Timed) -> None:
        self.timed_s, self.others_s = self.timed_s + timed.wall_s, self.others_s + timed.load * timed.wall_s

    @property
    def load(self) -> float:
        """Number of cores that other processes used during timing."""
        return self.others_s / self.timed_s if self.timed_s else 0.0

    def stop(self) -> None:
        """End the process."""
        self._child.stop()


# Makes this package's OpenCL runtime copy as TVM's own does.
BLOCKING: dict[str, str | None] = {"TVM_COEXEC_OPENCL_COPIES": "blocking", "TVM_COEXEC_OPENCL_MEMORY": None}


def local_setting(gpu: Target, opencl_runtime: str = "own") -> protocol.Setting:
    """Return the setting for this machine's devices; each has one core if the user has set up pocl so.

    Parameters
    ----------
    gpu : Target
    opencl_runtime : {"own", "tvm"}
        With ``tvm``, copies are made as by TVM's own OpenCL runtime, which need not be here.
    """
    bed = None
    if gpu.kind.name == "opencl" and os.environ.get("POCL_AFFINITY") == "1" and not runtime.why_unavailable():
        device = runtime.devices()[0]
        if is_pocl(device.platform):
            bed = testbed.TestBed(device.name, True, CORES)
    elif gpu.kind.name == "vulkan" and os.environ.get("LP_NUM_THREADS") == "1" and not vulkan.why_unavailable():
        device = vulkan.devices()[0]
        if runs_on_cpu_cores(device.name):
            bed = testbed.TestBed(device.name, True, CORES)
    environment: dict[str, str | None] = {}
    if gpu.kind.name == "opencl" and runtime.runtime_name() == "tvm":
        environment = {load.VARIABLE: "tvm"}  # also if it is used because this package was imported too late
    elif opencl_runtime == "tvm":
        environment = dict(BLOCKING)
    return protocol.Setting(gpu.get_target_device_type(), bed, environment=environment, cores=CORES)
