"""Collect a dataset: compile a batch of kernels on all cores, then time it, and append each sample to the file."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import tvm
from tqdm import tqdm

from tvm_coexec import testbed
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.dataset import DEVICES, Sample, SampleWriter
from tvm_coexec.remote import Server

from .. import compile as compiling
from .. import host_info as machine
from .. import timer as timing
from ..device_worker import DeviceWorker
from ..pieces import KernelBuilder, Piece
from ..read_model import Model
from ..reference import is_same_speed, time_reference
from ..worker import Child, ChildError, wait_for_answers
from . import links_and_contention as extras
from .sampling_plan import Job, choose_jobs

logger = logging.getLogger("tvm_coexec")

LAUNCH_S = 2e-7  # lower bound of a launch
NO_LAUNCH = "launches nothing"  # error of such a sample: there is no kernel to predict
TIME_S = 60


@dataclass(frozen=True)
class Options:
    """Options of collecting.

    Attributes
    ----------
    cpu, gpu : str
        Targets.
    cuts : int
        Shares per axis and device of a compute-intensive kernel.
    repeats, min_repeat_ms : int
        Number of repeats, and minimum duration of each.
    patience_s : float
        Maximum seconds to continue timing while the reference kernel drifts.
    settle_s : float
        Seconds during which the shortest time of a reference kernel is searched for.
    budget_s : float or None
        Seconds after which no new kernel is started.
    networks, contention : bool
        Also time whole networks, and kernels while the other device is busy.
    processes : int
        Number of compiling processes; 0 for one per core.
    compile_timeout_s : float
        A longer compilation is recorded as an error.
    bed : TestBed or None
        See `tvm_coexec.testbed`.
    server : Server or None
        RPC server of the devices; `None` for this machine's.
    retry, noisy : bool
        Measure samples again that failed, or that are noisy.
    """

    cpu: str = "llvm"
    gpu: str = "opencl"
    cuts: int = 2
    repeats: int = timing.REPEATS
    min_repeat_ms: int = timing.MIN_REPEAT_MS
    patience_s: float = timing.PATIENCE_S
    settle_s: float = timing.SETTLE_S
    budget_s: float | None = None
    networks: bool = True
    contention: bool = True
    processes: int = 0
    compile_timeout_s: float = 120.0
    bed: testbed.TestBed | None = None
    server: Server | None = None
    retry: bool = False
    noisy: bool = False


@dataclass
class Summary:
    """Result of a collection.

    Attributes
    ----------
    measured, found, left : int
        Numbers of samples measured in this run, in the file before, and still missing.
    failed : list of str
        Kernels that could not be measured, with the reason.
    load : float
        Number of cores that other processes used while kernels were timed.
    seconds : float
        Duration of the run.
    """

    measured: int = 0
    found: int = 0
    left: int = 0
    failed: list[str] = field(default_factory=list)
    load: float = 0.0
    seconds: float = 0.0


class Collection:
    """The processes of a run, and the requests to them.

    Parameters
    ----------
    builders : list of (str, KernelBuilder)
        Models by name.
    options : Options
    folder : str
        For libraries, which are removed after timing.
    threads : str or None
        ``TVM_NUM_THREADS`` as set by the user.
    """

    def __init__(self, builders: list[tuple[str, KernelBuilder]], options: Options, folder: str, threads: str | None):
        self.builders, self.options, self.folder = builders, options, folder
        warm = options.bed is not None and options.bed.pocl and options.server is None
        count = options.processes or len(os.sched_getaffinity(0))
        gpu_type = builders[0][1].gpu.get_target_device_type()
        environment = {"TVM_NUM_THREADS": threads}
        setting = timing.Setting(gpu_type, options.bed, options.server, environment, settle_s=options.settle_s)
        self.compilers = [Child("fork", compiling.serve, [b for _, b in builders], warm) for _ in range(count)]
        self.timer, self.busy = DeviceWorker(setting), DeviceWorker(setting)
        self._numbers = iter(range(1 << 30))
        self._references: dict[str, compiling.Built] = {}

    def close(self) -> None:
        """End all processes."""
        for child in self.compilers:
            child.stop()
        self.timer.stop()
        self.busy.stop()

    def make_request(self, model: int, piece: Piece | None, device: str) -> compiling.BuildRequest:
        """Make a request to compile into a new file."""
        return compiling.BuildRequest(model, piece, device, self._new_path())

    def export(self, lib: Any, device: str) -> compiling.Built:
        """Export a library that this process has compiled to a new file."""
        return compiling.export(lib, self._new_path(), device)

    def _new_path(self) -> str:
        ending = "tar" if self.options.server else "so"
        return f"{self.folder}/k{next(self._numbers)}.{ending}"

    def build_all(self, requests: list[compiling.BuildRequest], timeout_s: float) -> list[compiling.Built | ChildError]:
        """Compile on all cores; return results in the order of the requests, errors included."""
        results: list[Any] = [None] * len(requests)
        waiting = list(enumerate(requests))[::-1]
        busy: dict[int, tuple[Child, int]] = {}
        while waiting or busy:
            for slot, child in enumerate(self.compilers):
                if slot not in busy and waiting:
                    number, request = waiting.pop()
                    child.send(request, timeout_s)
                    busy[slot] = (child, number)
            for child in wait_for_answers([c for c, _ in busy.values()]):
                slot = next(s for s, (c, _) in busy.items() if c is child)
                number = busy.pop(slot)[1]
                try:
                    results[number] = child.receive()
                except ChildError as err:
                    results[number] = ChildError(f"compiling: {err}")
        return results

    def build_reference(self, device: str) -> compiling.Built:
        """Build the reference kernel for a device, once; raises `ChildError`.

        A child compiles it: compiling may open an OpenCL driver, in which children that are forked later would hang.
        """
        if device not in self._references:
            (built,) = self.build_all(
                [self.make_request(compiling.REFERENCE, None, device)], self.options.compile_timeout_s
            )
            if isinstance(built, ChildError):
                raise built
            self._references[device] = built
        return self._references[device]

    def make_time_request(self, built: compiling.Built, min_repeat_ms: int) -> timing.TimeRequest:
        """Make a request to time a library together with the reference kernel."""
        device = "gpu" if built.device == "both" else built.device
        return timing.TimeRequest(
            built, self.options.repeats, min_repeat_ms, self.build_reference(device), self.options.patience_s
        )

    def time(self, built: compiling.Built | ChildError, min_repeat_ms: int = 0) -> timing.Timed:
        """Time a library; raises `ChildError`."""
        if isinstance(built, ChildError):
            raise built
        return self.timer.time(self.make_time_request(built, min_repeat_ms or self.options.min_repeat_ms), TIME_S)


def collect(models: list[Model], path: str, options: Options) -> Summary:
    """Measure the kernels of models that are not in a dataset yet.

    Parameters
    ----------
    models : list of Model
    path : str
        The dataset; samples are appended.
    options : Options

    Returns
    -------
    Summary

    Raises
    ------
    CoExecError
        If a device is missing, or the file is of another setting.
    """
    start = time.monotonic()
    with _limit_threads() as threads, tempfile.TemporaryDirectory(prefix="coexec-profile-") as folder:
        builders = [(m.name, m.builder(options.cpu, options.gpu)) for m in models]
        for _, builder in builders:
            builder.module(0)  # separates the kernels, before processes are forked
        run = Collection(builders, options, folder, threads)
        try:
            with SampleWriter(path, header_of(run)) as writer:
                summary = _measure_kernels(run, writer)
                extras.measure(run, writer)
        finally:
            run.close()
    summary.seconds = time.monotonic() - start
    summary.load = run.timer.load
    return summary


def header_of(run: Collection) -> dict[str, Any]:
    """Return the header of the dataset."""
    builder, bed = run.builders[0][1], run.options.bed
    return {
        "devices": run.timer.devices(builder.cpu, builder.gpu),
        "tvm": tvm.__version__,
        "schedules": machine.schedules_digest(),
        "setting": bed.description if bed else "",
        "repeats": run.options.repeats,
        "min_repeat_ms": run.options.min_repeat_ms,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def _measure_kernels(run: Collection, writer: SampleWriter) -> Summary:
    options = run.options
    again = {s.key for s in writer.found.samples if (options.retry and s.error) or (options.noisy and s.is_noisy)}
    done = {s.key for s in writer.found.samples} - again
    jobs = choose_jobs([(name, b.graph) for name, b in run.builders], options.cuts)
    todo = [j for j in jobs if j.key not in done]
    if todo:
        _check_references(run, writer)
    summary, start = Summary(found=len(jobs) - len(todo)), time.monotonic()
    batch = 8 * len(run.compilers)
    with tqdm(total=len(jobs), initial=summary.found, desc="kernels", unit="kernel", disable=None) as bar:
        for at in range(0, len(todo), batch):
            if options.budget_s is not None and time.monotonic() - start > options.budget_s:
                summary.left = len(todo) - at
                break
            now = todo[at : at + batch]
            requests = [run.make_request(j.model, j.piece, j.piece.device) for j in now]
            built = run.build_all(requests, options.compile_timeout_s)
            samples = [_measure_sample(run, job, b) for job, b in zip(now, built, strict=True)]
            # Disturbances last for seconds: measure noisy samples again after the others.
            samples = [
                s.choose_shorter(_measure_sample(run, job, b)) if s.is_noisy else s
                for s, job, b in zip(samples, now, built, strict=True)
            ]
            for sample, request in zip(samples, requests, strict=True):
                writer.write(sample)
                Path(request.path).unlink(missing_ok=True)
                summary.measured += 1
                if sample.error:
                    summary.failed.append(f"{sample.kernel} on the {sample.device}: {sample.error}")
            bar.update(len(now))
    return summary


def _check_references(run: Collection, writer: SampleWriter) -> None:
    """Time the reference kernel and record it.

    Raises
    ------
    CoExecError
        If a device is much slower or faster than when the file was started: throttled, at another clock, or on another
        host of the same name.
    """
    for device in DEVICES:
        then = writer.found.references.get(device)
        try:
            now = time_reference(partial(_time_reference, run, device), then)
        except ChildError as err:
            logger.warning("the speed of the %s can't be measured: %s", device, err)
            continue
        if then is not None and not is_same_speed(now, then):
            raise CoExecError(
                f"{writer.path}: the {device} takes {now / then:.2f} times as long for the reference kernel as when "
                "the file was started, so times are not comparable; let the machine cool or become idle, or start a "
                "new file"
            )
        writer.write({"record": "reference", "device": device, "seconds": now})


def _time_reference(run: Collection, device: str) -> float:
    return run.time(run.build_reference(device)).best_s


def _measure_sample(run: Collection, job: Job, built: compiling.Built | ChildError) -> Sample:
    common: dict[str, Any] = dict(
        device=job.piece.device, workload=job.workload, network=job.network, kernel=job.kernel.name,
        signature=job.kernel.signature(), dim=job.piece.dim, rows=job.piece.rows,
    )  # fmt: skip
    try:
        timed = run.time(built)
    except ChildError as err:
        logger.warning("kernel %s can't be measured on the %s: %s", job.kernel.name, job.piece.device, err)
        return Sample(seconds=0.0, repeats=0, error=str(err), **common)
    if timed.best_s < LAUNCH_S:
        # A share of a concatenation that is part of one input is a view: nothing is computed.
        return Sample(seconds=0.0, repeats=len(timed.seconds), error=NO_LAUNCH, **common)
    return Sample(
        seconds=timed.best_s, spread=timed.spread, repeats=len(timed.seconds), load=timed.load, mhz=timed.mhz,
        pace=timed.pace, **common
    )  # fmt: skip


@contextmanager
def _limit_threads() -> Iterator[str | None]:
    """One thread of TVM while this process compiles and forks: children would lack the threads of a pool."""
    before = os.environ.get("TVM_NUM_THREADS")
    os.environ["TVM_NUM_THREADS"] = "1"
    try:
        yield before
    finally:
        if before is None:
            del os.environ["TVM_NUM_THREADS"]
        else:
            os.environ["TVM_NUM_THREADS"] = before
