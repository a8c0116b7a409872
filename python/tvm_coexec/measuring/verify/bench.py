"""Build plans, and run them in a child process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relay
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.plan import Plan
from tvm_coexec.core.random_inputs import random_tensor
from tvm_coexec.executor.annotations import annotate_graph
from tvm_coexec.pass_context import deployment_context
from tvm_coexec.planner import Options

from .. import protocol
from ..device_worker import DeviceWorker, local_setting
from ..worker import ChildError
from . import child
from .options import Verify

FIRST_RUN_S = 900  # OpenCL drivers compile kernels when they are first launched
TIME_S = 120


class Bench:
    """Builds plans and runs them in a child process, whose crash or hang does not end this one.

    Parameters
    ----------
    cpu, gpu : Target
        As `tvm_coexec.targets` returns them.
    verify : Verify
    folder : str
        For libraries, weights and inputs.
    options : Options
        Say where the module will run: on which OpenCL runtime, and whether in TVM's own executor, which copies what
        crosses between the devices.
    """

    def __init__(self, cpu: Target, gpu: Target, verify: Verify, folder: str, options: Options):
        self.targets, self.verify, self.folder = [cpu, gpu], verify, folder
        self.copies = options.runtime == "tvm" or options.memory == "copied"
        setting = local_setting(gpu, options.runtime or "own")
        if verify.server:
            setting = protocol.Setting(gpu.get_target_device_type(), None, verify.server)
        self.worker = DeviceWorker(setting, child.serve)
        self._inputs = os.path.join(folder, "inputs.npz")
        self._names: tuple[str, ...] = ()
        self._ready: set[str] = set()  # paths of the plans that the process has loaded

    def close(self) -> None:
        """End the process."""
        self.worker.stop()

    def devices(self) -> dict[str, dict[str, str]]:
        """Return names and targets as in the header of a dataset; `CoExecError` if the devices can't be used."""
        try:
            return self.worker.devices(*self.targets)
        except CoExecError as err:
            raise CoExecError(f"verify: {err}") from None

    def set_inputs(self, params: Iterable[relay.Var]) -> None:
        """Draw random inputs of the model."""
        rng = np.random.default_rng(0)
        data = {
            p.name_hint: random_tensor([int(d) for d in p.checked_type.shape], p.checked_type.dtype, rng)
            for p in params
        }
        self._names = tuple(data)
        np.savez(self._inputs, *data.values())

    def build(self, number: int, placed: tvm.IRModule, plan: Plan) -> child.Compiled:
        """Compile a plan's module as in deployment, and write it to files for the child process."""
        with deployment_context(instruments=False):
            lib = annotate_graph(lambda: relay.build(placed, target=self.targets), plan, None)
        path = os.path.join(self.folder, f"plan{number}")
        if self.verify.server:
            library, weights = f"{path}.tar", ""
            lib.export_library(library)  # with its weights: a server can't be given those of a factory
        else:
            # Weights apart: linking them into a library takes long.
            library, weights = f"{path}.so", f"{path}.params"
            Path(weights).write_bytes(tvm.runtime.save_param_dict(lib.get_params()))
            lib.get_lib().export_library(library)
        return child.Compiled(library, lib.get_graph_json(), weights, self._inputs, self._names, self.copies)

    def run(self, compiled: child.Compiled) -> list[np.ndarray]:
        """Run once and return the outputs; raises `ChildError`."""
        return self._send(self.worker.call, compiled, child.OutputsRequest(compiled))

    def time(self, compiled: child.Compiled) -> protocol.Timed:
        """Time one run, from inputs to outputs on the CPU; raises `ChildError`."""
        return self._send(self.worker.time, compiled, child.PlanTimeRequest(compiled))

    def record(self, compiled: child.Compiled) -> dict[tuple[int, str], float] | None:
        """Record runs, and return what `child.RecordRequest` says; raises `ChildError`."""
        return self._send(self.worker.call, compiled, child.RecordRequest(compiled))

    def _send(self, send: Callable[[Any, float], Any], compiled: child.Compiled, request: Any) -> Any:
        try:
            answer = send(request, TIME_S if compiled.path in self._ready else FIRST_RUN_S)
        except ChildError:
            self._ready.clear()
            raise
        self._ready.add(compiled.path)
        return answer
