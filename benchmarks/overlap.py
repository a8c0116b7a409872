"""Overlap of the devices' work, where the rest of the time goes, and the memory that co-execution takes.

``lost_%`` is what a recorded run takes longer than the bound ``1 / (1/cpu + 1/gpu)`` of the unsplit model's times on
each device alone, in per cent of the bound. The columns before it add up to it: `benchmarks._decomposition` defines
them. ``over_shares`` is the run's time over the time that the busier device spends on its own kernels, both of the same
recorded run: 1 means that shares never wait. ``memory`` is the bytes of tensors (no weights) over those of TVM's own
plan for the unsplit model on one device.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import _common, _modules, _quiet
from benchmarks.chain import network as four_convolutions

if TYPE_CHECKING:
    from benchmarks._share_times import ShareTimes
    from tvm_coexec.tracing import Timeline, Tracer

CHAINS = ("chain h", "chain oc")
NETWORKS = (
    *("mobilenet", "squeezenet", "shufflenet", "inception_v1", "resnet50", "densenet121"),
    *("bert_base", "vgg19"),
)
GOALS = {"over_shares": 1.03, "memory": 1.15}
TURNS, EACH, LONGEST_S = 20, 3, 60.0
DETAILS = 10  # shares that --detail lists

LOST = ("shares_%", "co_run_%", "meetings_%", "launch_%", "imbalance_%")
DECOMPOSITION = ("network", "cpu_alone_ms", "gpu_alone_ms", "bound_ms", *LOST, "lost_%", "run_ms", "untraced_ms")
OVERLAP = ("network", "run_ms", "cpu_ms", "gpu_ms", "over_shares", "best_run", "waiting_ms", "idle_wait_ms")
MEMORY = ("sync_points", "memory", "memory_copies", "MB")


@dataclass
class Measured:
    """What the turns of one network collect.

    Attributes
    ----------
    seconds : dict of str to list of float
        Of runs that are not recorded, until both devices have finished: ``cpu``, ``gpu`` and ``both``.
    co_run, alone : list of Timeline
        Of the split module: as usual, and one kernel at a time.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"cpu": [], "gpu": [], "both": []})
    co_run: list[Timeline] = field(default_factory=list)
    alone: list[Timeline] = field(default_factory=list)


@dataclass
class Row:
    """Results of one network, and what ``--detail`` prints about it."""

    row: dict
    shares: list[dict] = field(default_factory=list)
    activity: list[dict] = field(default_factory=list)


def measure(name: str, bed: _common.TestBed, quiet: _quiet.Quiet, turns: int, profile: str, detail: bool) -> Row:
    """Measure one network."""
    import tvm

    import tvm_coexec
    from tvm_coexec.tracing import Tracer

    if name in CHAINS:
        net = four_convolutions()
        options: dict = {"ratio": 0.5, "axis": name.split()[1]}
    else:
        net, options = _modules.Network.load(name, reference=False), {"profile": profile}
    lib = tvm_coexec.build(net.mod, net.params, **options)
    cpu_target, gpu_target = tvm_coexec.targets(_modules.CPU, _modules.GPU)
    cpu, whole = _modules.single(net, "cpu", cpu_target, tvm.cpu())
    row = {"network": name} | _memory(lib, whole, set(net.inputs))
    if tvm_coexec.plan_of(lib.ir_mod) is None:  # the model stays whole
        return Row(row)
    gpu, _ = _modules.single(net, "gpu", gpu_target, tvm.opencl())
    tracer = Tracer()
    both = tracer.create(lib)
    modules = {"cpu": cpu.module, "gpu": gpu.module, "both": both}
    for module in modules.values():
        module.set_input(**net.inputs)
    found = _take_turns(modules, tracer, turns, bed, quiet)
    row |= _times(found)
    if not detail:
        return Row(row)
    return Row(row, _share_rows(name, net, options, lib, tracer, found), _activity_rows(name, found))


