"""Run a module under the recorder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tvm
from tvm.contrib import graph_executor

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.progress import progress
from tvm_coexec.executor.annotations import read_metadata
from tvm_coexec.executor.create import Creation
from tvm_coexec.opencl import runtime

from .segments import TracedGraph
from .spans import Spans, parse_spans
from .timeline import Timeline, expected_timeline, measured_timeline

logger = logging.getLogger("tvm_coexec")

RUNS, WARM_UP = 10, 3


@dataclass(frozen=True)
class Recording:
    """Several runs of a module and everything that was recorded during them.

    Attributes
    ----------
    graph : TracedGraph
    windows : tuple of (int, int)
        Start and end of each run, in nanoseconds of `time.monotonic_ns`.
    spans : Spans
    """

    graph: TracedGraph
    windows: tuple[tuple[int, int], ...]
    spans: Spans

    @property
    def seconds(self) -> list[float]:
        """Seconds of each run."""
        return [(end - begin) / 1e9 for begin, end in self.windows]

    @cached_property
    def chosen(self) -> tuple[int, int]:
        """Start and end of the shown run: the one of median time among the runs that are recorded completely."""
        first = self.spans.spans[0].begin_ns if self.spans.dropped and self.spans.spans else 0
        whole = [w for w in self.windows if w[0] >= first]
        if not whole:
            raise CoExecError("one run has more events than the recorder holds; trace a smaller model")
        return sorted(whole, key=lambda w: w[1] - w[0])[(len(whole) - 1) // 2]

    @cached_property
    def measured(self) -> Timeline:
        """Timeline of the shown run."""
        return measured_timeline(self.graph, self.spans, self.chosen)

    @cached_property
    def expected(self) -> Timeline | None:
        """Timeline that the plan expected; `None` if the module has none."""
        return None if self.graph.expected is None else expected_timeline(self.graph)


class Tracer:
    """Wraps the functions of one executor and records its runs.

    `create` makes an executor as `tvm_coexec.create` does; `wrap` returns a module for another executor of the same
    graph. Nothing is recorded until `record` is called.
    """

    def __init__(self) -> None:
        self.graph: TracedGraph | None = None

    def create(self, lib: Any, devices: Sequence[tvm.runtime.Device] | None = None) -> graph_executor.GraphModule:
        """Create an executor whose runs can be recorded.

        Parameters
        ----------
        lib, devices
            As `tvm_coexec.create` takes them.

        Returns
        -------
        GraphModule

        Raises
        ------
        CoExecError
            If a device is missing, or if TVM's own OpenCL runtime is in use.
        """
        _require_own_runtime()
        creation = Creation(lib, devices)
        self.graph = TracedGraph.from_json(creation.executor_graph(), read_metadata(creation.graph))
        return creation.create(trace=True)

    def wrap(self, graph_json: str, module: tvm.runtime.Module) -> tvm.runtime.Module:
        """Return the module whose functions the executor calls.

        Parameters
        ----------
        graph_json : str
            The executor's graph.
        module : Module
            The module with its functions.

        Returns
        -------
        Module

        Raises
        ------
        CoExecError
            If TVM's own OpenCL runtime is in use.
        """
        _require_own_runtime()
        self.graph = TracedGraph.from_json(graph_json)
        return runtime.trace_module(module, [self.graph.nodes[i].function for i in self.graph.calls])

    def record(
        self,
        run: Callable[[], object],
        runs: int = RUNS,
        warm_up: int = WARM_UP,
        ready: Callable[[], object] = lambda: None,
    ) -> Recording:
        """Record several runs.

        Parameters
        ----------
        run : callable
            Runs the executor once.
        runs, warm_up : int
            Number of recorded runs, and of unrecorded runs before them.
        ready : callable
            Called between the unrecorded and the recorded runs.

        Returns
        -------
        Recording
        """
        assert self.graph is not None, "call create or wrap before record"
        with progress(what="recording", unit="run", total=warm_up + runs) as bar:
            for _ in range(warm_up):
                run()
                bar.update()
            ready()
            windows = []
            runtime.trace_start()
            try:
                for _ in range(runs):
                    begin = time.monotonic_ns()
                    run()
                    windows.append((begin, time.monotonic_ns()))
                    bar.update()  # between runs, so that its time is in none of them
            finally:
                taken = runtime.trace_take()
        recording = Recording(self.graph, tuple(windows), parse_spans(taken))
        if recording.spans.dropped:
            logger.warning("the recorder was full: the %d oldest events were dropped", recording.spans.dropped)
        return recording


def _require_own_runtime() -> None:
    if not runtime.is_ours():
        raise CoExecError(runtime.why_not_ours("a run can't be traced"))


def record(
    lib: Any,
    inputs: dict[str, np.ndarray],
    runs: int = RUNS,
    warm_up: int = WARM_UP,
    devices: Sequence[tvm.runtime.Device] | None = None,
    ready: Callable[[], object] = lambda: None,
) -> Recording:
    """Run a module and record what both devices do.

    Parameters
    ----------
    lib : executor factory
        As `tvm_coexec.create` takes it.
    inputs : dict of str to array
        Set once, before the first run.
    runs, warm_up : int
        Number of recorded runs, and of unrecorded runs before them.
    devices : sequence of Device, optional
        As `tvm_coexec.create` takes them.
    ready : callable
        Called between the unrecorded and the recorded runs.

    Returns
    -------
    Recording

    Raises
    ------
    CoExecError
        If a device is missing, or if TVM's own OpenCL runtime is in use.
    """
    tracer = Tracer()
    module = tracer.create(lib, devices)
    module.set_input(**inputs)
    return tracer.record(module.run, runs, warm_up, ready)
