"""The collection: compile a batch on all cores, then time it on a quiet machine, line by line into the file."""

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

from .. import compile as compiling
from .. import host_info as machine
from .. import timer as timing
from ..device_worker import DeviceWorker
from ..pace import is_same_pace, time_reference
from ..pieces import KernelBuilder, Piece
from ..read_model import Model
from ..worker import Child, ChildError, answered
from . import links_and_contention as extras
from .sampling_plan import Job, choose_jobs

logger = logging.getLogger("tvm_coexec")

LAUNCH_S = 2e-7  # no launch takes less
TIME_S = 60


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes
    ----------
    cpu, gpu : str
        Targets.
    cuts : int
        Shares per axis of a heavy kernel and device.
    repeats, min_repeat_ms : int
        Repeats of every timing, and how long each lasts at least.
    patience_s : float
        How long timing goes on while the device is slower than usual.
    settle_s : float
        How long the shortest time of a reference is looked for.
    budget_s : float or None
        No new kernel is begun after so many seconds.
    networks, contention : bool
        Also time whole networks, and kernels while the other device is busy.
    processes : int
        How many compile at once; 0 for one a core.
    compile_timeout_s : float
        What may take longer is recorded as an error.
    bed : TestBed or None
        See `tvm_coexec.testbed`.
    tracker : (str, int) or None
    key : str
        Device behind an RPC tracker.
    retry, disturbed : bool
        Measure again what failed before, and what other processes may have slowed down.
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
    tracker: tuple[str, int] | None = None
    key: str = ""
    retry: bool = False
    disturbed: bool = False


@dataclass
class Summary:
    """What a collection did.

    Attributes
    ----------
    measured, found, left : int
        Kernels and shares: now, in the file before, and not yet.
    failed : list of str
        Which of them could not be measured, and why.
    load : float
        Cores that other processes used while kernels were timed.
    seconds : float
        All of it.
    """

    measured: int = 0
    found: int = 0
    left: int = 0
    failed: list[str] = field(default_factory=list)
    load: float = 0.0
    seconds: float = 0.0


class Collection:
    """The processes of a run, and what they are asked.

    Parameters
    ----------
    builders : list of (str, KernelBuilder)
        Models by name.
    options : Options
    folder : str
        For libraries; they are removed once they are timed.
    threads : str or None
        ``TVM_NUM_THREADS`` as the user set it.
    """

    def __init__(self, builders: list[tuple[str, KernelBuilder]], options: Options, folder: str, threads: str | None):
        self.builders, self.options, self.folder = builders, options, folder
        warm = options.bed is not None and options.bed.pocl and options.tracker is None
        count = options.processes or len(os.sched_getaffinity(0))
        gpu_type = builders[0][1].gpu.get_target_device_type()
        environment = {"TVM_NUM_THREADS": threads}
        setting = timing.Setting(
            gpu_type, options.bed, options.tracker, options.key, environment, settle_s=options.settle_s
        )
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

    def request(self, model: int, piece: Piece | None, device: str) -> compiling.BuildRequest:
        """A request to compile into a new file."""
        return compiling.BuildRequest(model, piece, device, self._new_path())

    def export(self, lib: Any, device: str) -> compiling.Built:
        """Put what this process compiled into a new file."""
        return compiling.export(lib, self._new_path(), device)

    def _new_path(self) -> str:
        ending = "tar" if self.options.tracker else "so"
        return f"{self.folder}/k{next(self._numbers)}.{ending}"

    def build_all(self, requests: list[compiling.BuildRequest], timeout_s: float) -> list[compiling.Built | ChildError]:
        """Compile on all cores; the answers in order, an error in the place of what failed."""
        results: list[Any] = [None] * len(requests)
        waiting = list(enumerate(requests))[::-1]
        busy: dict[int, tuple[Child, int]] = {}
        while waiting or busy:
            for slot, child in enumerate(self.compilers):
                if slot not in busy and waiting:
                    number, request = waiting.pop()
                    child.send(request, timeout_s)
                    busy[slot] = (child, number)
            for child in answered([c for c, _ in busy.values()]):
                slot = next(s for s, (c, _) in busy.items() if c is child)
                number = busy.pop(slot)[1]
                try:
                    results[number] = child.receive()
                except ChildError as err:
                    results[number] = ChildError(f"compiling: {err}")
        return results

    def reference(self, device: str) -> compiling.Built:
        """A kernel that is always the same, for a device; raises `ChildError`.

        A child compiles it: compiling may open an OpenCL driver, and children forked after that would hang in it.
        """
        if device not in self._references:
            (built,) = self.build_all([self.request(compiling.REFERENCE, None, device)], self.options.compile_timeout_s)
            if isinstance(built, ChildError):
                raise built
            self._references[device] = built
        return self._references[device]

    def time_request(self, built: compiling.Built, min_repeat_ms: int) -> timing.TimeRequest:
        """A request to time a library beside the reference of its device."""
        device = "gpu" if built.device == "both" else built.device
        return timing.TimeRequest(
            built, self.options.repeats, min_repeat_ms, self.reference(device), self.options.patience_s
        )

    def time(self, built: compiling.Built | ChildError, min_repeat_ms: int = 0) -> timing.Timed:
        """Time a library; raises `ChildError`."""
        if isinstance(built, ChildError):
            raise built
        return self.timer.time(self.time_request(built, min_repeat_ms or self.options.min_repeat_ms), TIME_S)


