"""Time libraries in the timing process: with cold weights, and those of a batch at quiet moments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tvm.contrib import graph_executor

from . import host_info
from .cold_weights import copy_kernels, count_copies, count_weight_bytes
from .compile import Built
from .executors import ReferenceDrift
from .protocol import Timed, TimeRequest
from .quiet_moments import Waiting, time_when_quiet
from .timing_devices import TimingDevices

# Limit of the repeats at one quiet moment, if two take less.
ENOUGH_S = 0.4
# Bytes of the weights of libraries that are loaded together; one more may be.
BATCH_BYTES = 256 << 20


@dataclass(frozen=True)
class _Loaded:
    """A library to be timed: `copies` of its kernel; `module` is kept alive."""

    module: graph_executor.GraphModule
    waiting: Waiting
    copies: int
    nbytes: int
    patience_s: float


class LibraryTimer:
    """Times libraries on `devices`."""

    def __init__(self, devices: TimingDevices):
        self.devices = devices
        self._drifts: dict[str, ReferenceDrift] = {}

    def time_all(self, requests: Sequence[TimeRequest]) -> list[Timed | Exception]:
        """Time libraries; as many at once as have room in memory wait for quiet moments together."""
        results: list[Timed | Exception] = []
        loaded: list[tuple[int, _Loaded]] = []
        for number, request in enumerate(requests):
            try:
                found = self._time_reference(request) or self.load_cold(request)
            except Exception as err:  # the others may work, unless it was the server that failed
                if len(requests) == 1 or self.devices.session is not None:
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
        return Timed((drift.best_s,), self.devices.setting.settle_s, 0.0, 0.0)

    def _time_loaded(self, loaded: Sequence[tuple[int, _Loaded]], results: list[Timed | Exception]) -> None:
        if not loaded:
            return
        start, others_s = time.perf_counter(), host_info.other_cpu_s()
        time_when_quiet([one.waiting for _, one in loaded], max(one.patience_s for _, one in loaded))
        wall_s, others_s = time.perf_counter() - start, host_info.other_cpu_s() - others_s
        here = self.devices.session is None
        load, mhz = (max(0.0, others_s) / wall_s, host_info.clock_mhz()) if here else (0.0, 0.0)
        for number, one in loaded:
            seconds = tuple(s / one.copies for s in one.waiting.seconds)
            results[number] = Timed(seconds, wall_s / len(loaded), load, mhz, one.waiting.pace)

    def load_cold(self, request: TimeRequest) -> _Loaded:
        """Load a library, with copies of its kernel if its weights have to be cold."""
        built = request.built

        def run_once() -> float:
            start = time.perf_counter()
            module.run()
            device.sync()
            return time.perf_counter() - start

        lib = self.devices.load_library(built.path)
        module, device = self.devices.create(built.graph, built.device, lib)
        once_s = run_once()
        weight_bytes = count_weight_bytes(built.graph, built.weights) if built.weights else 0
        copies = count_copies(weight_bytes, once_s)
        if copies > 1:
            graph, names = copy_kernels(built.graph, built.weights, copies)
            module, device = self.devices.create(graph, built.device, lib, names)
            once_s = run_once()
        # Slow kernels need fewer repeats: their times vary less.
        repeats = max(2, min(request.repeats, int(ENOUGH_S / max(once_s, 1e-9))))
        timer = module.module.time_evaluator(
            "run", device, number=1, repeat=repeats, min_repeat_ms=request.min_repeat_ms
        )
        waiting = Waiting(lambda: tuple(float(s) for s in timer().results), self._drift_of(request.reference))
        return _Loaded(module, waiting, copies, weight_bytes * copies, request.patience_s)

    def _drift_of(self, reference: Built | None) -> ReferenceDrift | None:
        if reference is None:
            return None
        if reference.path not in self._drifts:
            self._drifts[reference.path] = ReferenceDrift(*self.devices.load(reference), self.devices.setting.settle_s)
        return self._drifts[reference.path]
