"""What there is to tune: the kernels and shares that a plan runs, or that a planner may choose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tvm_coexec.core.access import Range
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import DEVICES, Kernel, KernelGraph, round_cut
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.measuring.pieces import Piece
from tvm_coexec.planner import CachedCosts


@dataclass(frozen=True)
class Part:
    """A kernel, or a share of one, on a device; of kernels that compute the same one stands for all.

    Attributes
    ----------
    device : {"cpu", "gpu"}
    kernels : tuple of int
        Indices of all kernels that it stands for.
    name : str
        Their operators.
    axis, extent : str, int
        The axis that a share is cut along, and its size; empty and 0 for a whole kernel.
    rows : (int, int) or None
        The share's range.
    dim : int
        See `SplitAxis`.
    runs : int
        How often a run of the model computes it; 0 for what the plan does not run.
    seconds : float
        Expected seconds of all runs together.
    critical : bool
        Whether its device is the one that its segment waits for.
    """

    device: str
    kernels: tuple[int, ...]
    name: str
    axis: str = ""
    extent: int = 0
    rows: Range | None = None
    dim: int = -1
    runs: int = 1
    seconds: float = 0.0
    critical: bool = False

    @property
    def piece(self) -> Piece:
        """The first kernel's piece, to compile."""
        return Piece(self.device, self.kernels[0], self.dim, self.rows)

    @property
    def cut(self) -> int:
        """Where the GPU's range ends; 0 for a whole kernel."""
        return 0 if self.rows is None else self.rows[1 if self.device == "gpu" else 0]


def plan_parts(graph: KernelGraph, plan: Plan, costs: CachedCosts | None) -> list[Part]:
    """Return the kernels and shares that a plan runs; without costs their seconds are 0."""
    found: list[Part] = []
    for segment in plan.segments:
        if segment.device == "split":
            found += _chain_parts(graph, segment, costs)
            continue
        for k in segment.kernels:
            seconds = costs.whole[segment.device][k] if costs else 0.0
            found.append(Part(segment.device, (k,), graph.kernels[k].name, seconds=seconds, critical=True))
    return _merge(graph, found)


def _chain_parts(graph: KernelGraph, segment: Segment, costs: CachedCosts | None) -> list[Part]:
    shares = segment.shares(graph)
    found = []
    for k in segment.kernels:
        axis = graph.kernels[k].axis(shares.dims[k])
        for device, rows in (("gpu", shares.gpu[k]), ("cpu", shares.cpu[k])):
            if rows[0] < rows[1]:
                seconds = float(costs.shares_s(device, graph.kernels[k], axis.dim, [rows])[0]) if costs else 0.0
                found.append(_share(device, graph.kernels[k], axis.dim, rows, seconds))
    total = {d: sum(p.seconds for p in found if p.device == d) for d in DEVICES}
    slower = max(DEVICES, key=lambda d: (total[d], d))
    return [replace(p, critical=p.device == slower) for p in found]


def _share(device: str, kernel: Kernel, dim: int, rows: Range, seconds: float) -> Part:
    axis = kernel.axis(dim)
    if rows == (0, axis.extent):
        return Part(device, (kernel.index,), kernel.name, seconds=seconds)
    return Part(device, (kernel.index,), kernel.name, axis.name, axis.extent, rows, dim, seconds=seconds)


def whole_parts(graph: KernelGraph, costs: CachedCosts) -> list[Part]:
    """Return every compute-intensive kernel undivided, on each device that can run it.

    Critical is the device that takes less time for it: a planner leaves the kernel there.
    """
    found = []
    for k in graph.kernels:
        faster = min(k.devices, key=lambda d: (costs.whole[d][k.index], d), default="")
        for device in k.devices if k.is_heavy else ():
            seconds = costs.whole[device][k.index]
            found.append(Part(device, (k.index,), k.name, seconds=seconds, critical=device == faster))
    return _merge(graph, found)


def cut_parts(graph: KernelGraph, cuts: int | Sequence[float], costs: CachedCosts) -> list[Part]:
    """Return the shares of every compute-intensive kernel, at cuts along all of its axes.

    Parameters
    ----------
    graph : KernelGraph
    cuts : int or sequence of float
        How many cuts an axis gets, or the GPU's fractions; they are rounded to the axis's tiles.
    costs : CachedCosts
        Critical is the device that takes longer for its share.

    Raises
    ------
    CoExecError
        If a fraction is not between 0 and 1, or the number of cuts is negative.
    """
    fractions = read_cuts(cuts)
    found = []
    for k in graph.kernels:
        for axis in k.axes if k.is_heavy and len(k.devices) == len(DEVICES) else ():
            rounded = dict.fromkeys(round_cut(axis, f) for f in fractions)
            for cut in (c for c in rounded if 0 < c < axis.extent and c % axis.granule == 0):
                pair = [
                    _share(d, k, axis.dim, rows, float(costs.shares_s(d, k, axis.dim, [rows])[0]))
                    for d, rows in (("gpu", (0, cut)), ("cpu", (cut, axis.extent)))
                ]
                slower = max(pair, key=lambda p: (p.seconds, p.device))
                found += [replace(p, critical=p is slower) for p in pair]
    return _merge(graph, found)


def read_cuts(cuts: int | Sequence[float]) -> tuple[float, ...]:
    """Return the GPU's fractions; raise `CoExecError` for a wrong number or fraction."""
    if isinstance(cuts, bool) or (isinstance(cuts, int) and cuts < 0):
        raise CoExecError(f"cuts is {cuts}: give how many cuts an axis gets, or fractions between 0 and 1")
    if isinstance(cuts, int):
        return tuple((i + 1) / (cuts + 1) for i in range(cuts))
    try:
        fractions = tuple(float(c) for c in cuts)
    except (TypeError, ValueError):
        raise CoExecError(f"cuts is {cuts!r}: give a number of cuts, or fractions between 0 and 1") from None
    if wrong := [f for f in fractions if not 0.0 < f < 1.0]:
        raise CoExecError(f"cuts holds {wrong[0]:g}: give the GPU's fractions, between 0 and 1")
    return fractions


def merge_parts(graph: KernelGraph, run: Iterable[Part], others: Iterable[Part]) -> list[Part]:
    """Add parts that the plan does not run; the plan says what matters, so they count 0 seconds."""
    return _merge(graph, [*run, *(replace(p, runs=0, seconds=0.0, critical=False) for p in others)])


def _merge(graph: KernelGraph, parts: Sequence[Part]) -> list[Part]:
    """Unite parts that compute the same, in the order of the first of each."""
    found: dict[tuple, Part] = {}
    for p in parts:
        key = (p.device, graph.kernels[p.kernels[0]].signature(), p.dim, p.rows)
        if (same := found.get(key)) is not None:
            p = replace(
                same,
                kernels=tuple(sorted({*same.kernels, *p.kernels})),
                runs=same.runs + p.runs,
                seconds=same.seconds + p.seconds,
                critical=same.critical or p.critical,
            )
        found[key] = p
    return list(found.values())


def iterate_heavy(graph: KernelGraph, parts: Iterable[Part]) -> Iterator[Part]:
    """The parts that have something to tune: of compute-intensive kernels."""
    return (p for p in parts if graph.kernels[p.kernels[0]].is_heavy)
