"""Collect a dataset: compile a batch of kernels on all cores, then time it, and append each sample to the file."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import tvm

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.progress import progress
from tvm_coexec.cost_models.dataset import DEVICES, Sample, SampleWriter

from .. import compile as compiling
from .. import host_info as machine
from .. import protocol
from ..local_devices import runtime_here
from ..read_model import Model
from ..reference import is_same_speed, time_reference
from ..worker import ChildError
from . import energy
from . import links_and_contention as extras
from .boards import Board
from .collection import TIME_S, Collection, Options, Summary
from .few import choose_few
from .sampling_plan import Job, choose_jobs

logger = logging.getLogger("tvm_coexec")

LAUNCH_S = 2e-7  # lower bound of a launch
NO_LAUNCH = "launches nothing"  # error of such a sample: there is no kernel to predict


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
        If a device is missing, the file is of another setting, or energy is asked for and the machine has no gauge.
    """
    start = time.monotonic()
    with _limit_threads() as threads, tempfile.TemporaryDirectory(prefix="coexec-profile-") as folder:
        builders = [(m.name, m.builder(options.cpu, options.gpu)) for m in models]
        for _, builder in builders:
            builder.module(0)  # separates the kernels, before processes are forked
        run = Collection(builders, options, folder, threads)
        try:
            header = header_of(run)
            if options.energy:
                energy.find_gauge(run)  # before hours of work on what needs none
            with SampleWriter(path, header) as writer:
                _build_references(run)
                summary = _measure_kernels(run, writer)
                extras.measure(run, writer)
                if options.energy:
                    summary.energy = energy.measure(run, writer)
        finally:
            run.close()
    summary.seconds = time.monotonic() - start
    summary.load = run.boards.load
    if options.server is not None:
        summary.boards, summary.left_out = run.boards.used, run.boards.left_out
    return summary


def header_of(run: Collection) -> dict[str, Any]:
    """Return the header of the dataset."""
    builder, bed = run.builders[0][1], run.options.bed
    return {
        "devices": run.boards.devices(builder.cpu, builder.gpu),
        "tvm": tvm.__version__,
        "schedules": machine.schedules_digest(),
        **({"runtime": "tvm"} if run.options.server is None and runtime_here(builder.gpu) == "tvm" else {}),
        "setting": bed.description if bed else "",
        "repeats": run.options.repeats,
        "min_repeat_ms": run.options.min_repeat_ms,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "parameters": run.boards.first.worker.parameters(),
    }


def _measure_kernels(run: Collection, writer: SampleWriter) -> Summary:
    options = run.options
    again = {s.key for s in writer.found.samples if (options.retry and s.error) or (options.noisy and s.is_noisy)}
    done = {s.key for s in writer.found.samples} - again
    jobs = choose_jobs([(name, b.graph) for name, b in run.builders], options.cuts)
    if options.few:
        names = {device: about["name"] for device, about in writer.header["devices"].items()}
        jobs = choose_few(jobs, options.few, options.profiles, names)
    todo = [j for j in jobs if j.key not in done]
    if todo:
        _start_boards(run, writer)
    summary, start = Summary(found=len(jobs) - len(todo)), time.monotonic()
    batch = 8 * len(run.compilers)
    with progress(what="kernels", unit="kernel", total=len(jobs), done=summary.found) as bar:
        for at in range(0, len(todo), batch):
            if options.budget_s is not None and time.monotonic() - start > options.budget_s:
                summary.left = len(todo) - at
                break
            now = todo[at : at + batch]
            requests = [run.make_request(j.model, j.piece, j.piece.device) for j in now]
            built = run.build_all(requests, options.compile_timeout_s)
            samples = _measure_samples(run, now, built)
            # Disturbances last for seconds: measure noisy samples again after the others.
            noisy = [i for i, s in enumerate(samples) if s.is_noisy]
            second = _measure_samples(run, [now[i] for i in noisy], [built[i] for i in noisy])
            for i, sample in zip(noisy, second, strict=True):
                samples[i] = samples[i].choose_shorter(sample)
            for sample, request in zip(samples, requests, strict=True):
                writer.write(sample)
                Path(request.path).unlink(missing_ok=True)
                summary.measured += 1
                if sample.error:
                    summary.failed.append(f"{sample.kernel} on the {sample.device}: {sample.error}")
            bar.update(len(now))
    return summary


def _build_references(run: Collection) -> None:
    """Build the reference kernels: here, while no OpenCL driver is open, and not in a board's thread."""
    for device in DEVICES:
        try:
            run.build_reference(device)
        except ChildError as err:
            logger.warning("the reference kernel of the %s can't be built: %s", device, err)


def _start_boards(run: Collection, writer: SampleWriter) -> None:
    """Time the reference kernel on every board and record it.

    Raises
    ------
    CoExecError
        If no board is at the speed of the start of the file: throttled, at another clock, or another device of the same
        name.
    """
    standard = dict(writer.found.references)
    run.boards.admit = partial(_why_not_admitted, run, writer, standard)
    gone = len(run.boards.left_out)
    try:
        run.boards.start()
    except CoExecError:
        if run.options.server is None or len(run.boards.left_out) - gone == 1:
            raise CoExecError(run.boards.left_out[-1][1]) from None  # the only board
        raise


def _why_not_admitted(run: Collection, writer: SampleWriter, standard: dict[str, float], board: Board) -> str:
    """Time a board's reference kernels, and return why its times can't be in the file; empty if they can."""
    builder = run.builders[0][1]
    if run.options.server is not None:
        try:
            found, want = board.worker.devices(builder.cpu, builder.gpu), writer.header["devices"]
        except CoExecError as err:
            return str(err)
        if found != want:
            return f"it has other devices ({found['gpu']['name']}) than the file ({want['gpu']['name']})"
    for device in DEVICES:
        then = standard.get(device)
        try:
            now = time_reference(partial(_time_reference, run, board, device), then)
        except ChildError as err:
            logger.warning("the speed of the %s can't be measured: %s", device, err)
            continue
        if then is not None and not is_same_speed(now, then):
            return (
                f"{writer.path}: the {device} takes {now / then:.2f} times as long for the reference kernel as when "
                "the file was started, so times are not comparable; let the machine cool or become idle, or start a "
                "new file"
            )
        standard.setdefault(device, now)
        board.paces[device] = now / standard[device]
        where = {"board": board.address, "pace": round(board.paces[device], 3)} if board.address else {}
        writer.write({"record": "reference", "device": device, "seconds": now, **where})
    return ""


def _time_reference(run: Collection, board: Board, device: str) -> float:
    request = run.make_time_request(run.build_reference(device), run.options.min_repeat_ms)
    return board.worker.time(request, TIME_S).best_s


def _measure_samples(run: Collection, jobs: list[Job], built: list[compiling.Built | ChildError]) -> list[Sample]:
    return [_make_sample(job, *timed) for job, timed in zip(jobs, run.time_all(built), strict=True)]


def _make_sample(job: Job, timed: protocol.Timed | ChildError, board: Board | None) -> Sample:
    common: dict[str, Any] = dict(
        device=job.piece.device, workload=job.workload, network=job.network, kernel=job.kernel.name,
        signature=job.kernel.signature(), dim=job.piece.dim, rows=job.piece.rows,
        board=board.address if board else "",
    )  # fmt: skip
    if isinstance(timed, ChildError):
        logger.warning("kernel %s can't be measured on the %s: %s", job.kernel.name, job.piece.device, timed)
        return Sample(seconds=0.0, repeats=0, error=str(timed), **common)
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
