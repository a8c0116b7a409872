"""Building plans, and the process that runs them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import tvm
from tvm import relay
from tvm.target import Target

from tvm_coexec import testbed
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import runtime
from tvm_coexec.pass_context import deployment_context
from tvm_coexec.targets import target_text

from .. import timer as timing
from ..worker import Child, ChildError
from . import child
from .options import CORES, Verify

START_S = 300  # until the devices are open
FIRST_RUN_S = 900  # OpenCL drivers compile kernels when they are first launched
TIME_S = 120
POCL = "Portable Computing Language"


class Bench:
    """The process that runs plans, which may crash or hang without taking this one with it.

    Parameters
    ----------
    cpu, gpu : Target
        As `tvm_coexec.targets` gives them.
    verify : Verify
    folder : str
        For libraries, weights and inputs.
    """

    def __init__(self, cpu: Target, gpu: Target, verify: Verify, folder: str):
        self.targets, self.verify, self.folder = [cpu, gpu], verify, folder
        bed = None if verify.tracker else _bed(gpu)
        setting = timing.Setting(gpu.get_target_device_type(), bed, verify.tracker, verify.key)
        self._child = Child("fresh", child.serve, setting, () if verify.tracker else CORES)
        self._inputs = os.path.join(folder, "inputs.npz")
        self._names: tuple[str, ...] = ()
        self._ready: set[str] = set()  # what the process has loaded

    def close(self) -> None:
        """End the process."""
        self._child.stop()

    def devices(self) -> dict[str, dict[str, str]]:
        """Names and targets, as in the header of a file of samples; `CoExecError` when the devices can't be used."""
        try:
            devices = self._child.call("hello", START_S)
        except ChildError as err:
            raise CoExecError(f"verify: the devices can't be used: {err}") from None
        for name, target in zip(("cpu", "gpu"), self.targets, strict=True):
            devices[name]["target"] = target_text(target)
        return devices

    def set_inputs(self, params: Iterable[relay.Var]) -> None:
        """Make up inputs for a model."""
        rng = np.random.default_rng(0)
        data = {p.name_hint: _data(rng, p.checked_type) for p in params}
        self._names = tuple(data)
        np.savez(self._inputs, *data.values())

    def build(self, number: int, placed: tvm.IRModule) -> child.Compiled:
        """Compile a module as a deployment build would be, and write it where the process finds it."""
        with deployment_context(instruments=False):
            lib = relay.build(placed, target=self.targets)
        path = os.path.join(self.folder, f"plan{number}")
        weights = f"{path}.params"
        with open(weights, "wb") as f:
            f.write(tvm.runtime.save_param_dict(lib.get_params()))
        library = f"{path}.{'tar' if self.verify.tracker else 'so'}"
        lib.get_lib().export_library(library)
        return child.Compiled(library, lib.get_graph_json(), weights, self._inputs, self._names)

    def outputs(self, compiled: child.Compiled) -> list[np.ndarray]:
        """Run once; raises `ChildError`."""
        return self._call(compiled, child.OutputsRequest(compiled))

    def time(self, compiled: child.Compiled) -> child.Took:
        """Time it once, from inputs on the CPU to outputs there; raises `ChildError`."""
        return self._call(compiled, child.TimeRequest(compiled))

    def _call(self, compiled: child.Compiled, request: Any) -> Any:
        try:
            answer = self._child.call(request, TIME_S if compiled.path in self._ready else FIRST_RUN_S)
        except ChildError:
            self._ready.clear()
            raise
        self._ready.add(compiled.path)
        return answer


def _bed(gpu: Target) -> testbed.TestBed | None:
    """One core for each device, where the user has set pocl up for that (see `testing.testbed`)."""
    if gpu.kind.name != "opencl" or os.environ.get("POCL_AFFINITY") != "1" or runtime.why_unavailable():
        return None
    device = runtime.devices()[0]
    bed = testbed.TestBed(device.name, POCL in device.platform, CORES)
    return bed if bed.pocl else None


def _data(rng: np.random.Generator, ty: relay.TensorType) -> np.ndarray:
    shape = [int(d) for d in ty.shape]
    if "float" in ty.dtype:
        return rng.standard_normal(shape).astype(ty.dtype)
    return rng.integers(0, 2, shape).astype(ty.dtype)
