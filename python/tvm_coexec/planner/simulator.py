"""The makespan of a plan: the let-ordered executor as two timelines, the host (CPU) and the GPU's queue.

Uploads and downloads block the host, enqueuing a kernel takes it a moment, a download waits for the GPU's queue: what
the stock executor does with the order that `schedule_devices` fixes. What synchronisation costs is in `meeting`, which
the search uses for many cuts at once; a plan's times always come from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tvm_coexec.core.chains import Shares
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Segment

from .cached_costs import CachedCosts, side_by_side
from .chain_reads import inner_slices, outer_needs, read_after_join
from .sync_points import count_sync_points

_MEETING = ("upload", "download", "slice", "join")


class Event(NamedTuple):
    """Something on a timeline.

    Attributes
    ----------
    lane : str
        ``cpu`` or ``gpu``: what it occupies. Copies occupy the host.
    start_s, end_s : float
    what : str
        ``work``, ``enqueue``, ``upload``, ``download``, ``slice``, ``join``.
    segment : int
        Number of the segment that it belongs to; -1 for what follows the last.
    """

    lane: str
    start_s: float
    end_s: float
    what: str
    segment: int


@dataclass
class Totals:
    """What a run adds up to.

    Attributes
    ----------
    bytes_moved : float
        Uploaded and downloaded.
    meetings_s : float
        What synchronisation costs the CPU: copies, slices, joins, and waiting for the GPU.
    busy_s : dict of str to float
        Seconds of work by device and kernel class (``gpu/conv``), for `Power.energy_j`.
    kernel_s : dict of int to dict of str to float
        Seconds of each kernel by device, each as if the other device were idle.
    """

    bytes_moved: float = 0.0
    meetings_s: float = 0.0
    busy_s: dict[str, float] = field(default_factory=dict)
    kernel_s: dict[int, dict[str, float]] = field(default_factory=dict)


class Simulator:
    """Runs segments in order; keeps when each device is free and where each value lives.

    Parameters
    ----------
    graph : KernelGraph
    costs : CachedCosts

    Attributes
    ----------
    host_s, gpu_s : float
        When the host and the GPU's queue are free.
    where : dict of int to set of str
        Devices that hold each value.
    events : list of Event
    totals : Totals
    """

    def __init__(self, graph: KernelGraph, costs: CachedCosts):
        self.graph = graph
        self.costs, self.meeting = costs, costs.meeting
        self.host_s = 0.0
        self.gpu_s = 0.0
        self.where: dict[int, set[str]] = {-1 - i: {"cpu"} for i in range(len(graph.inputs))}
        self.events: list[Event] = []
        self.totals = Totals()
        self._segment = -1
        self._segments: list[Segment] = []

    @property
    def now_s(self) -> float:
        """When both devices are done with what they were given."""
        return max(self.host_s, self.gpu_s)

    @property
    def sync_points(self) -> int:
        """How often the devices meet, see `count_sync_points`."""
        return count_sync_points(self.graph, self._segments)

    def copy(self) -> Simulator:
        """Return an independent continuation from here, without events and totals."""
        other = Simulator(self.graph, self.costs)
        other.host_s, other.gpu_s = self.host_s, self.gpu_s
        other.where = {v: set(w) for v, w in self.where.items()}
        return other

    def run(self, segment: Segment) -> dict[str, float]:
        """Append a segment; return its expected seconds by part."""
        self._segment, before = len(self._segments), self.now_s
        self._segments.append(segment)
        parts = self._chain(segment) if segment.device == "split" else self._single(segment)
        self._segment = -1
        parts["total"] = self.now_s - before
        return parts

    def finish(self) -> float:
        """Bring the model's outputs to the CPU; return the makespan in seconds."""
        for value in dict.fromkeys(self.graph.outputs):
            self._to(value, "cpu")
        self.host_s = self.now_s
        return self.host_s

    def _event(self, lane: str, start: float, end: float, what: str) -> None:
        if end > start:
            self.events.append(Event(lane, start, end, what, self._segment))

    def _on_host(self, seconds: float, what: str, nbytes: float = 0.0) -> float:
        """Keep the host busy for some time; return it."""
        self._event("cpu", self.host_s, self.host_s + seconds, what)
        self.host_s += seconds
        self.totals.bytes_moved += nbytes if self.meeting.memory == "copied" else 0.0
        self.totals.meetings_s += seconds if what in _MEETING else 0.0
        return seconds

    def _wait(self) -> float:
        """Let the host wait for the GPU's queue; return how long."""
        waited = self.meeting.wait_s(self.host_s, self.gpu_s)
        self.host_s += waited
        self.totals.meetings_s += waited
        return waited

    def _wait_to_upload(self) -> None:
        if self.meeting.blocks:
            self._wait()

    def _to(self, value: int, device: str) -> float:
        """Make a value available on a device; return what that costs."""
        if device in self.where[value]:
            return 0.0
        nbytes = self.graph.tensor(value).nbytes
        self.where[value].add(device)
        if device == "gpu":
            self._wait_to_upload()
            return self._on_host(self.meeting.to_gpu_s(nbytes), "upload", nbytes)
        self._wait()
        return self._on_host(self.meeting.to_cpu_s(nbytes), "download", nbytes)

    def _work(self, gpu_s: float, cpu_s: float, slow: Mapping[str, float] | None = None) -> None:
        """Give both devices work from now on, the GPU's after what its queue still holds."""
        start = max(self.host_s, self.gpu_s)
        backlog = max(0.0, self.gpu_s - self.host_s)
        start_s = self.costs.start_s if gpu_s and not backlog else 0.0
        start += start_s
        gpu, cpu = side_by_side(slow or self.costs.slow, backlog + start_s + gpu_s, cpu_s)
        if backlog or gpu_s:
            self.gpu_s = self.host_s + gpu
        if gpu_s:
            self._event("gpu", min(start, self.gpu_s), self.gpu_s, "work")
        elif backlog:  # the GPU's present work takes longer alongside the CPU's
            last = next((i for i in range(len(self.events) - 1, -1, -1) if self.events[i].lane == "gpu"), None)
            if last is not None:
                self.events[last] = self.events[last]._replace(end_s=self.gpu_s)
        self._event("cpu", self.host_s, self.host_s + cpu, "work")
        self.host_s += cpu

    def _busy(self, device: str, kernel: int, seconds: float) -> float:
        name = f"{device}/{self.costs.kinds[kernel]}"
        self.totals.busy_s[name] = self.totals.busy_s.get(name, 0.0) + seconds
        self.totals.kernel_s.setdefault(kernel, {})[device] = seconds
        return seconds

    def _single(self, segment: Segment) -> dict[str, float]:
        device, inside = segment.device, set(segment.kernels)
        values = dict.fromkeys(v for k in segment.kernels for v in self.graph.kernels[k].inputs if v not in inside)
        moved = sum(self._to(v, device) for v in values)
        work = 0.0
        for k in segment.kernels:
            seconds = self._busy(device, k, self.costs.whole[device][k])
            if device == "gpu":
                self._on_host(self.costs.enqueues[k], "enqueue")
            self._work(*((seconds, 0.0) if device == "gpu" else (0.0, seconds)))
            self.where[k] = {device}
            work += seconds
        return {device: work, "share_out": moved}

    def _chain(self, segment: Segment) -> dict[str, float]:
        shares = segment.shares(self.graph)
        out = sum(self._share_out(v, need) for v, need in outer_needs(self.graph, segment, shares).items())
        (gpu, gpu_slower_s), (cpu, cpu_slower_s) = (self._share_work(d, segment, shares) for d in ("gpu", "cpu"))
        gpu_slices, cpu_slices = inner_slices(self.graph, segment, shares)
        gpu += sum(map(self.meeting.gpu_slice_s, gpu_slices))
        cpu += sum(map(self.meeting.copy_s, cpu_slices))
        launch_s = sum(self.costs.enqueues[k] for k in segment.kernels if shares.gpu[k][0] < shares.gpu[k][1])
        launch_s += self.costs.enqueue_s * len(gpu_slices)
        self._work(gpu, cpu + launch_s, self._slow(gpu, cpu + launch_s, gpu_slower_s, cpu_slower_s))
        waited = self._wait()
        join = sum(self._join(k, cut, shares.dims[k]) for k, cut in shares.cuts.items())
        join += sum(self._to(v, "cpu") for v in read_after_join(self.graph, segment, shares))
        return {"share_out": out, "enqueue": launch_s, "gpu": gpu, "cpu": cpu, "join": join, "wait": waited}

    def _share_work(self, device: str, segment: Segment, shares: Shares) -> tuple[float, float]:
        """Return a device's seconds for its shares of a chain alone, and how much longer co-running kernels take."""
        ranges = shares.gpu if device == "gpu" else shares.cpu
        slow_of, work_s, slower_s = self.costs.slow_of[device], 0.0, 0.0
        for k in segment.kernels:
            seconds = float(self.costs.shares_s(device, self.graph.kernels[k], shares.dims[k], [ranges[k]])[0])
            work_s += self._busy(device, k, seconds)
            slower_s += seconds * (slow_of[k] - 1) if slow_of else 0.0
        return work_s, slower_s

    def _slow(self, gpu_s: float, cpu_s: float, gpu_slower_s: float, cpu_slower_s: float) -> Mapping[str, float]:
        """Return the co-run slowdown of a chain's shares by device."""
        if not self.costs.slow_of["cpu"] or not gpu_s or not cpu_s:
            return self.costs.slow
        return {"gpu": 1 + gpu_slower_s / gpu_s, "cpu": 1 + cpu_slower_s / cpu_s}

    def _share_out(self, value: int, need: dict[str, float]) -> float:
        nbytes, cpu, gpu = self.graph.tensor(value).nbytes, need.get("cpu", 0.0), need.get("gpu", 0.0)
        on_gpu, paid = "gpu" in self.where[value], 0.0
        parts = self.meeting.scatter_s(nbytes, cpu, gpu, on_gpu)
        if cpu:
            paid += self._to(value, "cpu")
            paid += self._on_host(parts.cpu_slice_s, "slice")
        paid += self._on_host(parts.launch_s, "enqueue")
        if gpu == 1.0:
            paid += self._to(value, "gpu")
        elif gpu and not on_gpu:  # the slice is of no use to others
            paid += self._on_host(parts.gpu_slice_s, "slice")
            self._wait_to_upload()
            paid += self._on_host(parts.upload_s, "upload", nbytes * gpu)
        return paid

    def _join(self, kernel: int, cut: int, dim: int) -> float:
        """Bring the parts of a value together; a value that one device computed alone stays there."""
        k = self.graph.kernels[kernel]
        axis = k.axis(dim)
        if cut in (0, axis.extent):
            self.where[kernel] = {"gpu" if cut else "cpu"}
            return 0.0
        self.where[kernel] = {"cpu"}
        parts = self.costs.gather_s(k, axis, cut)
        part = k.out_bytes * (1.0 if axis.reduces else cut / axis.extent)
        return self._on_host(parts.download_s, "download", part) + self._on_host(parts.join_s, "join")


def makespan_s(graph: KernelGraph, costs: CachedCosts, segments: Sequence[Segment]) -> float:
    """Return the makespan in seconds of segments run in order."""
    return simulate(graph, costs, segments).now_s


def simulate(graph: KernelGraph, costs: CachedCosts, segments: Sequence[Segment]) -> Simulator:
    """Return the simulator after all segments, outputs on the CPU."""
    sim = Simulator(graph, costs)
    for s in segments:
        sim.run(s)
    sim.finish()
    return sim


def with_times(graph: KernelGraph, costs: CachedCosts, plan: Plan) -> Plan:
    """Return the plan with each segment's expected seconds; bringing the outputs to the CPU counts to the last."""
    sim = Simulator(graph, costs)
    parts = [sim.run(s) for s in plan.segments]
    before = sim.now_s
    parts[-1]["total"] += sim.finish() - before
    segments = tuple(replace(s, expected_s=p) for s, p in zip(plan.segments, parts, strict=True))
    return replace(plan, segments=segments, costs=costs.description, runtime=costs.runtime, memory=costs.memory)
