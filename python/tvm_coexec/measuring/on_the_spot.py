"""Measuring a model's own kernels, whole and shared, on the devices at hand.

Kernels are built exactly as the co-executed module would build them (a plan with one segment through the same
passes), so schedules, layouts and fusion are those of the real thing. What was measured is kept in the user's cache
directory, by device and target: planning the same model again measures nothing.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tqdm import tqdm
from tvm import relay
from tvm.contrib import graph_executor
from tvm.target import Target

from tvm_coexec.core.cache import cache_folder
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import AXIS_EQUALS, DEVICES, Kernel, KernelGraph, round_cut
from tvm_coexec.cost_models import Costs, Link, MeasuredCosts, Profile, load_costs
from tvm_coexec.cost_models import shipped as profiles
from tvm_coexec.cost_models.measured import UNUSABLE_S, WHOLE
from tvm_coexec.cost_models.profile import device_name, difference
from tvm_coexec.opencl import runtime
from tvm_coexec.planner import make_plan
from tvm_coexec.relay_passes.extract import extract_with_calls
from tvm_coexec.targets import target_text

from . import links
from .host_info import cpu_name, cpu_threads, other_cpu_s, schedules_digest
from .pieces import KernelBuilder, Piece, compile_for

logger = logging.getLogger("tvm_coexec")

MEASURE = "measure"

# Shares are measured only where a perfect split could save this part of the network's time...
WORTH_PART = 0.005
# ... and where it could save this part of the kernel's own time.
WORTH_GAIN = 0.10
# How often what the best plan divides is measured, and planned again.
ROUNDS = 6
BUSY_CORES = 0.25  # used by others, above which times are not to be trusted
REPEATS = 3
MIN_REPEAT_MS = 4


def costs_for(
    prepared: tvm.IRModule, graph: KernelGraph, cpu: Target, gpu: Target, profile: object | None, axis: str = "auto"
) -> Costs:
    """The costs that a plan is made with.

    Parameters
    ----------
    prepared : IRModule
        After `relay_passes.prepare`.
    graph : KernelGraph
        Extracted from it.
    cpu, gpu : Target
    profile : str, path, Costs or None
        A file, the name of a profile that comes with the package (see `cost_models.shipped`), a cost model, or
        ``measure``: this model's kernels are measured on the devices of this machine. `None` takes the package's
        profile of these very devices and targets; without one the kernels are measured, and where that can't be, the
        generic profile stands in.
    axis : str
        The axis whose shares matter, or ``auto``.

    Returns
    -------
    Costs
        Its description says where the numbers come from; it is in every plan and report.

    Raises
    ------
    CoExecError
        When the profile can't be read, or ``measure`` is asked for where the devices are not.
    """
    if profile is None:
        return _by_default(prepared, cpu, gpu, axis)
    if profile == MEASURE:
        if why := why_not_here(cpu, gpu):
            raise CoExecError(f"profile 'measure': kernels can't be measured here ({why}); give a profile")
        return measure(prepared, cpu, gpu, axis)
    if isinstance(profile, (str, os.PathLike)):
        path = profiles.find(os.fspath(profile))
        costs = load_costs(path)
        if isinstance(costs, Profile) and path.stem != profiles.GENERIC:
            _warn_of_others(str(profile), costs, cpu, gpu)
        return costs
    if all(hasattr(profile, m) for m in ("whole_s", "shares_s", "slowdown", "upload", "download", "host_copy")):
        return profile  # type: ignore[return-value]
    raise CoExecError(f"profile must be a file, a name or a cost model, not {type(profile).__name__}")


def _warn_of_others(name: str, profile: Profile, cpu: Target, gpu: Target) -> None:
    """A profile of other targets or devices plans, too, but for those."""
    now = {"target": {"cpu": target_text(cpu), "gpu": target_text(gpu)}}
    if not why_not_here(cpu, gpu):
        now["device"] = _names_here(gpu)
    if other := difference({"target": profile.targets, "device": profile.names}, now):
        logger.warning("the profile %s is of other devices (%s): its times may be far off", name, other)


def _names_here(gpu: Target) -> dict[str, str]:
    device = tvm.runtime.Device(gpu.get_target_device_type(), 0)
    return {"cpu": device_name(cpu_name(), cpu_threads()), "gpu": device_name(_device_name(device))}


def _by_default(prepared: tvm.IRModule, cpu: Target, gpu: Target, axis: str) -> Costs:
    if why := why_not_here(cpu, gpu):
        logger.warning(
            "kernels can't be measured here (%s): planning with the generic profile, of another board; a profile of "
            "the devices (coexec profile, coexec fit) plans better",
            why,
        )
        return generic()
    found = shipped(cpu, gpu)
    if found is None:
        return measure(prepared, cpu, gpu, axis, by_default=True)
    logger.info("planning with the profile '%s' that comes with tvm-coexec: %s", found[0], found[1].description)
    return found[1]


def generic() -> Profile:
    """The profile that stands in where nothing is known of the devices."""
    return Profile.load(profiles.FOLDER / f"{profiles.GENERIC}.json")


def shipped(cpu: Target, gpu: Target) -> tuple[str, Profile] | None:
    """Name and content of the package's profile of these very targets on this machine's devices, if there is one."""
    if why_not_here(cpu, gpu):
        return None
    return profiles.matching({"cpu": target_text(cpu), "gpu": target_text(gpu)}, _names_here(gpu))


def why_not_here(cpu: Target, gpu: Target) -> str:
    """Why kernels for these targets can't run on this machine; empty when they can."""
    device = tvm.runtime.Device(gpu.get_target_device_type(), 0)
    if not device.exist:
        reason = runtime.why_unavailable() if gpu.kind.name == "opencl" else None
        return reason or f"no {gpu.kind.name} device"
    triple = str(cpu.attrs.get("mtriple", "")) or platform.machine()
    if triple.split("-")[0] not in (platform.machine(), {"arm64": "aarch64"}.get(platform.machine(), "")):
        return f"the CPU target is for {triple}"
    return ""