def _memory(lib: object, whole: object, inputs: set[str]) -> dict:
    """Bytes of tensors against those of the unsplit model."""
    from tvm_coexec.executor.annotations import read_metadata
    from tvm_coexec.executor.graph_json import Graph, planned_bytes
    from tvm_coexec.opencl import runtime

    graph = Graph(lib.get_graph_json())
    one, split = planned_bytes(Graph(whole.get_graph_json()), inputs), planned_bytes(graph, inputs)
    plan = (read_metadata(graph) or {}).get("memory")
    layout = None if plan is None else plan["layouts"].get(runtime.devices()[0].storage_layout)
    nbytes = split if layout is None else layout["bytes"]  # without a layout, TVM's memory plan is used
    return {"memory": nbytes / one, "memory_copies": split / one, "MB": nbytes / 1e6}


def _take_turns(
    modules: dict[str, object], tracer: Tracer, turns: int, bed: _common.TestBed, quiet: _quiet.Quiet
) -> Measured:
    """Run each module in turns, and record the split one both ways, so that a disturbance affects all equally."""
    import tvm

    def run_gpu() -> None:
        modules["gpu"].run()  # returns when the last kernel is enqueued
        tvm.opencl().sync()

    runs = {"cpu": modules["cpu"].run, "gpu": run_gpu, "both": modules["both"].run}
    for once in runs.values():
        once()
    bed.pin()
    once_s = sum(_seconds(once) for once in runs.values()) + 2 * _seconds(runs["both"])
    turns = max(3, min(turns, int(LONGEST_S / (once_s * (EACH + 1)))))
    found = Measured()
    for _ in range(turns):
        bed.wait(quiet)
        for name, once in runs.items():
            once()
            found.seconds[name] += [_seconds(once) for _ in range(EACH)]
        found.co_run += tracer.record(runs["both"], EACH, warm_up=1).timelines
        found.alone += tracer.record(runs["both"], EACH, warm_up=1, one_at_a_time=True).timelines
    return found


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _times(found: Measured) -> dict:
    """Columns of the decomposition and of the overlap."""
    from benchmarks import _decomposition
    from tvm_coexec.tracing import numbers

    median = {name: statistics.median(seconds) for name, seconds in found.seconds.items()}
    run, alone = (
        _decomposition.mean_activity([_decomposition.measure_activity(t) for t in timelines])
        for timelines in (found.co_run, found.alone)
    )
    lost = _decomposition.lost_time(median["cpu"], median["gpu"], run, alone)
    every = [numbers(t) for t in found.co_run]
    over = [n["run_s"] / max(n["cpu_work_s"], n["gpu_s"]) for n in every]
    return {
        "cpu_alone_ms": median["cpu"] * 1e3,
        "gpu_alone_ms": median["gpu"] * 1e3,
        "bound_ms": _decomposition.bound_s(median["cpu"], median["gpu"]) * 1e3,
        **{f"{term}_%": 100 * lost[term] for term in _decomposition.TERMS},
        "lost_%": 100 * sum(lost.values()),
        "run_ms": run.run_s * 1e3,
        "untraced_ms": median["both"] * 1e3,
        "cpu_ms": run.of(cpu=("work",)) * 1e3,
        "gpu_ms": run.of(gpu=("work",)) * 1e3,
        "over_shares": statistics.median(over),
        "best_run": min(over),
        "waiting_ms": run.of(cpu=("wait",)) * 1e3,
        "idle_wait_ms": run.of(("wait",), ("idle",)) * 1e3,
        "sync_points": every[0]["sync_points"],
    }


def _activity_rows(name: str, found: Measured) -> list[dict]:
    """Milliseconds of the run by what both devices do."""
    from benchmarks import _decomposition

    run = _decomposition.mean_activity([_decomposition.measure_activity(t) for t in found.co_run])
    return [
        {"network": name, "cpu": c, **{f"gpu {g}": run.of((c,), (g,)) * 1e3 for g in _decomposition.GPU_STATES}}
        for c in _decomposition.CPU_STATES
    ]


