"""Adaptive modules against each of their variants, while another process uses a core.

Each case runs for 30 s: the adaptive module, and each variant alone, in turns of 5 s, so that all see the same machine.
The load is a process that computes on one of the two cores, on both, or in bursts of a second; or another module that
uses the GPU's queue.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks import _common, _modules

NETWORKS = ("mobilenet", "squeezenet", "shufflenet", "resnet50")
LOADS = ("none", "cpu", "gpu", "both", "cpu bursts", "gpu bursts", "gpu queue")
VARIANTS = ("split", "cpu", "gpu")
WITHIN, LEAST = 1 / 1.07, 0.93  # of the best variant; of the best single device


def _compute(cores: tuple[int, ...], burst_s: float) -> None:
    """Keep a core busy; with `burst_s` half of the time, in bursts of so long."""
    os.sched_setaffinity(0, set(cores))
    x = np.random.default_rng(0).standard_normal(4096)
    begin = time.monotonic()
    while True:
        if burst_s and (time.monotonic() - begin) % (2 * burst_s) < burst_s:
            time.sleep(0.005)
            continue
        for _ in range(20):
            np.sin(x)


@contextlib.contextmanager
def under_load(load: str, bed: _common.TestBed, other: Callable[[], object]) -> Iterator[None]:
    """Run a load during the block: processes on the cores of the two devices, or `other` in a thread."""
    cores = bed.bed.cores
    gpu, cpu = cores[0], cores[1 % len(cores)]
    kind, *rest = load.split()
    wanted = {"none": (), "cpu": (cpu,), "gpu": (gpu,), "both": (cpu, gpu)}[kind]
    if rest == ["queue"]:
        stop = threading.Event()

        def keep_running() -> None:
            while not stop.is_set():
                other()

        thread = threading.Thread(target=keep_running)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        return
    context = multiprocessing.get_context("spawn")
    burst_s = 1.0 if rest == ["bursts"] else 0.0
    started = [context.Process(target=_compute, args=((c,), burst_s), daemon=True) for c in wanted]
    for process in started:
        process.start()
    time.sleep(0.5 if started else 0)
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.join()


def runs_in_turns(runners: dict[str, Callable[[], object]], total_s: float, turn_s: float) -> dict[str, float]:
    """Runs per second of each, which take turns until each has had its time."""
    seconds, runs = dict.fromkeys(runners, 0.0), dict.fromkeys(runners, 0)
    for _ in range(math.ceil(total_s / turn_s)):
        for name, run in runners.items():
            begin = time.perf_counter()
            while time.perf_counter() - begin < turn_s:
                run()
                runs[name] += 1
            seconds[name] += time.perf_counter() - begin
    return {name: runs[name] / seconds[name] for name in runners}


def measure(name: str, loads: tuple[str, ...], bed: _common.TestBed, total_s: float, turn_s: float, profile: str):
    """Yield a row for each load."""
    import tvm_coexec

    network = _modules.Network.load(name, reference=False)
    lib = tvm_coexec.build(
        network.mod, network.params, cpu=_modules.CPU, gpu=_modules.GPU, profile=profile, adaptive=True
    )
    module = tvm_coexec.create(lib, adaptive=True)
    pinned = {v: tvm_coexec.create(lib, adaptive=True) for v in module.stats()["variants"]}
    other = tvm_coexec.create(lib, adaptive=True)
    for m in (module, other, *pinned.values()):
        m.set_input(**network.inputs)
    for variant, m in pinned.items():
        m.use(variant)
    other.use("gpu" if "gpu" in pinned else "split")
    bed.pin()
    size = module.stats()["weight_bytes"]
    for load in loads:
        with under_load(load, bed, other.run):
            before = module.stats()
            rate = runs_in_turns({"adaptive": module.run, **{v: m.run for v, m in pinned.items()}}, total_s, turn_s)
            after = module.stats()
        best, single = max(rate[v] for v in pinned), max(rate[v] for v in pinned if v != "split")
        yield {
            "network": name,
            "load": load,
            **{f"{v}_ms": 1e3 / rate[v] if v in rate else None for v in VARIANTS},
            "adaptive_ms": 1e3 / rate["adaptive"],
            "of_best": rate["adaptive"] / best,
            "of_single": rate["adaptive"] / single,
            "met": rate["adaptive"] >= WITHIN * best and rate["adaptive"] >= LEAST * single,
            "switches": after["switches"] - before["switches"],
            "probes": after["probes"] - before["probes"],
            "probe_part": (after["probe_cost_s"] - before["probe_cost_s"]) / (after["run_s"] - before["run_s"]),
            "weights_mb": size["stored"] / 1e6,
            "shared_mb": (size["variants"] - size["stored"]) / 1e6,
        }


def main() -> None:
    """Measure all networks under all loads."""
    args = _common.parse(
        "adaptive",
        __doc__,
        names=NETWORKS,
        own=lambda p: p.add_argument("--profile", default="test_bed", metavar="PROFILE", help="costs for planning"),
    )
    bed = _common.TestBed()
    names = ("squeezenet",) if args.quick else args.names
    loads = ("none", "gpu") if args.quick else LOADS
    total_s, turn_s = (2.0, 1.0) if args.quick else (30.0, 5.0)
    rows = _common.keep_rows(args, "network")
    for row in itertools.chain.from_iterable(
        measure(name, loads, bed, total_s, turn_s, args.own.profile) for name in names
    ):
        rows.append(row)
        print(_common.table(rows[-1:]), flush=True)
        _common.write(args, bed.setting(), rows, _notes(rows))  # an interrupted run keeps its results
    _common.finish(args, bed, rows, _notes(rows))


def _notes(rows: list[dict]) -> list[str]:
    return [
        "mean wall-clock ms of a run over all turns of a case; of_best: speed of the adaptive module, relative to the "
        "best variant of this case; of_single: to the better single device",
        f"goals: of_best at least {WITHIN:.3f}, of_single at least {LEAST}; worst here: "
        f"{min(r['of_best'] for r in rows):.3f} and {min(r['of_single'] for r in rows):.3f}",
        "the adaptive module pauses during the turns of others, so at most turns it starts with what it knew before",
        "load: a process on the core of the CPU's thread (cpu) or of pocl (gpu), on both, in bursts of 1 s, or another "
        "module on the same GPU queue",
    ]


if __name__ == "__main__":
    main()
