"""The process that runs plans."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from tvm.contrib import graph_executor

from .. import host_info
from ..protocol import Setting, Timed
from ..timer import Timer, prepare_process
from ..timing_devices import TimingDevices
from ..worker import answer

MIN_REPEAT_MS = 10


@dataclass(frozen=True)
class Compiled:
    """A compiled plan: paths of its library, weights and inputs, the JSON of its graph, names of the inputs."""

    path: str
    graph: str
    weights: str
    inputs: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class OutputsRequest:
    """A request to run a plan once; the answer is the outputs."""

    compiled: Compiled


@dataclass(frozen=True)
class PlanTimeRequest:
    """A request to time a plan once; the answer is a `Timed`."""

    compiled: Compiled


class _Runner(Timer):
    def __init__(self, connection: Connection, devices: TimingDevices):
        super().__init__(connection, devices)
        self.modules: dict[str, graph_executor.GraphModule] = {}

    def handle(self, request: object) -> object:
        try:
            return super().handle(request)
        except Exception:
            self.modules.clear()  # modules of a remote session are invalid after it
            raise

    def _handle(self, request: object) -> object:
        if isinstance(request, OutputsRequest):
            module = self._module(request.compiled)
            module.run()
            return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]
        if isinstance(request, PlanTimeRequest):
            module = self._module(request.compiled)
            # wall clock with outputs on the CPU: a GPU's timer would exclude the CPU's share
            evaluator = module.module.time_evaluator(
                "run", self.devices.get("cpu"), number=1, repeat=1, min_repeat_ms=MIN_REPEAT_MS
            )
            start, others_s = time.perf_counter(), host_info.other_cpu_s()
            seconds = float(evaluator().results[0])
            wall_s, others_s = time.perf_counter() - start, host_info.other_cpu_s() - others_s
            return Timed((seconds,), wall_s, 0.0 if self.devices.session else max(0.0, others_s) / wall_s, 0.0)
        return super()._handle(request)

    def _module(self, compiled: Compiled) -> graph_executor.GraphModule:
        if compiled.path not in self.modules:
            devices = [self.devices.get("cpu"), self.devices.get("gpu")]
            module = graph_executor.create(compiled.graph, self.devices.load_library(compiled.path), devices)
            module.load_params(Path(compiled.weights).read_bytes())
            with np.load(compiled.inputs) as inputs:
                for number, name in enumerate(compiled.names):
                    module.set_input(name, inputs[f"arr_{number}"])
            self.modules[compiled.path] = module
            module.run()
            self.devices.pin_again()
        return self.modules[compiled.path]


def serve(connection: Connection, setting: Setting) -> None:
    """Answer requests; runs in the child process."""
    prepare_process(setting)
    answer(connection, _Runner(connection, TimingDevices(setting)).handle)
