"""Run a module under the recorder."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tvm
from tvm._ffi.runtime_ctypes import RPC_SESS_MASK
from tvm.contrib import graph_executor

from tvm_coexec import gpu_runtimes
from tvm_coexec.core.devices import GPU_NAMES
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.progress import progress
from tvm_coexec.executor.annotations import read_metadata
from tvm_coexec.executor.create import Creation, device_types
from tvm_coexec.opencl import runtime
from tvm_coexec.remote import explained, serves_own

from .load import input_types
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
        whole = self.complete
        return sorted(whole, key=lambda w: w[1] - w[0])[(len(whole) - 1) // 2]

    @cached_property
    def complete(self) -> tuple[tuple[int, int], ...]:
        """Start and end of each run of which no event was dropped; `CoExecError` if there is none."""
        first = self.spans.spans[0].begin_ns if self.spans.dropped and self.spans.spans else 0
        whole = tuple(w for w in self.windows if w[0] >= first)
        if not whole:
            raise CoExecError("one run has more events than the recorder holds; trace a smaller model")
        return whole

    @property
    def timelines(self) -> list[Timeline]:
        """Timelines of all runs that are recorded completely."""
        return [measured_timeline(self.graph, self.spans, window) for window in self.complete]

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
        self._executor: graph_executor.GraphModule | None = None
        # Of an RPC server: runs an executor some times, and returns the windows and the record as JSON.
        self._record_there: Callable[..., str] | None = None

    def create(self, lib: Any, devices: Sequence[tvm.runtime.Device] | None = None) -> graph_executor.GraphModule:
        """Create an executor whose runs can be recorded.

        Parameters
        ----------
        lib, devices
            As `tvm_coexec.create` takes them. With devices of an RPC session, the server times and records the runs.

        Returns
        -------
        GraphModule

        Raises
        ------
        CoExecError
            If a device is missing, or if TVM's own OpenCL runtime is in use.
        """
        creation = Creation(lib, devices)
        if creation.is_remote:
            self._record_there = _recorder_of(creation)
        else:
            _require_own_runtime(d.device_type for d in creation.devices)
        self.graph = TracedGraph.from_json(creation.executor_graph(), read_metadata(creation.graph))
        self._executor = creation.create(trace=True)
        return self._executor

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
        _require_own_runtime(device_types(graph_json))
        self.graph = TracedGraph.from_json(graph_json)
        return runtime.trace_module(module, [self.graph.nodes[i].function for i in self.graph.calls])

    def record(
        self,
        run: Callable[[], object],
        runs: int = RUNS,
        warm_up: int = WARM_UP,
        ready: Callable[[], object] = lambda: None,
        one_at_a_time: bool = False,
    ) -> Recording:
        """Record several runs.

        Parameters
        ----------
        run : callable
            Runs the executor once. On an RPC server, it is called for the unrecorded runs alone.
        runs, warm_up : int
            Number of recorded runs, and of unrecorded runs before them.
        ready : callable
            Called between the unrecorded and the recorded runs.
        one_at_a_time : bool
            Whether, in the recorded runs, the host waits for each GPU kernel and copy where it launches it, so that no
            two kernels run at the same time: the times of kernels are then free of co-run slowdown. Results are the
            same.

        Returns
        -------
        Recording
        """
        assert self.graph is not None, "call create or wrap before record"
        if runs < 1 or warm_up < 0:
            raise CoExecError(f"can't record {runs} runs after {warm_up} others: give at least 1, and 0 or more")
        with progress(what="recording", unit="run", total=warm_up + runs) as bar:
            for _ in range(warm_up):
                run()
                bar.update()
            ready()
            if self._record_there:
                windows, taken = self._runs_there(runs, one_at_a_time)
            else:
                windows, taken = _runs_here(run, runs, bar.update, one_at_a_time)
        recording = Recording(self.graph, tuple(windows), parse_spans(taken))
        if recording.spans.dropped:
            logger.warning("the recorder was full: the %d oldest events were dropped", recording.spans.dropped)
        return recording

    def _runs_there(self, runs: int, one_at_a_time: bool) -> tuple[list[tuple[int, int]], dict[str, Any]]:
        assert self._record_there is not None and self._executor is not None
        with explained("recording on the RPC server failed"):
            # Older runtimes take two arguments, which is enough for a usual recording.
            options = (1,) if one_at_a_time else ()
            done = json.loads(self._record_there(self._executor.module, runs, *options))
        return [(begin, end) for begin, end in done["windows"]], done["trace"]


def _runs_here(
    run: Callable[[], object], runs: int, done: Callable[[], object], one_at_a_time: bool
) -> tuple[list[tuple[int, int]], dict[str, Any]]:
    windows = []
    runtime.trace_start(one_at_a_time)
    try:
        for _ in range(runs):
            begin = time.monotonic_ns()
            run()
            windows.append((begin, time.monotonic_ns()))
            done()  # between runs, so that its time is in none of them
    finally:
        taken = runtime.trace_take()
    return windows, taken


def _recorder_of(creation: Creation) -> Callable[..., str]:
    session = creation.devices[0]._rpc_sess
    kind = gpu_runtimes.kind_of_types(d.device_type % RPC_SESS_MASK for d in creation.devices)
    if not serves_own(session, kind):
        raise CoExecError(
            f"a run can't be traced: the RPC server does not use this package's {GPU_NAMES[kind]} runtime; open the "
            "session with remote.connect(..., upload=True), and see `coexec connect`"
        )
    found = creation.find_function("tvm_coexec.record_runs")
    if found is None:
        raise CoExecError(
            "a run can't be traced: the RPC server has an older version of this package's runtime; update it there"
        )
    return found


def _require_own_runtime(device_types: Iterable[int]) -> None:
    found = gpu_runtimes.runtime_of_types(device_types)
    if not found.is_ours():
        raise CoExecError(found.why_not_ours("a run can't be traced"))


def record(
    lib: Any,
    inputs: dict[str, np.ndarray],
    runs: int = RUNS,
    warm_up: int = WARM_UP,
    devices: Sequence[tvm.runtime.Device] | None = None,
    ready: Callable[[], object] = lambda: None,
    one_at_a_time: bool = False,
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
    one_at_a_time : bool
        As `Tracer.record` takes it.

    Returns
    -------
    Recording

    Raises
    ------
    CoExecError
        If a device is missing, if TVM's own OpenCL runtime is in use, or for an input that the model does not take.
    """
    tracer = Tracer()
    _check_inputs(lib, inputs, devices or ())
    module = tracer.create(lib, devices)
    module.set_input(**inputs)
    return tracer.record(module.run, runs, warm_up, ready, one_at_a_time)


def _check_inputs(lib: Any, inputs: dict[str, np.ndarray], devices: Sequence[tvm.runtime.Device]) -> None:
    """Raise `CoExecError` for an input of another name or shape: the executor ignores names that it does not know."""
    if any(device.device_type >= RPC_SESS_MASK for device in devices):
        return  # the server would have to be asked
    wanted = input_types(lib)
    for name, value in inputs.items():
        if name not in wanted:
            raise CoExecError(f"the model has no input '{name}'; it takes {', '.join(wanted)}")
        given, shape = list(np.shape(value)), list(wanted[name][0])
        if given != shape:
            raise CoExecError(f"input '{name}' has the shape {given}; the model takes {shape}")
