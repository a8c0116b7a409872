"""Measure links, synchronisation, co-run slowdown and whole networks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel
from tvm_coexec.core.progress import progress
from tvm_coexec.cost_models.dataset import DEVICES, Samples, SampleWriter, read_samples
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.cost_models.features.workload import Workload

from .. import compile as compiling
from .. import protocol
from ..device_worker import BLOCKING, DeviceWorker
from ..local_devices import runtime_here
from ..measure_links import measure_blocking_copies, measure_links
from ..pieces import Piece
from ..worker import ChildError

if TYPE_CHECKING:
    from .collection import Collection

logger = logging.getLogger("tvm_coexec")

BUSY_S, NETWORK_BUILD_S, NETWORK_RUN_S = 120, 1800, 300
CONTENTION_PER_CLASS = 3
CONTENTION_FEW = 6  # kernels of a sample of few
# The kernel with the most bytes up to this is one of them: two such ask for more than memory gives.
CONTENTION_MOST_BYTES = 250e6
CONTENTION_EXTREMES = 2
# Range of kernel times: long enough to overlap with the other device's, short enough for many repeats.
CONTENTION_BETWEEN_S = (2e-4, 3e-2)
_OTHER = {"cpu": "gpu", "gpu": "cpu"}
CONTENTION_REPEAT_MS, NETWORK_REPEAT_MS = 30, 100


def measure(run: Collection, writer: SampleWriter) -> None:
    """Measure those that are requested and not in the file yet."""
    _measure_links(run, writer)
    if run.options.contention and run.options.server is None:  # an RPC server serves one session at a time
        _measure_contention(run, writer)
    if run.options.networks:
        _measure_networks(run, writer)


def _measure_links(run: Collection, writer: SampleWriter) -> None:
    if writer.found.links and writer.found.round_trips and writer.found.enqueues:
        return
    builder = run.builders[0][1]
    try:
        found = measure_links(run.timer, builder.cpu, builder.gpu, run.export, lambda built: run.time(built).best_s)
    except ChildError as err:
        logger.warning("links can't be measured: %s", err)
        return
    for copy in found.copies:
        writer.write({"record": "copy", **copy})
    writer.write({"record": "meeting", "seconds": found.round_trip_s})
    if found.unified is not None:
        writer.write({"record": "meeting", **found.unified})
    writer.write({"record": "enqueue", "seconds": found.enqueue_s})
    _measure_blocking_copies(run, writer)


def _measure_blocking_copies(run: Collection, writer: SampleWriter) -> None:
    """Measure copies as TVM's own OpenCL runtime makes them, for modules that will run on it."""
    builder = run.builders[0][1]
    if run.options.server is not None or builder.gpu.kind.name != "opencl" or runtime_here(builder.gpu) == "tvm":
        return
    worker = DeviceWorker(replace(run.setting, environment=run.setting.environment | BLOCKING))
    try:
        for copy in measure_blocking_copies(worker, builder.cpu, builder.gpu, run.export):
            writer.write({"record": "copy", "runtime": "tvm", **copy})
    except ChildError as err:
        logger.warning("copies by TVM's own OpenCL runtime can't be measured: %s", err)
    finally:
        worker.stop()


def _measure_contention(run: Collection, writer: SampleWriter) -> None:
    """Time kernels alone, and while the other device runs a kernel: the same one, as shares do, and others."""
    if writer.found.contention:
        return
    chosen = _select_kernels(run, writer.path)
    measured = [k for k in map(partial(_measure_alone, run), progress(chosen, "alone", "kernel")) if k is not None]
    pairs = _select_pairs(measured)
    for cpu, gpu in progress(pairs, "contention", "pair"):
        for device, own, other in (("cpu", cpu, gpu), ("gpu", gpu, cpu)):
            try:
                # The median: two that wait for memory are not slowed in each moment.
                together = _time_while_busy(run, own.built[device], other.built[_OTHER[device]])
            except ChildError as err:
                logger.warning("contention of %s can't be measured: %s", own.name, err)
                run.busy.stop()
                continue
            own_work, other_work = own.workloads[device].to_json(), other.workloads[_OTHER[device]].to_json()
            record = {"record": "contention", "device": device, "workload": own_work, "alone_s": own.alone_s[device]}
            found = {"together_s": together.median_s, "other": other_work, "other_s": other.alone_s[_OTHER[device]]}
            writer.write(record | found)


@dataclass(frozen=True)
class _Alone:
    """A kernel timed alone on both devices; dicts by device."""

    name: str
    workloads: dict[str, Workload]
    built: dict[str, compiling.Built]
    alone_s: dict[str, float]

    def demand(self, device: str) -> float:
        """Bytes per second that it reads and writes."""
        return float(self.workloads[device].traffic_bytes) / self.alone_s[device]


def _is_medium(seconds: float) -> bool:
    low, high = CONTENTION_BETWEEN_S
    return low <= seconds <= high


def _measure_alone(run: Collection, chosen: tuple[int, Kernel]) -> _Alone | None:
    """Build a kernel for both devices and time it; `None` if that fails, or takes too short or too long."""
    model, kernel = chosen
    requests = [run.make_request(model, Piece(d, kernel.index), d) for d in DEVICES]
    built: dict[str, compiling.Built] = {}
    alone_s = {}
    for device, one in zip(DEVICES, run.build_all(requests, run.options.compile_timeout_s), strict=True):
        try:
            if isinstance(one, ChildError):
                raise one
            alone_s[device] = min(run.time(one, CONTENTION_REPEAT_MS).median_s for _ in range(2))
        except ChildError as err:
            logger.warning("contention of %s can't be measured: %s", kernel.name, err)
            return None
        if not _is_medium(alone_s[device]):
            return None
        built[device] = one
    return _Alone(kernel.name, {d: describe(kernel, d) for d in DEVICES}, built, alone_s)


