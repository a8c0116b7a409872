"""The process that runs plans."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import tvm
from tvm.contrib import graph_executor

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.executor.create import create
from tvm_coexec.tracing import Timeline, Tracer

from .. import host_info
from ..protocol import Setting, Timed
from ..timer import Timer, prepare_process
from ..timing_devices import TimingDevices
from ..worker import answer

# Several runs of a short model: the first after a pause finds cores and queues asleep.
MIN_REPEAT_MS = 30
# Runs are recorded in several sittings: where others use the machine, a core can be slow for some tenths of a second,
# longer than all runs of a short model.
SITTINGS, PAUSE_S = 4, 0.25
RECORDED, SITTING_S, WARM_UP = 4, 0.2, 1  # runs of a sitting, its length if fewer runs last as long, runs before it


@dataclass(frozen=True)
class Compiled:
    """A compiled plan.

    Attributes
    ----------
    path, weights, inputs : str
        Paths of its library, weights and inputs; no weights (an empty path) if the library holds them and the graph.
    graph : str
        The JSON of its graph.
    names : tuple of str
        Of the inputs.
    copies : bool
        Whether it runs in TVM's own executor, which copies what crosses between the devices; else as
        `tvm_coexec.create` makes it.
    """

    path: str
    graph: str
    weights: str
    inputs: str
    names: tuple[str, ...]
    copies: bool = False


@dataclass(frozen=True)
class OutputsRequest:
    """A request to run a plan once; the answer is the outputs."""

    compiled: Compiled


@dataclass(frozen=True)
class PlanTimeRequest:
    """A request to time a plan once; the answer is a `Timed`."""

    compiled: Compiled


@dataclass(frozen=True)
class RecordRequest:
    """A request to record a plan's runs, no two kernels at the same time.

    The answer is of `segment_seconds`; `None` in TVM's own executor, or on its own GPU runtime, which don't record.
    """

    compiled: Compiled


def segment_seconds(timelines: Sequence[Timeline]) -> dict[tuple[int, str], float]:
    """Return the seconds that each device spends on its kernels of each segment: the least of several runs.

    What disturbs a run can only add time; the costs are of kernels at their shortest, too.

    Parameters
    ----------
    timelines : sequence of Timeline
        Runs of the same module.

    Returns
    -------
    dict of (int, str) to float
        By segment and device. A device that computes nothing of a segment has no entry.
    """
    found: dict[tuple[int, str], list[float]] = {}
    for timeline in timelines:
        sums: dict[tuple[int, str], float] = {}
        for e in timeline.events:
            if e.what == "work" and e.segment >= 0:
                sums[e.segment, e.lane] = sums.get((e.segment, e.lane), 0.0) + e.seconds
        for key, seconds in sums.items():
            found.setdefault(key, []).append(seconds)
    return {key: min(seconds) for key, seconds in found.items()}


def _record_apart(tracer: Tracer, module: graph_executor.GraphModule) -> list[Timeline]:
    """Record runs in sittings, with pauses between them."""
    found: list[Timeline] = []
    runs = 1
    for sitting in range(SITTINGS):
        if sitting:
            time.sleep(PAUSE_S)
        timelines = tracer.record(module.run, runs, WARM_UP, one_at_a_time=True).timelines
        found += timelines
        runs = max(1, min(RECORDED, int(SITTING_S / timelines[-1].total_s)))
    return found


class _Runner(Timer):
    def __init__(self, connection: Connection, devices: TimingDevices):
        super().__init__(connection, devices)
        self.modules: dict[str, graph_executor.GraphModule] = {}
        self.tracers: dict[str, Tracer] = {}

    def handle(self, request: object) -> object:
        try:
            return super().handle(request)
        except Exception:
            self.modules.clear()  # modules of a remote session are invalid after it
            self.tracers.clear()
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
        if isinstance(request, RecordRequest):
            module = self._module(request.compiled)
            tracer = self.tracers.get(request.compiled.path)
            if tracer is None:
                return None
            return segment_seconds(_record_apart(tracer, module))
        return super()._handle(request)

    def _module(self, compiled: Compiled) -> graph_executor.GraphModule:
        if compiled.path not in self.modules:
            module = self._create(compiled)
            with np.load(compiled.inputs) as inputs:
                for number, name in enumerate(compiled.names):
                    module.set_input(name, inputs[f"arr_{number}"])
            self.modules[compiled.path] = module
            module.run()
            self.devices.pin_again()
        return self.modules[compiled.path]

    def _create(self, compiled: Compiled) -> graph_executor.GraphModule:
        """Create the executor that a user would."""
        devices = [self.devices.get("cpu"), self.devices.get("gpu")]
        factory = self.devices.load_library(compiled.path)
        if compiled.weights:
            weights = tvm.runtime.load_param_dict(Path(compiled.weights).read_bytes())
            make = tvm.get_global_func("tvm.graph_executor_factory.create")
            named = [part for pair in weights.items() for part in pair]
            factory = make(compiled.graph, factory, "default", *named)
        if compiled.copies:
            return graph_executor.GraphModule(factory["default"](*devices))
        tracer = Tracer()
        try:
            module = tracer.create(factory, devices)
        except CoExecError:  # on another runtime nothing can be recorded
            return create(factory, devices)
        self.tracers[compiled.path] = tracer
        return module


def serve(connection: Connection, setting: Setting) -> None:
    """Answer requests; runs in the child process."""
    prepare_process(setting)
    answer(connection, _Runner(connection, TimingDevices(setting)).handle)