def measure(
    prepared: tvm.IRModule, cpu: Target, gpu: Target, axis: str = "auto", by_default: bool = False
) -> MeasuredCosts:
    """Measures every kernel whole on both devices, shares of those where a split may pay, and what a plan divides.

    Between measured shares times are interpolated, and a search finds the cuts where that flatters. So the shares that
    the best plan has are measured as well, and it is planned again, until a plan has none that was not measured.

    Parameters
    ----------
    prepared, cpu, gpu, axis
        See `costs_for`.
    by_default : bool
        Say so, since nobody asked for it.

    Returns
    -------
    MeasuredCosts
        Also written to the cache directory.
    """
    device = tvm.runtime.Device(gpu.get_target_device_type(), 0)
    extracted = extract_with_calls(prepared)
    path = _cache_path(cpu, gpu, device)
    costs = _load_or_start(path, device, cpu, gpu)
    meter = _Meter(KernelBuilder(prepared, extracted, cpu, gpu), device, costs)
    unique = list({k.signature(): k for k in extracted.graph.kernels}.values())
    start_s, others_s = time.monotonic(), other_cpu_s()
    try:
        whole = [_Job(d, k, WHOLE, 0) for k in unique for d in k.devices]
        for k in unique:
            for device in set(DEVICES) - set(k.devices):
                costs.add(device, k.signature(), WHOLE, 0, UNUSABLE_S)
        if by_default and not all(costs.has(j.device, j.kernel.signature()) for j in whole):
            logger.warning(
                "this model's kernels are measured on both devices now, which takes minutes and is kept for the next "
                "time; a profile (coexec profile, coexec fit), or profile='generic', needs no measuring"
            )
        meter.run(whole, "measuring kernels")
        meter.networks(extracted.graph)
        meter.run(list(_share_jobs(extracted.graph, unique, costs, axis)), "measuring shares")
        for number in range(1, ROUNDS + 1):
            planned = list(_planned_jobs(extracted.graph, costs, axis))
            if not meter.run(planned, f"measuring the plan's shares, round {number}"):
                break
    finally:
        if path is not None:
            costs.save(str(path))
    busy = (other_cpu_s() - others_s) / max(1e-9, time.monotonic() - start_s)
    if meter.measured and busy > BUSY_CORES:
        kept = f"; they are kept in {path}, delete it to measure again on a quiet machine" if path else ""
        logger.warning("other processes used %.1f cores while kernels were measured: times may be off%s", busy, kept)
    return costs


