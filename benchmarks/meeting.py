"""Cost of a sync point: on shared memory, and with the copies of the stock executor.

Three tables: scatter and join of one cheap kernel by tensor size; the host's delay in noticing the end of a kernel, by
wait method; and whole networks on shared memory against the same files with copies.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks import _common, _modules, _quiet
from benchmarks.chain import network as four_convolutions

CHANNELS = {"0.05 MB": 4, "0.8 MB": 64, "3.2 MB": 256}
SIZE = 56
WAYS = ("event", "poll", "flag")
GOALS = {"meeting_us": 20.0, "latency_us": 10.0, "copy-heavy": 1.2}
NETWORKS = ("four convolutions", "copy-heavy", "resnet50")
WITHOUT_SHARED_MEMORY = (
    "this device shares no memory with the CPU: the rows 'shared' are modules of tvm_coexec.create, which copies as "
    "well, but starts downloads early; the goals below are for shared memory"
)


def one_kernel(channels: int) -> tuple[_modules.Network, Callable]:
    """A tensor through one cheap kernel, half of its channels on each device."""
    import tvm
    from tvm import relay

    from tvm_coexec.core.plan import Plan, Segment
    from tvm_coexec.relay_passes.extract import extract
    from tvm_coexec.relay_passes.prepare import Prepare

    rng = np.random.default_rng(0)
    x = relay.var("x", shape=(1, channels, SIZE, SIZE))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.relu(x)))
    plan = Plan(extract(Prepare()(mod)).fingerprint(), (Segment("split", (0,), "oc", channels // 2),))
    inputs = {"x": rng.standard_normal((1, channels, SIZE, SIZE)).astype("float32")}
    return _modules.Network("relu", mod, None, inputs), plan


def copy_heavy(layers: int = 4, channels: int = 16, size: int = 224) -> tuple[_modules.Network, object]:
    """Large maps with little work: 1x1 convolutions of 3.2 MB, all channels of which every layer reads."""
    import tvm
    from tvm import relay

    from tvm_coexec.core.plan import Plan, Segment
    from tvm_coexec.relay_passes.extract import extract
    from tvm_coexec.relay_passes.prepare import Prepare

    rng = np.random.default_rng(0)
    x = y = relay.var("x", shape=(1, channels, size, size))
    for _ in range(layers):
        weight = relay.const((rng.standard_normal((channels, channels, 1, 1)) * 0.3).astype("float32"))
        y = relay.nn.relu(relay.nn.conv2d(y, weight, channels=channels, kernel_size=(1, 1)))
    mod = tvm.IRModule.from_expr(relay.Function([x], y))
    cuts = tuple(Segment("split", (n,), "oc", channels // 2) for n in range(layers))
    plan = Plan(extract(Prepare()(mod)).fingerprint(), cuts)
    inputs = {"x": rng.standard_normal((1, channels, size, size)).astype("float32")}
    return _modules.Network("copy-heavy", mod, None, inputs), plan


def stock(lib: object, wrap: Callable | None = None) -> object:
    """Load the same file in TVM's own executor."""
    from tvm.contrib import graph_executor

    from tvm_coexec.executor.create import find_devices

    devices = find_devices(lib.get_graph_json())
    functions = lib.get_lib() if wrap is None else wrap(lib.get_graph_json(), lib.get_lib())
    module = graph_executor.create(lib.get_graph_json(), functions, devices)
    module.set_input(**lib.get_params())
    return module


