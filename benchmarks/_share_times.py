"""Times of each share of a co-executed module: with both devices at work, one at a time, and as the plan predicted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tvm_coexec import Report
from tvm_coexec.executor.graph_json import Graph
from tvm_coexec.tracing import Timeline, TracedGraph

COMPILED = "tvmgen_default_fused_"


@dataclass(frozen=True)
class ShareTimes:
    """A function that a device runs: its share of a kernel, or a whole kernel.

    Attributes
    ----------
    segment : int
    device, name : str
        ``cpu`` or ``gpu``; the compiled function without its prefix.
    co_run_s, alone_s : float
        Median seconds, while the other device works too, and one at a time.
    predicted_s : float or None
        Seconds that the plan's costs predict if the other device is idle; `None` for a function that is none of the
        plan's kernels (of a data layout, for example), and for a plan without costs.
    """

    segment: int
    device: str
    name: str
    co_run_s: float
    alone_s: float
    predicted_s: float | None

    @property
    def excess_s(self) -> float:
        """Seconds that it takes longer than alone, or than predicted, whichever is more."""
        return self.co_run_s - min(s for s in (self.alone_s, self.predicted_s) if s is not None)


def measure_shares(
    graph: TracedGraph, co_run: Sequence[Timeline], alone: Sequence[Timeline], predicted_s: dict[int, float]
) -> list[ShareTimes]:
    """Return the times of all shares, those with the largest excess first.

    Parameters
    ----------
    graph : TracedGraph
    co_run, alone : sequence of Timeline
        Runs as usual, and runs of the same graph that were recorded one at a time.
    predicted_s : dict of int to float
        As `predict_shares` returns it.
    """
    together, apart = _node_seconds(co_run), _node_seconds(alone)
    rows = []
    for node in sorted(together.keys() & apart.keys()):
        it = graph.nodes[node]
        name = it.function.removeprefix(COMPILED)
        rows.append(ShareTimes(it.segment, it.device, name, together[node], apart[node], predicted_s.get(node)))
    return sorted(rows, key=lambda row: -row.excess_s)


def _node_seconds(timelines: Iterable[Timeline]) -> dict[int, float]:
    """Median seconds of each node's kernels: on the CPU of its calls, on the GPU of its OpenCL kernels."""
    found: dict[int, list[float]] = {}
    for timeline in timelines:
        sums: dict[int, float] = {}
        for e in timeline.events:
            if e.what == "work" and e.node >= 0:
                sums[e.node] = sums.get(e.node, 0.0) + e.seconds
        for node, seconds in sums.items():
            found.setdefault(node, []).append(seconds)
    return {node: statistics.median(seconds) for node, seconds in found.items()}


def predict_shares(report: Report, graph: TracedGraph, graph_json: str) -> dict[int, float]:
    """Return the seconds that a plan predicts for each node of a compiled graph.

    TVM does not keep which kernel a compiled function comes from. A node is taken for a kernel if it is in the same
    segment, on the same device, runs the same anchor operator, and has an output of as many elements as the share; of
    several, the first one in order.

    Parameters
    ----------
    report : Report
        Of the plan that the module was compiled with.
    graph : TracedGraph
    graph_json : str
        The graph that the executor gets, which `graph` was read from.

    Returns
    -------
    dict of int to float
        By index in ``graph.nodes``; empty without costs.
    """
    if report.plan is None or report.simulated is None:
        return {}
    parsed = Graph(graph_json)
    elements = [math.prod(parsed.entries[n.outputs[0]].shape) for n in parsed.nodes if n.function]
    found: dict[int, float] = {}
    for number in range(len(report.plan.segments)):
        for device in ("cpu", "gpu"):
            nodes = [
                (i, n.function, elements[i])
                for i, n in enumerate(graph.nodes)
                if (n.segment, n.device, n.role) == (number, device, "work") and n.is_call
            ]
            for operator, size, seconds in _predicted(report, number, device):
                match = next((i for i, name, its in nodes if i not in found and its == size and operator in name), None)
                if match is not None:
                    found[match] = seconds
    return found


def _predicted(report: Report, segment: int, device: str) -> Iterable[tuple[str, int, float]]:
    """Anchor operator, output elements and predicted seconds of each kernel that a device computes in a segment."""
    assert report.plan is not None and report.simulated is not None
    its_segment = report.plan.segments[segment]
    shares = its_segment.shares(report.graph) if its_segment.device == "split" else None
    kernels = [report.graph.kernels[k] for k in its_segment.kernels]
    # An `add` may be fused into a convolution's function: the convolution is to find its function first.
    for kernel in sorted(kernels, key=lambda k: not k.is_heavy):
        index = kernel.index
        seconds = report.simulated.totals.kernel_s.get(index, {}).get(device)
        if not seconds:
            continue
        size = math.prod(kernel.outputs[0].shape)
        if shares is not None:
            axis = kernel.axis(shares.dims[index])
            low, high = (shares.gpu if device == "gpu" else shares.cpu)[index]
            if not axis.reduces:
                size = size * (high - low) // axis.extent
        yield kernel.op.split(".")[-1], size, seconds