@dataclass(frozen=True)
class _Job:
    device: str
    kernel: Kernel
    dim: int
    rows: int


def _share_jobs(graph: KernelGraph, unique: list[Kernel], costs: Costs, axis: str) -> Iterable[_Job]:
    total = sum(min(costs.whole_s(d, k) for d in ("cpu", "gpu")) for k in graph.kernels)
    count: dict[str, int] = {}
    for k in graph.kernels:
        count[k.signature()] = count.get(k.signature(), 0) + 1
    for k in unique:
        c, g = costs.whole_s("cpu", k), costs.whole_s("gpu", k)
        saved = min(c, g) - 1.0 / (1.0 / c + 1.0 / g)
        if not k.is_heavy or saved < WORTH_GAIN * min(c, g) or saved * count[k.signature()] < WORTH_PART * total:
            continue
        balance = c / (c + g)  # the GPU's part if both scaled perfectly
        for a in k.axes:
            if a.name not in ((axis, AXIS_EQUALS.get(axis)) if axis != "auto" else ("oc", "h", "n", "m", "batch")):
                continue
            # One point near the balance is what compiling two more kernels is worth; the rest is on lines through it.
            cut = min(max(round_cut(a, balance), a.align), a.extent - a.align)
            if 0 < cut < a.extent and cut % a.granule == 0:
                yield _Job("gpu", k, a.dim, cut)
                yield _Job("cpu", k, a.dim, a.extent - cut)


def _planned_jobs(graph: KernelGraph, costs: Costs, axis: str) -> Iterable[_Job]:
    """The shares that the best plan would run, were any gain enough."""
    for segment in make_plan(graph, costs, axis=axis, min_gain=0.0).chains:
        shares = segment.shares(graph)
        for k in segment.kernels:
            for device, ranges in (("gpu", shares.gpu), ("cpu", shares.cpu)):
                rows = ranges[k][1] - ranges[k][0]
                if 0 < rows < graph.kernels[k].axis(shares.dims[k]).extent:
                    yield _Job(device, graph.kernels[k], shares.dims[k], rows)


