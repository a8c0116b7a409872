"""The timing process: the only one that uses the devices, local or over TVM's RPC."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import tvm
from tvm.contrib import graph_executor

from tvm_coexec import remote
from tvm_coexec.core.errors import CoExecError, one_line

from . import host_info, links
from .energy.board_files import LIST, READ, LocalFiles, RemoteFiles
from .energy.gauges import Gauge, find_gauge
from .energy.meter import CHUNK_S, EnergyRun, measure_run, sleep
from .library_timer import LibraryTimer
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
from .round_trip import measure_round_trip
from .timing_devices import TimingDevices
from .worker import answer


class Timer:
    """Answers requests with `devices`."""

    def __init__(self, connection: Connection, devices: TimingDevices):
        self.connection, self.devices = connection, devices
        self.library_timer = LibraryTimer(devices)

    def handle(self, request: object) -> object:
        """Answer one request; after a failure the session is not used again."""
        try:
            return self._handle(request)
        except Exception:
            self.devices.session = None
            self.library_timer = LibraryTimer(self.devices)
            raise

    def _handle(self, request: object) -> object:
        devices = self.devices
        if request == "hello":
            return devices.find_names()
        if request == "parameters":
            return devices.find_parameters()
        if request == WHERE:
            devices.get("cpu").sync()  # answers only if the machine does
            return "" if devices.session is None else remote.server_of(devices.session)
        if isinstance(request, TimeRequest):
            return self._time(request)
        if isinstance(request, TimeBatch):
            found = self.library_timer.time_all(request.requests)
            return [one_line(t) if isinstance(t, Exception) else t for t in found]
        if isinstance(request, OutputsRequest):
            return self._outputs(request)
        if isinstance(request, BusyRequest):
            return self._busy(request)
        if isinstance(request, CopyRequest):
            return links.time_from_idle(devices.load(request.built)[0], devices.get("cpu"))
        if isinstance(request, RoundTripRequest):
            lib, both = devices.load_library(request.built.path), [devices.get("cpu"), devices.get("gpu")]
            return measure_round_trip(request.built.graph, lib, both, devices.session)
        if isinstance(request, GaugeRequest):
            return self._find_gauge(request.root).name
        if isinstance(request, EnergyRequest):
            return self._measure_energy(request)
        if isinstance(request, EnqueueRequest):
            return links.measure_enqueue_s(*devices.load(request.built), devices.get("cpu"))
        raise AssertionError(request)

    def _time(self, request: TimeRequest) -> Timed:
        (timed,) = self.library_timer.time_all([request])
        if isinstance(timed, Exception):
            raise timed
        return timed

    def _outputs(self, request: OutputsRequest) -> list[np.ndarray]:
        module, device = self.devices.load(request.built)
        with np.load(request.values) as values:
            for name in values.files:
                module.set_input(name, values[name])
        module.run()
        device.sync()
        return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]

    def _find_gauge(self, root: str) -> Gauge:
        self.devices.get("cpu")
        if self.devices.session is None:
            return find_gauge(LocalFiles(), root)
        list_folder, read_text = (remote.find_function(self.devices.session, name) for name in (LIST, READ))
        where = f"the RPC server {self.devices.setting.server}"
        if list_folder is None or read_text is None:
            raise CoExecError(
                f"the energy of {where} can't be read: it lacks the runtime of this release, which reads the gauge "
                "(see `coexec connect`); leave out --energy, or give readings of a power meter to `coexec fit --meter`"
            )
        return find_gauge(RemoteFiles(list_folder, read_text), root, where)

    def _measure_energy(self, request: EnergyRequest) -> EnergyRun:
        gauge, work = self._find_gauge(request.root), sleep
        if request.built is not None:
            work = self._repeat_for(*self.devices.load(request.built), CHUNK_S)
        others_s = host_info.other_cpu_s if self.devices.session is None else lambda: 0.0
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
        module, device = self.devices.load(request.built)
        self.connection.send((None, "running"))
        runs, parent = 0, os.getppid()
        while not self.connection.poll() and os.getppid() == parent:
            module.run()
            device.sync()
            runs += 1
        self.connection.recv()
        return runs


def prepare_process(setting: Setting) -> None:
    """Set the environment and the cores of a child process that uses the devices."""
    for name, value in setting.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if setting.cores:  # the thread that started this process may be pinned
        os.sched_setaffinity(0, setting.cores)


def serve(connection: Connection, setting: Setting) -> None:
    """Answer requests; runs in the child process."""
    prepare_process(setting)
    answer(connection, Timer(connection, TimingDevices(setting)).handle)
