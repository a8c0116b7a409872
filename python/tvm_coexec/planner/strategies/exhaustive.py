"""The oracle: every plan there is, for small graphs.

All orders, all assignments, all sets of kernels as chains, all axes and cuts. It shares nothing with the search but
the simulator, one segment at a time; of two ways to the same state, one that is later on both devices and has fewer
values in place can't win and is dropped, which loses no optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.core.chains import chain_dims
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph, cuts_of
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.progress import progress
from tvm_coexec.core.reasons import Why, reason

from ..cached_costs import CachedCosts
from ..objective import score_of
from ..options import Options, Result
from ..segments import merge_segments
from ..simulator import Simulator, simulate

LARGEST = 10


@dataclass
class _Way:
    sim: Simulator
    segments: tuple[Segment, ...]


def exhaustive(graph: KernelGraph, costs: CachedCosts, options: Options) -> Result:
    """The best of all plans; `CoExecError` for graphs of more than `LARGEST` kernels."""
    n = len(graph.kernels)
    if n > LARGEST:
        raise CoExecError(f"strategy 'exhaustive' is for graphs of at most {LARGEST} kernels, this one has {n}")
    if options.objective != "latency":
        raise CoExecError("strategy 'exhaustive' knows the objective latency only")
    chains = _chains(graph, options)
    levels: list[dict[frozenset[int], list[_Way]]] = [{} for _ in range(n + 1)]
    levels[0][frozenset()] = [_Way(Simulator(graph, costs), ())]
    for level in progress(levels[:-1], "planning", "kernel"):
        for done, ways in level.items():
            options_here = [
                s for k in graph.kernels if k.index not in done and _ready(graph, done, {k.index})
                for s in [Segment(d, (k.index,)) for d in k.devices]
            ]  # fmt: skip
            options_here += [
                s for members, segments in chains.items() if not members & done and _ready(graph, done, members)
                for s in segments
            ]  # fmt: skip
            for segment in options_here:
                for way in ways:
                    sim = way.sim.copy()
                    sim.run(segment)
                    after = done | set(segment.kernels)
                    for dead in [v for v in sim.where if not _is_needed(graph, v, after)]:
                        sim.where[dead] = {"cpu", "gpu"}  # where it was makes no difference any more
                    _add(levels[len(after)].setdefault(after, []), _Way(sim, (*way.segments, segment)))
    ends = levels[n][frozenset(range(n))]
    best = min(ends, key=lambda way: _score(graph, costs, options, way))
    split = {k for s in best.segments if s.device == "split" for k in s.kernels}
    reasons = {k: reason(Why.NO_BETTER_PLAN) for k in range(n) if k not in split}
    return merge_segments(graph, best.segments), reasons


def _score(graph: KernelGraph, costs: CachedCosts, options: Options, way: _Way) -> float:
    return score_of(options.objective, simulate(graph, costs, merge_segments(graph, way.segments)))


def _ready(graph: KernelGraph, done: frozenset[int], members: set[int] | frozenset[int]) -> bool:
    return all(v < 0 or v in done or v in members for m in members for v in graph.kernels[m].inputs)


def _is_needed(graph: KernelGraph, value: int, done: frozenset[int]) -> bool:
    return value in graph.outputs or any(c not in done for c in graph.consumers.get(value, ()))


def _chains(graph: KernelGraph, options: Options) -> dict[frozenset[int], list[Segment]]:
    """Every set of kernels with a heavy one that can carry a split, and every way to cut it."""
    n = len(graph.kernels)
    found: dict[frozenset[int], list[Segment]] = {}
    for mask in range(1, 1 << n):
        members = [k for k in range(n) if mask >> k & 1]
        if not any(graph.kernels[m].is_heavy for m in members):
            continue
        last = graph.kernels[members[-1]]
        for axis in last.axes:
            if options.axis not in ("auto", axis.name):
                continue
            try:
                chain_dims(graph, members, axis.name)
            except CoExecError:
                continue
            segments = [Segment("split", tuple(members), axis.name, cut) for cut in cuts_of(axis)]
            found.setdefault(frozenset(members), []).extend(segments)
    return found


def _add(ways: list[_Way], new: _Way) -> None:
    if any(_no_worse(old, new) for old in ways):
        return
    ways[:] = [old for old in ways if not _no_worse(new, old)]
    ways.append(new)


def _no_worse(a: _Way, b: _Way) -> bool:
    if a.sim.host_s > b.sim.host_s or a.sim.now_s > b.sim.now_s:
        return False
    return all(where <= a.sim.where.get(v, where) for v, where in b.sim.where.items())