def _select_pairs(kernels: list[_Alone]) -> list[tuple[_Alone, _Alone]]:
    """Select pairs, the CPU's kernel first: each kernel with itself, and those that need most and least with others.

    Products of a device's extremes and the other's are where the terms of `CoRun` differ most.
    """
    pairs = [(k, k) for k in kernels]
    by_demand = {d: sorted(kernels, key=lambda k: k.demand(d)) for d in DEVICES}
    extremes = {d: [*ks[:CONTENTION_EXTREMES], *ks[-CONTENTION_EXTREMES:]] for d, ks in by_demand.items()}
    return pairs + [(c, g) for c in extremes["cpu"] for g in extremes["gpu"] if c is not g]


def _time_while_busy(run: Collection, own: compiling.Built, other: compiling.Built) -> protocol.Timed:
    run.busy.call(protocol.BusyRequest(other), BUSY_S)
    try:
        return run.time(own, CONTENTION_REPEAT_MS)
    finally:
        run.busy.call("stop", BUSY_S)


def _select_kernels(run: Collection, path: str) -> list[tuple[int, Kernel]]:
    """Select kernels with medium times: some of each class, from short to long; if few are measured, by demand.

    The one that moves most bytes is the first, even if it was not measured.
    """
    candidates = _find_medium(run, _read_whole_seconds(read_samples(path)))
    small = [c for c in candidates if c.nbytes <= CONTENTION_MOST_BYTES]
    chosen = [max(small, key=lambda c: c.nbytes)] if small else []
    chosen += _spread_by_demand(candidates) if run.options.few else _spread_by_class(candidates)
    return list({c.kernel.signature(): (c.model, c.kernel) for c in chosen}.values())


@dataclass(frozen=True)
class _Candidate:
    """A kernel of a model, with the seconds that are known of it, by device."""

    model: int
    kernel: Kernel
    times: dict[str, float]

    @cached_property
    def nbytes(self) -> float:
        """Bytes that it reads and writes."""
        return float(describe(self.kernel, "cpu").traffic_bytes)


def _find_medium(run: Collection, seconds: dict[tuple[str, str], float]) -> list[_Candidate]:
    """Return the kernels that run on both devices and of which no known time is too short or too long."""
    found = []
    for model, (_, builder) in enumerate(run.builders):
        for signature, kernel in {k.signature(): k for k in builder.graph.kernels}.items():
            times = {d: t for d in DEVICES if (t := seconds.get((d, signature)))}
            if all(map(_is_medium, times.values())) and all(d in kernel.devices for d in DEVICES):
                found.append(_Candidate(model, kernel, times))
    return found


def _spread_by_demand(candidates: list[_Candidate]) -> list[_Candidate]:
    """Return a few of the kernels that one device at least has measured, from the least to the greatest demand."""
    measured = [c for c in candidates if c.times]
    measured.sort(key=lambda c: c.nbytes / min(c.times.values()))
    places = np.linspace(0, len(measured) - 1, min(CONTENTION_FEW, len(measured))).astype(int)
    return [measured[i] for i in places]


def _spread_by_class(candidates: list[_Candidate]) -> list[_Candidate]:
    """Return some kernels of each class that both devices have measured, from short to long."""
    by_class: dict[str, list[_Candidate]] = {}
    for c in candidates:
        if len(c.times) == len(DEVICES):
            by_class.setdefault(describe(c.kernel, "cpu").kind, []).append(c)
    found = []
    for members in by_class.values():
        members.sort(key=lambda c: c.times["cpu"])
        step = max(1, len(members) // CONTENTION_PER_CLASS)
        found += members[step // 2 :: step][:CONTENTION_PER_CLASS]
    return found


def _measure_networks(run: Collection, writer: SampleWriter) -> None:
    """Time whole networks on each device, for comparison with the sums of their kernels."""
    seconds = _read_whole_seconds(read_samples(writer.path))
    done = set() if run.options.noisy else {(n["network"], n["device"]) for n in writer.found.networks}
    todo = []
    for model, (name, builder) in enumerate(run.builders):
        for device in DEVICES:
            times = [0.0 if k.is_free else seconds.get((device, k.signature())) for k in builder.graph.kernels]
            if len(times) > 1 and name != "designed" and (name, device) not in done and None not in times:
                todo.append((model, name, device, times))
    step = len(run.compilers)
    with progress(what="networks", unit="network", total=len(todo)) as bar:
        for at in range(0, len(todo), step):
            now = todo[at : at + step]
            requests = [run.make_request(model, None, device) for model, _, device, _ in now]
            for entry, request, built in zip(now, requests, run.build_all(requests, NETWORK_BUILD_S), strict=True):
                record = _measure_network(run, entry, built)
                if record is not None:
                    writer.write(record)
                Path(request.path).unlink(missing_ok=True)
                bar.update()


def _measure_network(run: Collection, entry: tuple, built: compiling.Built | ChildError) -> dict[str, Any] | None:
    _, name, device, times = entry
    try:
        timed = run.time(built, NETWORK_REPEAT_MS, NETWORK_RUN_S)
    except ChildError as err:
        logger.warning("network %s can't be measured on the %s: %s", name, device, err)
        return None
    fixed = {"record": "network", "network": name, "device": device, "kernels": len(times)}
    return {**fixed, "sum_s": sum(times), "seconds": timed.best_s}


def _read_whole_seconds(samples: Samples) -> dict[tuple[str, str], float]:
    return {(s.device, s.signature): s.seconds for s in samples.usable if s.rows is None}
