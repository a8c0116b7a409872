"""The timing process: the only one that uses the devices, local or over TVM's RPC."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any

import numpy as np
import tvm
from tvm.contrib import graph_executor

from tvm_coexec import remote, testbed
from tvm_coexec.core.errors import CoExecError, one_line

from . import host_info as machine
from . import links
from .cold_weights import copy_kernels, count_copies, count_weight_bytes
from .compile import Built
from .device_parameters import find_cpu_parameters, find_gpu_parameters
from .energy.board_files import LIST, READ, LocalFiles, RemoteFiles
from .energy.gauges import Gauge, find_gauge
from .energy.meter import CHUNK_S, EnergyRun, measure_run, sleep
from .executors import ReferenceDrift, create_module
from .protocol import (
    WHERE,
    BusyRequest,
    CopyRequest,
    EnergyRequest,
    EnqueueRequest,
    GaugeRequest,
    OutputsRequest,
    RoundTripRequest,
    Setting,
    TimeBatch,
    Timed,
    TimeRequest,
)
from .quiet_moments import Waiting, time_when_quiet
from .round_trip import measure_round_trip
from .worker import answer

# Limit of the repeats at one quiet moment, if two take less.
ENOUGH_S = 0.4
# Bytes of the weights of libraries that are loaded together; one more may be.
BATCH_BYTES = 256 << 20
# Longest time to wait until a server of a tracker's key is free; one whose session has ended is, at once.
FREE_S = 20.0


@dataclass(frozen=True)
class _Loaded:
    """A library to be timed: `copies` of its kernel; `module` is kept alive."""

    module: graph_executor.GraphModule
    waiting: Waiting
    copies: int
    nbytes: int
    patience_s: float


class Timer:
    """Answers requests with the devices of a `Setting`."""

    def __init__(self, connection: Connection, setting: Setting):
        self.connection, self.setting = connection, setting
        self.session: tvm.rpc.RPCSession | None = None  # of the RPC server, if there is one
        self.drifts: dict[str, ReferenceDrift] = {}

    def handle(self, request: object) -> object:
        """Answer one request; after a failure the session is not used again."""
        try:
            return self._handle(request)
        except Exception:
            self.session = None
            self.drifts = {}
            raise

    def _handle(self, request: object) -> object:
        if request == "hello":
            return self._hello()
        if request == "parameters":
            return self._parameters()
        if request == WHERE:
            self._device("cpu").sync()  # answers only if the machine does
            return "" if self.session is None else remote.server_of(self.session)
        if isinstance(request, TimeRequest):
            return self._time(request)
        if isinstance(request, TimeBatch):
            return self._time_batch(request)
        if isinstance(request, OutputsRequest):
            return self._outputs(request)
        if isinstance(request, BusyRequest):
            return self._busy(request)
        if isinstance(request, CopyRequest):
            return links.time_from_idle(self._load(request.built)[0], self._device("cpu"))
        if isinstance(request, RoundTripRequest):
            devices = [self._device("cpu"), self._device("gpu")]
            return measure_round_trip(request.built.graph, self._library(request.built.path), devices, self.session)
        if isinstance(request, GaugeRequest):
            return self._find_gauge(request.root).name
        if isinstance(request, EnergyRequest):
            return self._measure_energy(request)
        if isinstance(request, EnqueueRequest):
            return links.measure_enqueue_s(*self._load(request.built), self._device("cpu"))
        raise AssertionError(request)

    def _hello(self) -> dict[str, dict[str, str]]:
        """Return the names of the devices."""
        gpu = self._device("gpu")
        if not gpu.exist:
            from tvm_coexec import gpu_runtimes

            name = tvm.runtime.Device.MASK2STR.get(self.setting.gpu_type, str(self.setting.gpu_type))
            why = "none was found"
            if self.setting.server:
                why = f"on the RPC server {self.setting.server}: {self._why_not_there(name)}"
            else:
                why = gpu_runtimes.why_unavailable(name) or why
            raise CoExecError(f"no {name} device: {why}")
        server = self.setting.server
        cpu = {"name": f"rpc:{server}" if server else machine.cpu_name()}
        threads = "all" if server else machine.cpu_threads()
        return {"cpu": {**cpu, "threads": threads}, "gpu": {"name": str(gpu.device_name or gpu.device_type)}}

    def _parameters(self) -> dict[str, dict[str, Any]]:
        """Return the parameters of the devices, as JSON values; of an RPC server's CPU nothing is known."""
        cpu = None if self.setting.server else find_cpu_parameters()
        gpu = find_gpu_parameters(self._device("gpu"), cpu)
        return {"cpu": cpu.to_json(), "gpu": gpu.to_json()} if cpu else {"gpu": gpu.to_json()}

    def _why_not_there(self, name: str) -> str:
        assert self.session is not None
        return remote.why_unavailable(self.session, name) or "none was found"

    def _device(self, which: str) -> tvm.runtime.Device:
        kind = 1 if which == "cpu" else self.setting.gpu_type
        if self.setting.server is None:
            return tvm.runtime.Device(kind, 0)
        if self.session is None:
            self.session = self.setting.server.connect(FREE_S)
        return self.session.device(tvm.runtime.Device.MASK2STR[kind], 0)

    def _load(self, built: Built) -> tuple[graph_executor.GraphModule, tvm.runtime.Device]:
        return self._create(built.graph, built.device, self._library(built.path))

    def _create(
        self,
        graph: str,
        which: str,
        lib: tvm.runtime.Module,
        copies: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> tuple[graph_executor.GraphModule, tvm.runtime.Device]:
        """Create an executor and run it once; see `create_module`."""
        both = which == "both"
        device = self._device("gpu" if both else which)
        module = create_module(graph, lib, [self._device("cpu"), device] if both else device, copies)
        module.run()
        device.sync()
        if self.setting.bed is not None:  # TVM pins this thread when its first parallel loop runs
            testbed.pin_main_thread(self.setting.bed)
        return module, device

    def _library(self, path: str) -> tvm.runtime.Module:
        """Load a library on the machine of the devices."""
        if self.session is None:
            return tvm.runtime.load_module(path)
        name = os.path.basename(path)
        self.session.upload(path)
        lib = self.session.load_module(name)
        self.session.remove(name)  # otherwise thousands would accumulate
        return lib

    def _time(self, request: TimeRequest) -> Timed:
        (timed,) = self._time_all([request])
        if isinstance(timed, Exception):
            raise timed
        return timed

    def _time_batch(self, batch: TimeBatch) -> list[Timed | str]:
        return [one_line(t) if isinstance(t, Exception) else t for t in self._time_all(batch.requests)]

    def _time_all(self, requests: Sequence[TimeRequest]) -> list[Timed | Exception]:
        """Time libraries; as many at once as have room in memory wait for quiet moments together."""
        results: list[Timed | Exception] = []
        loaded: list[tuple[int, _Loaded]] = []
        for number, request in enumerate(requests):
            try:
                found = self._time_reference(request) or self._load_cold(request)
            except Exception as err:  # the others may work, unless it was the server that failed
                if len(requests) == 1 or self.session is not None:
                    raise
                results.append(err)
                continue
            results.append(found if isinstance(found, Timed) else Timed((), 0.0, 0.0, 0.0))
            if isinstance(found, Timed):
                continue
            loaded.append((number, found))
            if sum(one.nbytes for _, one in loaded) > BATCH_BYTES:
                self._time_loaded(loaded, results)
                loaded = []
        self._time_loaded(loaded, results)
        return results

    def _time_reference(self, request: TimeRequest) -> Timed | None:
        """Return the shortest time of the reference kernel, if that is requested."""
        # Loading a library twice shares its context; whichever module dies first frees it.
        if request.built != request.reference:
            return None
        drift = self._drift_of(request.reference)
        assert drift is not None
        drift.find_best()
        return Timed((drift.best_s,), self.setting.settle_s, 0.0, 0.0)

    def _time_loaded(self, loaded: Sequence[tuple[int, _Loaded]], results: list[Timed | Exception]) -> None:
        if not loaded:
            return
        start, others_s = time.perf_counter(), machine.other_cpu_s()
        time_when_quiet([one.waiting for _, one in loaded], max(one.patience_s for _, one in loaded))
        wall_s, others_s = time.perf_counter() - start, machine.other_cpu_s() - others_s
        here = self.session is None
        load, mhz = (max(0.0, others_s) / wall_s, machine.clock_mhz()) if here else (0.0, 0.0)
        for number, one in loaded:
            seconds = tuple(s / one.copies for s in one.waiting.seconds)
            results[number] = Timed(seconds, wall_s / len(loaded), load, mhz, one.waiting.pace)

    def _load_cold(self, request: TimeRequest) -> _Loaded:
        """Load a library, with copies of its kernel if its weights have to be cold."""
        built = request.built

        def run_once() -> float:
            start = time.perf_counter()
            module.run()
            device.sync()
            return time.perf_counter() - start

        lib = self._library(built.path)
        module, device = self._create(built.graph, built.device, lib)
        once_s = run_once()
        weight_bytes = count_weight_bytes(built.graph, built.weights) if built.weights else 0
        copies = count_copies(weight_bytes, once_s)
        if copies > 1:
            graph, names = copy_kernels(built.graph, built.weights, copies)
            module, device = self._create(graph, built.device, lib, names)
            once_s = run_once()
        # Slow kernels need fewer repeats: their times vary less.
        repeats = max(2, min(request.repeats, int(ENOUGH_S / max(once_s, 1e-9))))
        timer = module.module.time_evaluator(
            "run", device, number=1, repeat=repeats, min_repeat_ms=request.min_repeat_ms
        )
        waiting = Waiting(lambda: tuple(float(s) for s in timer().results), self._drift_of(request.reference))
        return _Loaded(module, waiting, copies, weight_bytes * copies, request.patience_s)

    def _outputs(self, request: OutputsRequest) -> list[np.ndarray]:
        module, device = self._load(request.built)
        with np.load(request.values) as values:
            for name in values.files:
                module.set_input(name, values[name])
        module.run()
        device.sync()
        return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]

    def _drift_of(self, reference: Built | None) -> ReferenceDrift | None:
        if reference is None:
            return None
        if reference.path not in self.drifts:
            self.drifts[reference.path] = ReferenceDrift(*self._load(reference), self.setting.settle_s)
        return self.drifts[reference.path]

    def _find_gauge(self, root: str) -> Gauge:
        self._device("cpu")
        if self.session is None:
            return find_gauge(LocalFiles(), root)
        list_folder, read_text = (remote.find_function(self.session, name) for name in (LIST, READ))
        where = f"the RPC server {self.setting.server}"
        if list_folder is None or read_text is None:
            raise CoExecError(
                f"the energy of {where} can't be read: it lacks the runtime of this release, which reads the gauge "
                "(see `coexec connect`); leave out --energy, or give readings of a power meter to `coexec fit --meter`"
            )
        return find_gauge(RemoteFiles(list_folder, read_text), root, where)

    def _measure_energy(self, request: EnergyRequest) -> EnergyRun:
        gauge, work = self._find_gauge(request.root), sleep
        if request.built is not None:
            work = self._repeat_for(*self._load(request.built), CHUNK_S)
        others_s = machine.other_cpu_s if self.session is None else lambda: 0.0
        return measure_run(gauge, work, request.least_s, others_s)

    @staticmethod
    def _repeat_for(
        module: graph_executor.GraphModule, device: tvm.runtime.Device, seconds: float
    ) -> Callable[[], float]:
        """Return a function that runs a module for about that time, and returns for how long by the device's clock."""
        once_s = float(module.module.time_evaluator("run", device, number=1, repeat=3)().results[-1])
        number = max(1, round(seconds / max(once_s, 1e-7)))
        evaluator = module.module.time_evaluator("run", device, number=number, repeat=1)
        return lambda: (number + 1) * float(evaluator().results[0])  # one more run comes before those that are timed

    def _busy(self, request: BusyRequest) -> int:
        module, device = self._load(request.built)
        self.connection.send((None, "running"))
        runs, parent = 0, os.getppid()
        while not self.connection.poll() and os.getppid() == parent:
            module.run()
            device.sync()
            runs += 1
        self.connection.recv()
        return runs


def serve(connection: Connection, setting: Setting, make: Callable[[Connection, Setting], Timer] = Timer) -> None:
    """Answer requests with a `Timer` that `make` returns; runs in the child process."""
    for name, value in setting.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if setting.cores:  # the thread that started this process may be pinned
        os.sched_setaffinity(0, setting.cores)
    answer(connection, make(connection, setting).handle)