def meetings(
    bed: _common.TestBed, quick: bool, sizes: Mapping[str, int] = CHANNELS, gpu: str = _modules.GPU
) -> list[dict]:
    """One row per size and path: time of a run beyond the longer one of the two shares.

    Parameters
    ----------
    bed : TestBed
    quick : bool
        Fewer runs.
    sizes : mapping of str to int
        Channels of the tensor by the name of its size.
    gpu : str
        Kind of GPU.
    """
    import tvm_coexec
    from tvm_coexec.tracing import Tracer, numbers
    from tvm_coexec.tracing.timeline import measured_timeline

    rows = []
    for size, channels in sizes.items():
        net, plan = one_kernel(channels)
        lib = tvm_coexec.build(net.mod, gpu=gpu, plan=plan)
        for path in ("shared", "copies"):
            tracer = Tracer()
            module = tracer.create(lib) if path == "shared" else stock(lib, tracer.wrap)
            module.set_input(**net.inputs)
            module.run()
            bed.pin()
            made = tracer.record(module.run, runs=50 if quick else 400, warm_up=50)
            timelines = [measured_timeline(made.graph, made.spans, w) for w in made.windows]
            runs = [numbers(t) for t in timelines]
            starts = [t.lane("gpu")[0].start_s - _launched(t) for t in timelines]
            beyond = [r["run_s"] - max(r["cpu_work_s"], r["gpu_s"]) for r in runs]
            rows.append(
                {
                    "tensor": size,
                    "path": path,
                    "meeting_us": statistics.median(beyond) * 1e6,
                    "run_us": statistics.median(r["run_s"] for r in runs) * 1e6,
                    "cpu_share_us": statistics.median(r["cpu_work_s"] for r in runs) * 1e6,
                    "gpu_share_us": statistics.median(r["gpu_s"] for r in runs) * 1e6,
                    "launching_us": statistics.median(r["enqueue_s"] for r in runs) * 1e6,
                    "starting_us": statistics.median(starts) * 1e6,
                    "MB_moved": runs[0]["moved_bytes"] / 1e6,
                }
            )
    return rows


def _launched(timeline: object) -> float:
    """Time at which the host had launched the first kernel."""
    return next(e.end_s for e in timeline.lane("cpu") if e.what == "enqueue")


def latency(runs: int) -> dict:
    """Seconds from a kernel's end to the end of the wait for it; the kernel takes longer than the CPU's share."""
    bed = _common.TestBed()
    import tvm_coexec
    from tvm_coexec.core.plan import Plan, Segment
    from tvm_coexec.opencl import runtime
    from tvm_coexec.tracing import Tracer
    from tvm_coexec.tracing.timeline import measured_timeline

    net = four_convolutions()
    auto = tvm_coexec.partition_for_coexec(net.mod, ratio=0.5, axis="oc")
    plan = Plan(
        tvm_coexec.plan_of(auto).graph, (Segment("split", (0,), "oc", 56), *(Segment("cpu", (n,)) for n in (1, 2, 3)))
    )
    lib = tvm_coexec.build(net.mod, plan=plan)
    tracer = Tracer()
    module = tracer.create(lib)
    module.set_input(**net.inputs)
    module.run()
    bed.pin()
    found, uncertainty = [], []
    made = tracer.record(module.run, runs=runs, warm_up=5)
    for window in made.windows:
        timeline = measured_timeline(made.graph, made.spans, window)
        kernel_end = max(k.end_s for k in timeline.lane("gpu") if "signal" not in k.name)
        wait = max((e for e in timeline.lane("cpu") if e.what == "wait"), key=lambda e: e.end_s - e.start_s)
        if wait.start_s < kernel_end:  # the host was waiting already
            found.append(wait.end_s - kernel_end)
            uncertainty.append(timeline.uncertainty_s)
    return {
        "median_us": statistics.median(found) * 1e6,
        "p90_us": sorted(found)[int(0.9 * len(found))] * 1e6,
        "uncertainty_us": max(uncertainty) * 1e6,
        "waits": len(found),
        "chosen": runtime.wait_method()["method"],
    }


