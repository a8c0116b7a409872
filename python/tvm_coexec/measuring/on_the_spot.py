"""``profile="measure"``: measure a model's own kernels and shares on this machine.

Kernels are built as in the co-executed module (a plan with one segment goes through the same passes), so schedules,
layouts and fusion are the same. They are timed like the samples of a profile, with the same detection of noise.
Measurements are kept in the user's cache directory by device and target, so planning the same model again measures
nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

import tvm
from tvm.target import Target

from tvm_coexec.core.cache import cache_folder
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import DEVICES, Kernel, KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.core.progress import progress
from tvm_coexec.cost_models import MeasuredCosts
from tvm_coexec.cost_models.fit_links import fit_host_copy, fit_link, fit_unified, wait_beyond_copies
from tvm_coexec.cost_models.measured import UNUSABLE_S, WHOLE
from tvm_coexec.planner import CachedCosts, check_options, make_plan, makespan_s
from tvm_coexec.relay_passes.extract import extract_with_calls

from .host_info import BUSY_CORES, cpu_name, cpu_threads, schedules_digest
from .kernel_meter import KernelMeter
from .local_devices import gpu_name
from .pieces import KernelBuilder, Piece
from .reference import is_same_speed, time_reference
from .worker import ChildError

logger = logging.getLogger("tvm_coexec")


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes
    ----------
    rounds : int
        Maximum number of times that the shares of the best plan are measured, and the plan is made again.
    worth_gain : float
        A round is worth it if its plan promises to save this fraction of the time of the best plan that was measured.
    """

    rounds: int = 6
    worth_gain: float = 0.01


def measure(
    prepared: tvm.IRModule,
    cpu: Target,
    gpu: Target,
    axis: str = "auto",
    notice: str = "",
    effort: Effort = Effort(),
    make_meter: Callable[[KernelBuilder], KernelMeter] | None = None,
    opencl_runtime: str = "own",
) -> MeasuredCosts:
    """Measure every kernel on both devices, and the shares of plans.

    Times of shares are interpolated between those that were measured, and the search finds cuts where the interpolation
    is too low. So the shares of the best plan are measured and the plan is made again, until that promises no gain.

    Parameters
    ----------
    prepared : IRModule
        After `relay_passes.prepare`.
    cpu, gpu : Target
    axis : str
        The axis to measure shares along, or ``auto``.
    notice : str
        Logged as a warning before the first measurement.
    effort : Effort
    make_meter : callable, optional
        Makes another `KernelMeter`.
    opencl_runtime : {"own", "tvm"}
        Whose copies to measure (see `local_setting`).

    Returns
    -------
    MeasuredCosts
        Also written to the cache directory.

    Raises
    ------
    CoExecError
        If the devices can't be used.
    """
    extracted = extract_with_calls(prepared)
    graph, path = extracted.graph, _cache_path(cpu, gpu, opencl_runtime)
    costs = _read_cache(path)
    unique = list({k.signature(): k for k in graph.kernels}.values())
    builder = KernelBuilder(prepared, extracted, cpu, gpu)
    meter = make_meter(builder) if make_meter else KernelMeter(builder, opencl_runtime=opencl_runtime)
    try:
        if costs is None:
            if notice:
                logger.warning("%s", notice)
            notice = ""
            costs = _start_costs(meter, f"measured here: {cpu} | {gpu.kind.name} on {gpu_name(gpu)}")
        session = _Session(meter, costs, notice)
        for k in unique:
            for device in set(DEVICES) - set(k.devices):
                costs.add(device, k.signature(), WHOLE, 0, UNUSABLE_S)
        session.run([_Job(d, k, WHOLE, 0) for k in unique for d in k.devices], "measuring kernels")
        session.measure_networks(graph)
        _measure_plans(session, graph, costs, axis, effort)
    finally:
        meter.close()
        if path is not None and costs is not None:
            costs.save(str(path))
    if meter.worker.load > BUSY_CORES:
        kept = f"; they are kept in {path}, delete it to measure again on a quiet machine" if path else ""
        logger.warning(
            "other processes used %.1f cores while kernels were measured: times may be off%s",
            meter.worker.load,
            kept,
        )
    return costs


@dataclass(frozen=True)
class _Job:
    device: str
    kernel: Kernel
    dim: int
    rows: int

    @property
    def piece(self) -> Piece:
        if self.dim == WHOLE:
            return Piece(self.device, self.kernel.index)
        axis = self.kernel.axis(self.dim)
        rows = (0, self.rows) if self.device == "gpu" else (axis.extent - self.rows, axis.extent)
        return Piece(self.device, self.kernel.index, self.dim, rows)