class _Meter:
    def __init__(self, builder: KernelBuilder, device: tvm.runtime.Device, costs: MeasuredCosts):
        self.builder = builder
        self.devices = {"cpu": tvm.cpu(0), "gpu": device}
        self.costs = costs
        self.rng = np.random.default_rng(0)
        self.measured = 0

    def run(self, jobs: list[_Job], title: str) -> int:
        """Measure what was not measured yet; returns how much that was."""
        by_key = {(j.device, j.kernel.signature(), j.dim, j.rows): j for j in jobs}
        todo = [job for key, job in by_key.items() if not self.costs.has(*key)]
        for job in tqdm(todo, desc=title, unit="kernel", disable=None if todo else True, leave=False):
            try:
                seconds = self._measure(job)
            except Exception as err:  # one bad kernel must not end the run: it stays where it works
                last = str(err).strip().splitlines()[-1:] or [type(err).__name__]
                logger.warning("kernel %s can't run on the %s: %s", job.kernel.name, job.device, last[0])
                seconds = UNUSABLE_S
            self.costs.add(job.device, job.kernel.signature(), job.dim, job.rows, seconds)
            self.measured += 1
        return len(todo)

    def networks(self, graph: KernelGraph) -> None:
        """Measure the whole network on each device alone: what a plan must beat."""
        builder = self.builder
        for device, target in (("cpu", builder.cpu), ("gpu", builder.gpu)):
            if self.costs.alone_s(device, graph) is not None or any(device not in k.devices for k in graph.kernels):
                continue
            try:
                lib = compile_for(builder.prepared, target, builder.cpu)
                self.costs.add_network(device, graph, self._time(builder.prepared["main"], lib, device))
            except Exception as err:  # its kernels are measured one by one, too
                last = str(err).strip().splitlines()[-1:] or [type(err).__name__]
                logger.warning("the network as a whole can't run on the %s: %s", device, last[0])

    def _measure(self, job: _Job) -> float:
        func, lib = self.builder.build(_piece(job))
        return self._time(func, lib, job.device)

    def _time(self, func: relay.Function, lib, on: str) -> float:
        device = self.devices[on]
        module = graph_executor.GraphModule(lib["default"](device))
        for p in func.params:
            module.set_input(p.name_hint, self._data(p.checked_type))
        module.run()
        device.sync()
        timer = module.module.time_evaluator("run", device, number=1, repeat=REPEATS, min_repeat_ms=MIN_REPEAT_MS)
        return float(min(timer().results))  # what others do on the machine only ever adds

    def _data(self, ty: relay.TensorType) -> np.ndarray:
        shape = [int(d) for d in ty.shape]
        if "float" in ty.dtype:
            return self.rng.standard_normal(shape).astype(ty.dtype)
        return self.rng.integers(0, 2, shape).astype(ty.dtype)


def _piece(job: _Job) -> Piece:
    if job.dim == WHOLE:
        return Piece(job.device, job.kernel.index)
    axis = job.kernel.axis(job.dim)
    rows = (0, job.rows) if job.device == "gpu" else (axis.extent - job.rows, axis.extent)
    return Piece(job.device, job.kernel.index, job.dim, rows)


def _load_or_start(path: Path | None, device, cpu: Target, gpu: Target) -> MeasuredCosts:
    if path is not None and path.exists():
        try:
            return MeasuredCosts.load(str(path))
        except CoExecError as err:
            logger.warning("%s", err)
    name = _device_name(device)
    description = f"measured here: {cpu} | {gpu.kind.name} on {name}, {_threads()} CPU threads"
    times = links.copies(tvm.cpu(0), device)
    upload, download, host_copy = (_link(times, n) for n in ("upload", "download", "host_copy"))
    # What waking the GPU and waiting for it costs beyond the copies; the plan pays it once per meeting.
    lib = compile_for(links.meeting_module(), gpu, cpu)
    module = graph_executor.GraphModule(lib["default"](device))
    round_trip = links.meeting_s(module, device, tvm.cpu(0))
    enqueue_s = links.enqueue_s(module, device, tvm.cpu(0))
    meeting = round_trip - upload.seconds(links.SMALL_BYTES) - download.seconds(links.SMALL_BYTES) - enqueue_s
    download = Link(download.constant_s + max(0.0, meeting), download.per_byte_s)
    return MeasuredCosts(upload, download, host_copy, description=description, enqueue_s=enqueue_s)


def _link(times: list[dict], name: str) -> Link:
    """Constant and per-byte time of a copy, from a small and a large one."""
    seconds = {t["bytes"]: t["seconds"] for t in times if t["link"] == name}
    small, large = min(seconds), max(seconds)
    slope = max(0.0, (seconds[large] - seconds[small]) / (large - small))
    return Link(max(1e-7, seconds[small] - small * slope), slope)


def _device_name(device) -> str:
    return str(device.device_name or device.device_type)


def _threads() -> str:
    return os.environ.get("TVM_NUM_THREADS", "all")


def _cache_path(cpu: Target, gpu: Target, device) -> Path | None:
    """One file per pair of devices, targets and schedules; `None` when the user wants no cache."""
    folder = cache_folder()
    if folder is None:
        return None
    key = [str(cpu), str(gpu), _device_name(device), cpu_name(), _threads(), tvm.__version__, schedules_digest()]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    return folder / f"{digest}.json"
