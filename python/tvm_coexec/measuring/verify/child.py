"""The process that runs plans."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from tvm.contrib import graph_executor

from tvm_coexec import testbed

from .. import host_info as machine
from .. import timer
from ..protocol import Setting, Timed

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


class _Runner(timer.Timer):
    def __init__(self, connection: Connection, setting: Setting):
        super().__init__(connection, setting)
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
                "run", self._device("cpu"), number=1, repeat=1, min_repeat_ms=MIN_REPEAT_MS
            )
            start, others_s = time.perf_counter(), machine.other_cpu_s()
            seconds = float(evaluator().results[0])
            wall_s, others_s = time.perf_counter() - start, machine.other_cpu_s() - others_s
            return Timed((seconds,), wall_s, 0.0 if self.session else max(0.0, others_s) / wall_s, 0.0)
        return super()._handle(request)

    def _module(self, compiled: Compiled) -> graph_executor.GraphModule:
        if compiled.path not in self.modules:
            devices = [self._device("cpu"), self._device("gpu")]
            module = graph_executor.create(compiled.graph, self._library(compiled.path), devices)
            module.load_params(Path(compiled.weights).read_bytes())
            with np.load(compiled.inputs) as inputs:
                for number, name in enumerate(compiled.names):
                    module.set_input(name, inputs[f"arr_{number}"])
            self.modules[compiled.path] = module
            module.run()
            if self.setting.bed is not None:  # TVM pins this thread when its first parallel loop runs
                testbed.pin_main_thread(self.setting.bed)
        return self.modules[compiled.path]


def serve(connection: Connection, setting: Setting) -> None:
    """Answer requests; runs in the child process."""
    timer.serve(connection, setting, _Runner)