def latencies(quick: bool) -> list[dict]:
    """One row per way to wait, each in a separate process; and the default method."""
    rows = []
    for way in (*WAYS, "auto"):
        environment = dict(os.environ, TVM_COEXEC_OPENCL_WAIT=way)
        command = [sys.executable, "-m", "benchmarks.meeting", "--latency", "10" if quick else "60"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        rows.append({"wait": way, **json.loads(done.stdout.splitlines()[-1])})
    return rows


def network(
    name: str, bed: _common.TestBed, turns: int, quiet: _quiet.Quiet, profile: str | None, gpu: str = _modules.GPU
) -> dict:
    """One row: the same file on shared memory and with copies, in turns."""
    import tvm_coexec
    from tvm_coexec.opencl import runtime

    if name == "resnet50":
        net = _modules.Network.load(name)
        lib = tvm_coexec.build(net.mod, net.params, gpu=gpu, profile=profile)
    elif name == "copy-heavy":
        net, plan = copy_heavy()
        lib = tvm_coexec.build(net.mod, gpu=gpu, plan=plan)
    else:
        net = four_convolutions()
        lib = tvm_coexec.build(net.mod, gpu=gpu, ratio=0.5, axis="oc")
    shared = _modules.Runner("shared", tvm_coexec.create(lib), net.inputs)
    copies = _modules.Runner("copies", stock(lib), net.inputs)
    want, got = copies.once()[1], shared.once()[1]
    runtime.reset_stats()
    copies.once()
    stats = runtime.stats()
    moved = stats["upload_bytes"] + stats["download_bytes"]
    times = _modules.time_steady_state([shared, copies], turns, bed, quiet, each=5)
    median = {n: statistics.median(s for turn in t for s in turn) for n, t in times.items()}
    best = {n: min(s for turn in t for s in turn) for n, t in times.items()}
    pairs = zip(times["copies"], times["shared"], strict=True)
    return {
        "network": name,
        "copies_ms": median["copies"] * 1e3,
        "shared_ms": median["shared"] * 1e3,
        "gain": statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs),
        "best_runs": best["copies"] / best["shared"],
        "MB_copied": moved / 1e6,
        "bit_equal": all(np.array_equal(a, b) for a, b in zip(got, want, strict=True)),
    }


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", help="profile for the plan of resnet50 (default: test_bed, on Vulkan measured)")
    _common.add_gpu_argument(parser)
    parser.add_argument("--latency", type=int, metavar="RUNS", help=argparse.SUPPRESS)


def main() -> None:
    """Measure all three tables."""
    args = _common.parse("meeting", __doc__, names=NETWORKS, own=_own_arguments)
    if args.own.latency:
        print(json.dumps(latency(args.own.latency)))
        return
    gpu = args.own.gpu
    # Waiting for a kernel in shared memory, which Vulkan devices do not have: there a download waits.
    waits = latencies(args.quick) if gpu == "opencl" else []
    profile = args.own.profile or ("test_bed" if gpu == "opencl" else None)
    bed = _common.TestBed(gpu=gpu)
    one = meetings(bed, args.quick, gpu=gpu)
    rows = []
    with _quiet.Quiet() as quiet:
        for name in _common.progress([n for n in args.names if n != "resnet50"] if args.quick else args.names):
            rows.append(network(name, bed, 3 if args.quick else 15, quiet, profile, gpu))
    notes = [] if gpu == "opencl" else [WITHOUT_SHARED_MEMORY]
    notes += [
        "one sync: time of a run beyond the longer one of the two shares (the kernel's time alone on the GPU's "
        f"side), median; goal {GOALS['meeting_us']:g} us for 0.8 MB on shared memory; of it launching is the host's "
        "time for launching the kernel, starting the device's time from there to the kernel's start",
        f"wait: from the kernel's end to the end of the wait, goal {GOALS['latency_us']:g} us; the devices' clocks are "
        "mapped onto each other with the uncertainty given",
        "networks: gain of shared memory over copies, the median over turns, and of the shortest runs; goals: never "
        f"below 1, {GOALS['copy-heavy']:g} for the copy-heavy one",
    ]
    details = {"one sync": one} | ({"noticing a kernel's end": waits} if waits else {})
    _common.finish(args, bed, rows, notes, details=details)


if __name__ == "__main__":
    main()