class _Session:
    """Adds missing measurements to costs."""

    def __init__(self, meter: KernelMeter, costs: MeasuredCosts, notice: str):
        self.meter, self.costs, self.notice = meter, costs, notice

    def run(self, jobs: Iterable[_Job], title: str) -> int:
        """Run the jobs that have not been measured yet; return their number."""
        by_key = {(j.device, j.kernel.signature(), j.dim, j.rows): j for j in jobs}
        todo = {job.piece: job for key, job in by_key.items() if not self.costs.has(*key)}
        if not todo:
            return 0
        self._show_notice()
        self._check_speed()
        with progress(what=title, unit="kernel", total=len(todo)) as bar:
            for piece, timed in self.meter.time_pieces(todo):
                job = todo[piece]
                if isinstance(timed, str):
                    logger.warning("kernel %s can't run on the %s: %s", job.kernel.name, job.device, timed)
                seconds = UNUSABLE_S if isinstance(timed, str) else timed.best_s
                self.costs.add(job.device, job.kernel.signature(), job.dim, job.rows, seconds)
                bar.update()
        return len(todo)

    def measure_networks(self, graph: KernelGraph) -> None:
        """Measure the whole network on each device alone, which a plan must beat."""
        for device in DEVICES:
            if self.costs.alone_s(device, graph) is not None or any(device not in k.devices for k in graph.kernels):
                continue
            self._show_notice()
            timed = self.meter.time_network(device)
            if isinstance(timed, str):
                logger.warning("the network as a whole can't run on the %s: %s", device, timed)
            else:
                self.costs.add_network(device, graph, timed.best_s)

    def _show_notice(self) -> None:
        """Log the notice, once."""
        if self.notice:
            logger.warning("%s", self.notice)
        self.notice = ""

    def _check_speed(self) -> None:
        """Time the reference kernel, and warn if earlier measurements are not comparable."""
        for device in DEVICES:
            then_s = self.costs.references.get(device)
            try:
                now_s = time_reference(partial(self.meter.time_reference, device), then_s)
            except ChildError as err:
                logger.warning("the speed of the %s can't be measured: %s", device, err)
                continue
            if then_s is not None and not is_same_speed(now_s, then_s):
                logger.warning(
                    "the %s takes %.2f times as long for the reference kernel as when other kernels were measured, so "
                    "times are not comparable: let the machine cool or become idle, or clear the cache and measure all",
                    device,
                    now_s / then_s,
                )
            self.costs.references.setdefault(device, now_s)


def _start_costs(meter: KernelMeter, description: str) -> MeasuredCosts:
    """Make new costs with measured links."""
    try:
        found = meter.measure_links()
    except ChildError as err:
        raise CoExecError(f"profile 'measure': the devices can't be used ({err}); give a profile") from None
    copies = {name: [c for c in found.copies if c["link"] == name] for name in ("upload", "download", "host_copy")}
    upload, download = fit_link(copies["upload"]), fit_link(copies["download"])
    return MeasuredCosts(
        upload,
        download,
        fit_host_copy(copies["host_copy"]),
        description=f"{description}, {cpu_threads()} CPU threads",
        sync_s=wait_beyond_copies(found.round_trip_s, found.enqueue_s, upload, download),
        enqueue_s=found.enqueue_s,
        runtime=meter.opencl_runtime,
        unified=fit_unified([found.unified]) if found.unified else None,
    )


def _measure_plans(session: _Session, graph: KernelGraph, costs: MeasuredCosts, axis: str, effort: Effort) -> None:
    """Measure the shares of the best plan, and plan again, until another round is not worth it."""
    options = check_options(axis=axis, min_gain=0.0)
    best_s = inf  # of the plans whose shares have been measured
    for number in range(1, effort.rounds + 1):
        plan = make_plan(graph, costs, options)
        if plan.expected_s > (1.0 - effort.worth_gain) * best_s:
            return
        if not session.run(_choose_jobs(graph, plan), f"measuring the plan's shares, round {number}"):
            return
        best_s = min(best_s, makespan_s(graph, CachedCosts(graph, options.costs_in_place(costs)), plan.segments))


def _choose_jobs(graph: KernelGraph, plan: Plan) -> Iterator[_Job]:
    """Yield the shares of a plan."""
    for segment in plan.chains:
        shares = segment.shares(graph)
        for k in segment.kernels:
            for device, ranges in (("gpu", shares.gpu), ("cpu", shares.cpu)):
                rows = ranges[k][1] - ranges[k][0]
                if 0 < rows < graph.kernels[k].axis(shares.dims[k]).extent:
                    yield _Job(device, graph.kernels[k], shares.dims[k], rows)


def _read_cache(path: Path | None) -> MeasuredCosts | None:
    if path is None or not path.exists():
        return None
    try:
        return MeasuredCosts.load(str(path))
    except CoExecError as err:
        logger.warning("%s", err)
        return None


def _cache_path(cpu: Target, gpu: Target, opencl_runtime: str) -> Path | None:
    """Return the file of a pair of devices, targets and schedules; `None` if the cache is switched off."""
    folder = cache_folder()
    if folder is None:
        return None
    key = [str(cpu), str(gpu), gpu_name(gpu), cpu_name(), cpu_threads(), tvm.__version__, schedules_digest()]
    key += [opencl_runtime] if opencl_runtime != "own" else []
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    return folder / f"{digest}.json"