def collect(models: list[Model], path: str, options: Options) -> Summary:
    """Measure the kernels of some models, or what of them is not in the file yet.

    Parameters
    ----------
    models : list of Model
    path : str
        File of samples; appended to.
    options : Options

    Returns
    -------
    Summary

    Raises
    ------
    CoExecError
        When a device is missing, or the file belongs to another setting.
    """
    start = time.monotonic()
    with _one_thread() as threads, tempfile.TemporaryDirectory(prefix="coexec-profile-") as folder:
        builders = [(m.name, m.builder(options.cpu, options.gpu)) for m in models]
        for _, builder in builders:
            builder.module(0)  # cut into kernels once, here, for all compiling processes
        run = Collection(builders, options, folder, threads)
        try:
            with SampleWriter(path, header_of(run)) as writer:
                summary = _kernels(run, writer)
                extras.measure(run, writer)
        finally:
            run.close()
    summary.seconds = time.monotonic() - start
    summary.load = run.timer.load
    return summary


def header_of(run: Collection) -> dict[str, Any]:
    """The setting of a collection."""
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


def _kernels(run: Collection, writer: SampleWriter) -> Summary:
    options = run.options
    again = {s.key for s in writer.found.samples if (options.retry and s.error) or (options.disturbed and s.disturbed)}
    done = {s.key for s in writer.found.samples} - again
    jobs = choose_jobs([(name, b.graph) for name, b in run.builders], options.cuts)
    todo = [j for j in jobs if j.key not in done]
    if todo:
        _references(run, writer)
    summary, start = Summary(found=len(jobs) - len(todo)), time.monotonic()
    batch = 8 * len(run.compilers)
    with tqdm(total=len(jobs), initial=summary.found, desc="kernels", unit="kernel", disable=None) as bar:
        for at in range(0, len(todo), batch):
            if options.budget_s is not None and time.monotonic() - start > options.budget_s:
                summary.left = len(todo) - at
                break
            now = todo[at : at + batch]
            requests = [run.request(j.model, j.piece, j.piece.device) for j in now]
            built = run.build_all(requests, options.compile_timeout_s)
            samples = [_sample(run, job, b) for job, b in zip(now, built, strict=True)]
            # What disturbs a machine lasts for seconds: another time, after the others, may be a better one.
            samples = [
                s.shorter(_sample(run, job, b)) if s.disturbed else s
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


def _references(run: Collection, writer: SampleWriter) -> None:
    """Note how fast the devices are; times from before and from now must go together.

    Raises
    ------
    CoExecError
        When a device is much slower or faster than when the file was begun: throttled, at another clock, or on
        another host of the same name.
    """
    for device in DEVICES:
        then = writer.found.references.get(device)
        try:
            now = time_reference(partial(_time_reference, run, device), then)
        except ChildError as err:
            logger.warning("the speed of the %s can't be measured: %s", device, err)
            continue
        if then is not None and not is_same_pace(now, then):
            raise CoExecError(
                f"{writer.path}: the {device} takes {now / then:.2f} times as long for the same kernel as when the "
                "file was started, so its times would not go together; let the machine cool or become idle, or start "
                "a new file"
            )
        writer.write({"record": "reference", "device": device, "seconds": now})


def _time_reference(run: Collection, device: str) -> float:
    return run.time(run.reference(device)).best_s


def _sample(run: Collection, job: Job, built: compiling.Built | ChildError) -> Sample:
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
        # A share of a concatenation that lies in one of its inputs is that input: there is nothing to compute.
        return Sample(seconds=0.0, repeats=len(timed.seconds), error="launches nothing", **common)
    return Sample(
        seconds=timed.best_s, spread=timed.spread, repeats=len(timed.seconds), load=timed.load, mhz=timed.mhz,
        pace=timed.pace, **common
    )  # fmt: skip


@contextmanager
def _one_thread() -> Iterator[str | None]:
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
