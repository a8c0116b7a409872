"""The makespan of a plan: the let-ordered executor as two timelines, the host (CPU) and the GPU's queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tvm_coexec.cost_models import Costs
from tvm_coexec.kernel_graph import KernelGraph, Range, Shares, Tensor
from tvm_coexec.plan import Plan, Segment


class Simulator:
    """Runs segments in order and keeps the time at which each device is free and where each value lives.

    Uploads and downloads block the host; a launch returns at once; a download waits for the GPU's queue. This is what
    the stock executor does with the order that the place pass fixes.

    Parameters
    ----------
    graph : KernelGraph
    costs : Costs
    """

    def __init__(self, graph: KernelGraph, costs: Costs):
        self.graph, self.costs = graph, costs
        self.host_s = 0.0
        self.gpu_s = 0.0
        self.where: dict[int, set[str]] = {-1 - i: {"cpu"} for i in range(len(graph.inputs))}

    @property
    def now_s(self) -> float:
        """When both devices are done with what they were given."""
        return max(self.host_s, self.gpu_s)

    def copy(self) -> Simulator:
        """An independent continuation from here."""
        other = Simulator(self.graph, self.costs)
        other.host_s, other.gpu_s = self.host_s, self.gpu_s
        other.where = {v: set(w) for v, w in self.where.items()}
        return other

    def run(self, segment: Segment) -> dict[str, float]:
        """Appends a segment; returns its expected seconds by part."""
        before = self.now_s
        if segment.device == "split":
            parts = self._chain(segment)
        else:
            parts = self._single(segment)
        parts["total"] = self.now_s - before
        return parts

    def finish(self) -> float:
        """Brings the model's outputs to the CPU; returns the makespan in seconds."""
        for value in dict.fromkeys(self.graph.outputs):
            self._to(value, "cpu")
        self.host_s = self.now_s
        return self.host_s

    def _to(self, value: int, device: str) -> float:
        """Makes a value available on a device; returns what that costs."""
        if device in self.where[value]:
            return 0.0
        nbytes = self.graph.tensor(value).nbytes
        self.where[value].add(device)
        if device == "gpu":
            cost = self.costs.upload.seconds(nbytes)
            self.host_s += cost
        else:
            cost = self.costs.download.seconds(nbytes)
            self.host_s = max(self.host_s, self.gpu_s) + cost
        return cost

    def _inputs(self, segment: Segment) -> list[int]:
        inside = set(segment.kernels)
        values = (v for k in segment.kernels for v in self.graph.kernels[k].inputs if v not in inside)
        return list(dict.fromkeys(values))

    def _single(self, segment: Segment) -> dict[str, float]:
        device = segment.device
        moved = sum(self._to(v, device) for v in self._inputs(segment))
        work = sum(self.costs.whole_s(device, self.graph.kernels[k]) for k in segment.kernels)
        if device == "cpu":
            self.host_s += work
        else:
            self.gpu_s = max(self.gpu_s, self.host_s) + work
        for k in segment.kernels:
            self.where[k] = {device}
        return {device: work, "share_out": moved}

    def _chain(self, segment: Segment) -> dict[str, float]:
        shares = segment.shares(self.graph)
        out = sum(self._share_out(v, need) for v, need in self._needs(segment, shares).items())
        gpu = chain_work(self.graph, self.costs, "gpu", segment.kernels, shares)
        cpu = chain_work(self.graph, self.costs, "cpu", segment.kernels, shares)
        gpu, cpu = while_both_work(self.costs, gpu, cpu)
        gpu_end = max(self.gpu_s, self.host_s) + gpu
        self.gpu_s = gpu_end
        self.host_s += cpu
        join = 0.0
        for k, cut in shares.cuts.items():
            nbytes, extent = self.graph.kernels[k].out_bytes, self.graph.kernels[k].outputs[0].shape[shares.dims[k]]
            if cut:
                join += self.costs.download.seconds(nbytes * cut / extent)
                if cut < extent:
                    join += self.costs.host_copy.seconds(nbytes)
            self.where[k] = {"cpu"}
        self.host_s = max(self.host_s, gpu_end) + join
        return {"share_out": out, "gpu": gpu, "cpu": cpu, "join": join}

    def _needs(self, segment: Segment, shares: Shares) -> dict[int, dict[str, float]]:
        """Fraction of each outer value that each device's share reads."""
        inside = set(segment.kernels)
        needs: dict[int, dict[str, float]] = {}
        for k in segment.kernels:
            kernel = self.graph.kernels[k]
            axis = kernel.axis(shares.dims[k])
            assert axis is not None
            for value, need in zip(kernel.inputs, axis.needs, strict=True):
                if value in inside:
                    continue
                for device, ranges in (("gpu", shares.gpu), ("cpu", shares.cpu)):
                    part = _fraction(self.graph.tensor(value), need, ranges[k])
                    entry = needs.setdefault(value, {})
                    entry[device] = max(entry.get(device, 0.0), part)
        return needs

    def _share_out(self, value: int, need: dict[str, float]) -> float:
        before = self.host_s
        nbytes = self.graph.tensor(value).nbytes
        on_cpu = "cpu" in self.where[value]
        if need.get("cpu"):
            self._to(value, "cpu")
            if need["cpu"] < 1.0:
                self.host_s += self.costs.host_copy.seconds(nbytes * need["cpu"])
        if need.get("gpu") and (on_cpu or "gpu" not in self.where[value]):
            if need["gpu"] < 1.0:
                self.host_s += self.costs.host_copy.seconds(nbytes * need["gpu"])
            self.host_s += self.costs.upload.seconds(nbytes * need["gpu"])
        return self.host_s - before


def _fraction(tensor: Tensor, need, r: Range) -> float:
    if r[0] >= r[1]:
        return 0.0
    if need is None:
        return 1.0
    lo, hi = need.apply(r)
    return (hi - lo) / tensor.shape[need.dim]


def while_both_work(costs: Costs, gpu_s: float, cpu_s: float) -> tuple[float, float]:
    """Seconds of two shares side by side: each is slower as long as the other lasts, and then as fast as alone."""
    slow_gpu, slow_cpu = costs.slowdown("gpu"), costs.slowdown("cpu")
    together = min(gpu_s * slow_gpu, cpu_s * slow_cpu)  # how long both work
    return gpu_s + together * (1 - 1 / slow_gpu), cpu_s + together * (1 - 1 / slow_cpu)


def chain_work(graph: KernelGraph, costs: Costs, device: str, kernels: Sequence[int], shares: Shares) -> float:
    """Seconds of one device's shares of a chain."""
    ranges = shares.gpu if device == "gpu" else shares.cpu
    return sum(costs.shares_s(device, graph.kernels[k], shares.dims[k], [ranges[k]])[0] for k in kernels)


def simulate(graph: KernelGraph, costs: Costs, segments: Sequence[Segment]) -> float:
    """Makespan in seconds of segments run in order."""
    sim = Simulator(graph, costs)
    for s in segments:
        sim.run(s)
    return sim.finish()


def with_times(graph: KernelGraph, costs: Costs, plan: Plan) -> Plan:
    """The plan with each segment's expected seconds."""
    sim = Simulator(graph, costs)
    segments = tuple(replace(s, expected_s=sim.run(s)) for s in plan.segments)
    return replace(plan, segments=segments, costs=costs.description)