def _share_rows(
    name: str, net: _modules.Network, options: dict, lib: object, tracer: Tracer, found: Measured
) -> list[dict]:
    """The shares that take longest against their time alone or against the predicted one."""
    import tvm_coexec
    from benchmarks import _share_times
    from tvm_coexec.executor.create import Creation

    partition = tvm_coexec.CoExecPartition(params=net.params, cpu=_modules.CPU, gpu=_modules.GPU, **options)
    partition(net.mod)
    graph, predicted_s = tracer.graph, {}
    assert graph is not None
    if partition.report is not None:
        predicted_s = _share_times.predict_shares(partition.report, graph, Creation(lib).executor_graph())
    shares = _share_times.measure_shares(graph, found.co_run, found.alone, predicted_s)
    return [_share_row(name, graph.segments, share) for share in shares[:DETAILS]]


def _share_row(name: str, segments: tuple[dict, ...], share: ShareTimes) -> dict:
    segment = segments[share.segment] if share.segment >= 0 else {}
    cut = f"{segment['axis']} {segment['cut']}/{segment.get('extent', '?')}" if "cut" in segment else ""
    return {
        "network": name,
        "segment": share.segment,
        "device": share.device,
        "cut": cut,
        "co_run_ms": share.co_run_s * 1e3,
        "alone_ms": share.alone_s * 1e3,
        "predicted_ms": None if share.predicted_s is None else share.predicted_s * 1e3,
        "excess_ms": share.excess_s * 1e3,
        "function": share.name,
    }


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="test_bed", help="profile for plans of networks (default: %(default)s)")
    text = f"also print the {DETAILS} shares that exceed their time alone or their predicted time most"
    parser.add_argument("--detail", action="store_true", help=text)


def main() -> None:
    """Measure the chain and the networks."""
    args = _common.parse("overlap", __doc__, names=(*CHAINS, *NETWORKS), own=_own_arguments)
    bed = _common.TestBed()
    rows = _common.keep_rows(args, "network")
    details: dict[str, list[dict]] = {}
    with _quiet.Quiet() as quiet:
        for name in _common.progress((*CHAINS, "squeezenet") if args.quick else args.names):
            found = measure(name, bed, quiet, 3 if args.quick else TURNS, args.own.profile, args.own.detail)
            rows.append(found.row)
            if args.own.detail:
                details[f"{name}: shares with the largest excess"] = found.shares
                details[f"{name}: milliseconds by what both devices do"] = found.activity
            print(_common.table(rows[-1:], DECOMPOSITION), flush=True)
            _common.write(args, bed.setting(), rows, _notes(), details)
    print(f"\n{_common.table(rows, (*OVERLAP, *MEMORY))}\n")
    _common.finish(args, bed, rows, _notes(), DECOMPOSITION, details)


def _notes() -> list[str]:
    return [
        "cpu_alone, gpu_alone: median ms of the unsplit model; bound: 1 / (1 / cpu_alone + 1 / gpu_alone); run: mean "
        "ms of the middle half of the recorded runs; untraced: median ms of runs that are not recorded; all in turns, "
        "without the copies of inputs and results",
        "lost_% = run / bound - 1, the sum of: shares (work that the split adds), co_run (what kernels take longer "
        "because the other device works too), meetings (slices, joins, copies, waits for an idle GPU), launch, "
        "imbalance (the rest)",
        "cpu, gpu: ms of kernels in those runs; over_shares: the run over the larger of both; "
        "waiting: the CPU's for the GPU, idle_wait: the part of it in which the GPU is idle",
        "memory: bytes of tensors on shared memory over those of TVM's plan for the unsplit model on the CPU; "
        "memory_copies: those of the split model in the stock executor",
        f"goals: over_shares <= {GOALS['over_shares']:g} for the chain, memory <= {GOALS['memory']:g}",
    ]


if __name__ == "__main__":
    main()
