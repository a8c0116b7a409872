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

from . import runtime, schedules
from .cost_models import AnalyticCosts, Costs, Link, MeasuredCosts
from .cost_models.measured import UNUSABLE_S, WHOLE
from .errors import CoExecError
from .kernel_graph import AXIS_EQUALS, Kernel, KernelGraph, round_cut
from .plan import Plan, Segment
from .relay_passes.annotate import Annotate
from .relay_passes.extract import Extracted, extract_with_calls
from .relay_passes.layout import AlterShareLayouts
from .relay_passes.split import SplitChains, device_of

logger = logging.getLogger("tvm_coexec")

# Shares are measured only where a perfect split could save this part of the network's time...
WORTH_PART = 0.005
# ... and where it could save this part of the kernel's own time.
WORTH_GAIN = 0.10
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
        A file, a cost model, or `None` to measure here.
    axis : str
        The axis whose shares matter, or ``auto``.

    Returns
    -------
    Costs
        Measured where possible; a generic roofline, and a warning, when a target can't run on this machine.
    """
    if profile is not None:
        if isinstance(profile, (str, os.PathLike)):
            return MeasuredCosts.load(os.fspath(profile))
        if all(hasattr(profile, m) for m in ("whole_s", "shares_s", "upload", "download", "host_copy")):
            return profile  # type: ignore[return-value]
        raise CoExecError(f"profile must be a file or a cost model, not {type(profile).__name__}")
    why = why_not_here(cpu, gpu)
    if why:
        logger.warning("kernels can't be measured here (%s); planning with a generic roofline, give a profile", why)
        return AnalyticCosts()
    return measure(prepared, cpu, gpu, axis)


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


def measure(prepared: tvm.IRModule, cpu: Target, gpu: Target, axis: str = "auto") -> MeasuredCosts:
    """Measures every kernel whole on both devices, and shares of those where a split may pay.

    Returns
    -------
    MeasuredCosts
        Also written to the cache directory.
    """
    device = tvm.runtime.Device(gpu.get_target_device_type(), 0)
    extracted = extract_with_calls(prepared)
    path = _cache_path(cpu, gpu, device)
    costs = _load_or_start(path, device, cpu, gpu)
    meter = _Meter(prepared, extracted, cpu, gpu, device, costs)
    unique = list({k.signature(): k for k in extracted.graph.kernels}.values())
    try:
        whole = [_Job(d, k, WHOLE, 0) for k in unique for d in ("cpu", "gpu")]
        meter.run(whole, "measuring kernels")
        meter.run(list(_share_jobs(extracted.graph, unique, costs, axis)), "measuring shares")
    finally:
        if path is not None:
            costs.save(str(path))
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


class _Meter:
    def __init__(self, prepared, extracted: Extracted, cpu: Target, gpu: Target, device, costs: MeasuredCosts):
        self.prepared, self.extracted = prepared, extracted
        self.targets = {"cpu": cpu, "gpu": gpu}
        self.devices = {"cpu": tvm.cpu(0), "gpu": device}
        self.costs = costs
        self.rng = np.random.default_rng(0)

    def run(self, jobs: list[_Job], title: str) -> None:
        todo = [j for j in dict.fromkeys(jobs) if not self.costs.has(j.device, j.kernel.signature(), j.dim, j.rows)]
        for job in tqdm(todo, desc=title, unit="kernel", disable=None if todo else True, leave=False):
            try:
                seconds = self._measure(job)
            except Exception as err:  # one bad kernel must not end the run: it stays where it works
                last = str(err).strip().splitlines()[-1:] or [type(err).__name__]
                logger.warning("kernel %s can't run on the %s: %s", job.kernel.name, job.device, last[0])
                seconds = UNUSABLE_S
            self.costs.add(job.device, job.kernel.signature(), job.dim, job.rows, seconds)

    def _measure(self, job: _Job) -> float:
        func = self._function(job)
        target, device = self.targets[job.device], self.devices[job.device]
        with tvm.transform.PassContext(opt_level=3):
            lib = relay.build(tvm.IRModule.from_expr(func), target=Target(target, host=self.targets["cpu"]))
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

    def _function(self, job: _Job) -> relay.Function:
        """The kernel, or its share, as the passes make it for that device."""
        alone = kernel_module(self.prepared, self.extracted, job.kernel.index)
        inner = extract_with_calls(alone).graph
        last = inner.kernels[-1]
        if job.dim == WHOLE:
            segments = [Segment(job.device, tuple(k.index for k in inner.kernels))]
        else:
            axis = last.axis(job.dim)
            assert axis is not None and len(inner.kernels) == 1
            cut = job.rows if job.device == "gpu" else axis.extent - job.rows
            segments = [Segment("split", (last.index,), axis.name, cut)]
        split = SplitChains()(Annotate(Plan(inner.fingerprint(), tuple(segments)))(alone))
        altered = AlterShareLayouts(self.targets["cpu"], self.targets["gpu"])(split)
        func = next(f for f in altered.functions.values() if device_of(f) == job.device)
        plain = tvm.IRModule.from_expr(relay.Function(func.params, func.body))
        return relay.transform.InferType()(plain)["main"]


def kernel_module(prepared: tvm.IRModule, extracted: Extracted, index: int) -> tvm.IRModule:
    """One kernel of a prepared module as a module of its own; its inputs become parameters."""
    segments = [Segment("cpu", (k.index,)) for k in extracted.graph.kernels]
    annotated = _annotated(prepared, Plan(extracted.graph.fingerprint(), tuple(segments)))
    func = annotated[f"coexec_{index}_cpu"]
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(func.params, func.body)))


_last: tuple[tvm.IRModule, tvm.IRModule] | None = None


def _annotated(prepared: tvm.IRModule, plan: Plan) -> tvm.IRModule:
    """The module cut into its kernels; remembered for the module that is being measured."""
    global _last
    if _last is None or not _last[0].same_as(prepared):
        _last = (prepared, Annotate(plan)(prepared))
    return _last[1]


def _load_or_start(path: Path | None, device, cpu: Target, gpu: Target) -> MeasuredCosts:
    if path is not None and path.exists():
        try:
            return MeasuredCosts.load(str(path))
        except CoExecError as err:
            logger.warning("%s", err)
    name = _device_name(device)
    description = f"measured here: {cpu} | {gpu.kind.name} on {name}, {_threads()} CPU threads"
    upload, download = _link(tvm.cpu(0), device), _link(device, tvm.cpu(0))
    # What waking the GPU and waiting for it costs beyond the copies; the plan pays it once per meeting.
    meeting = _meeting_s(cpu, gpu, device) - upload.seconds(_SMALL) - download.seconds(_SMALL)
    download = Link(download.constant_s + max(0.0, meeting), download.per_byte_s)
    return MeasuredCosts(upload, download, _link(tvm.cpu(0), tvm.cpu(0)), description=description)


def _link(source, to) -> Link:
    """Constant and per-byte time of a copy, from a small and a large one."""
    times = {}
    for nbytes in (4096, 1 << 20, 1 << 22):
        a = tvm.nd.array(np.ones(nbytes // 4, "float32"), source)
        b = tvm.nd.empty(a.shape, "float32", to)
        times[nbytes] = min(_copy_s(a, b, source, to) for _ in range(10))
    slope = max(0.0, (times[1 << 22] - times[4096]) / ((1 << 22) - 4096))
    return Link(max(1e-7, times[4096] - 4096 * slope), slope)


_SMALL = 4096  # bytes


def _meeting_s(cpu: Target, gpu: Target, device) -> float:
    """Seconds from handing a small tensor to an idle GPU to having its result, less the kernel's own time."""
    x = relay.var("x", shape=(_SMALL // 4,))
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(tvm.IRModule.from_expr(relay.Function([x], relay.nn.relu(x))), target=Target(gpu, host=cpu))
    module = graph_executor.GraphModule(lib["default"](device))
    here, there = tvm.nd.array(np.ones(_SMALL // 4, "float32")), tvm.nd.empty((_SMALL // 4,), "float32", tvm.cpu(0))
    out = module.get_output(0)

    def once() -> float:
        start = time.perf_counter()
        module.set_input("x", here)
        module.run()
        out.copyto(there)
        return time.perf_counter() - start

    round_trip = min(once() for _ in range(50))
    timer = module.module.time_evaluator("run", device, number=20, repeat=REPEATS)
    return round_trip - float(min(timer().results))


def _copy_s(a, b, source, to) -> float:
    source.sync()
    to.sync()
    start = time.perf_counter()
    a.copyto(b)
    source.sync()
    to.sync()
    return time.perf_counter() - start


def _device_name(device) -> str:
    return str(device.device_name or device.device_type)


def _threads() -> str:
    return os.environ.get("TVM_NUM_THREADS", "all")


def _cache_path(cpu: Target, gpu: Target, device) -> Path | None:
    """One file per pair of devices, targets and schedules; `None` when the user wants no cache."""
    base = os.environ.get("TVM_COEXEC_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tvm_coexec"
    )
    if base == "off":
        return None
    key = [str(cpu), str(gpu), _device_name(device), _cpu_name(), _threads(), tvm.__version__, _schedules_digest()]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    folder = Path(base) / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{digest}.json"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def _schedules_digest() -> str:
    """Other schedules, other times: what was measured with older ones is not found again."""
    files = sorted(Path(schedules.__path__[0]).glob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
