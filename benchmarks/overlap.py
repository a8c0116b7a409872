"""Overlap of the devices' work, and the memory that co-execution takes.

``over_shares`` is the run's time over the time that the busier device spends on its own kernels, both of the same
recorded run: 1 means that shares never wait. ``memory`` is the bytes of tensors (no weights) over
those of TVM's own plan for the unsplit model on one device.
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks import _common, _modules, _quiet
from benchmarks.chain import network as four_convolutions

CHAINS = ("chain h", "chain oc")
NETWORKS = ("mobilenet", "squeezenet", "shufflenet", "inception_v1", "resnet50", "densenet121")
GOALS = {"over_shares": 1.03, "memory": 1.15}


def measure(name: str, bed: _common.TestBed, quiet: _quiet.Quiet, runs: int, profile: str) -> dict:
    """One row."""
    import tvm
    from tvm import relay

    import tvm_coexec
    from tvm_coexec.executor.annotations import read_metadata
    from tvm_coexec.executor.graph_json import Graph, planned_bytes
    from tvm_coexec.opencl import runtime
    from tvm_coexec.tracing import Tracer, numbers
    from tvm_coexec.tracing.timeline import measured_timeline

    if name in CHAINS:
        net = four_convolutions()
        options: dict = {"ratio": 0.5, "axis": name.split()[1]}
    else:
        net, options = _modules.Network.load(name), {"profile": profile}
    lib = tvm_coexec.build(net.mod, net.params, **options)
    with tvm.transform.PassContext(opt_level=3):
        whole = relay.build(net.mod, target=_modules.CPU, params=net.params)
    inputs = set(net.inputs)
    one = planned_bytes(Graph(whole.get_graph_json()), inputs)
    split = planned_bytes(Graph(lib.get_graph_json()), inputs)
    row: dict = {"network": name}
    memory = (read_metadata(Graph(lib.get_graph_json())) or {}).get("memory")
    if memory is None:
        row |= dict.fromkeys(("run_ms", "cpu_ms", "gpu_ms", "over_shares", "waiting_ms", "idle_wait_ms", "sync_points"))
        return row | {"memory": 1.0, "memory_copies": split / one, "MB": one / 1e6}
    mode = runtime.devices()[0].memory_mode
    nbytes = memory["layouts"][{"fine": "shared", "buffer": "copied"}.get(mode, "mapped")]["bytes"]
    tracer = Tracer()
    module = tracer.create(lib)
    module.set_input(**net.inputs)
    module.run()
    bed.pin()
    bed.wait(quiet)
    made = tracer.record(module.run, runs=runs, warm_up=3)
    found = [numbers(measured_timeline(made.graph, made.spans, w)) for w in made.windows]
    over = [r["run_s"] / max(r["cpu_work_s"], r["gpu_s"]) for r in found]
    return row | {
        "run_ms": statistics.median(r["run_s"] for r in found) * 1e3,
        "cpu_ms": statistics.median(r["cpu_work_s"] for r in found) * 1e3,
        "gpu_ms": statistics.median(r["gpu_s"] for r in found) * 1e3,
        "over_shares": statistics.median(over),
        "best_run": min(over),
        "waiting_ms": statistics.median(r["wait_s"] for r in found) * 1e3,
        "idle_wait_ms": statistics.median(r["idle_wait_s"] for r in found) * 1e3,
        "sync_points": found[0]["sync_points"],
        "memory": nbytes / one,
        "memory_copies": split / one,
        "MB": nbytes / 1e6,
    }


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="test_bed", help="profile for plans of networks (default: %(default)s)")


def main() -> None:
    """Measure the chain and the networks."""
    args = _common.parse("overlap", __doc__, names=(*CHAINS, *NETWORKS), own=_own_arguments)
    bed = _common.TestBed()
    rows = _common.keep_rows(args, "network")
    with _quiet.Quiet() as quiet:
        for name in _common.progress((*CHAINS, "squeezenet") if args.quick else args.names):
            rows.append(measure(name, bed, quiet, 10 if args.quick else 60, args.own.profile))
            print(_common.table(rows[-1:]), flush=True)
            _common.write(args, bed.setting(), rows, _notes())
    _common.finish(args, bed, rows, _notes())


def _notes() -> list[str]:
    return [
        "run, cpu (kernels), gpu (kernels): median ms of recorded runs; over_shares: the run over the larger of both; "
        "waiting: the CPU's for the GPU, idle_wait: the fraction of it in which the GPU is idle",
        "memory: bytes of tensors on shared memory over those of TVM's plan for the unsplit model on the CPU; "
        "memory_copies: those of the split model in the stock executor",
        f"goals: over_shares <= {GOALS['over_shares']:g} for the chain, memory <= {GOALS['memory']:g}",
    ]


if __name__ == "__main__":
    main()
