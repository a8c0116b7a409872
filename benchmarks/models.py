"""Networks of the zoo: the CPU alone, the GPU alone, and co-executed, compared with a two-thread CPU build.

``python -m benchmarks.models NETWORK ...`` runs some networks and, with ``--json``, keeps the rows of the others.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass

import numpy as np

from benchmarks import _common, _modules, _quiet

NETWORKS = (
    *("resnet50", "vgg19", "squeezenet", "shufflenet", "inception_v1", "densenet121"),
    *("mobilenet", "bert_base"),
)


@dataclass(frozen=True)
class Compared:
    """A co-executed network against each device alone.

    Attributes
    ----------
    row : dict
        Median milliseconds, and the speed-up over the better device.
    best_s : dict of str to float
        Shortest run of ``cpu``, ``gpu`` and ``both``.
    better : str
        The better device by the median.
    outputs : dict of str to list of ndarray
        Results of ``cpu``, ``gpu`` and ``both``.
    cpu_library : executor factory
        The network built for the CPU alone.
    waited_s : float
        Seconds spent waiting for a quiet machine.
    """

    row: dict
    best_s: dict[str, float]
    better: str
    outputs: dict[str, list[np.ndarray]]
    cpu_library: object
    waited_s: float


def compare_with_alone(
    net: _modules.Network, both: _modules.Runner, bed: _common.TestBed, turns: int, target: str
) -> Compared:
    """Build a network for each device alone, and time both and a co-executed build in turns."""
    import tvm

    import tvm_coexec

    cpu_target, gpu_target = tvm_coexec.targets(target, _modules.GPU)
    cpu, lib = _modules.single(net, "cpu", cpu_target, tvm.cpu())
    gpu, _ = _modules.single(net, "gpu", gpu_target, tvm.opencl())
    outputs = {r.name: r.once()[1] for r in (cpu, gpu, both)}
    with _quiet.Quiet() as quiet:
        times = _modules.time_steady_state([cpu, gpu, both], turns, bed.pin, lambda: bed.wait(quiet))
    median = {n: statistics.median(s for turn in t for s in turn) for n, t in times.items()}
    best = {n: min(s for turn in t for s in turn) for n, t in times.items()}
    better = min(("cpu", "gpu"), key=median.__getitem__)
    # other load on the host of a virtual machine disturbs the runs of a turn equally
    pairs = zip(times[better], times["both"], strict=True)
    speed_up = statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs)
    row = {
        "network": net.name,
        "cpu_ms": median["cpu"] * 1e3,
        "gpu_ms": median["gpu"] * 1e3,
        "both_ms": median["both"] * 1e3,
        "speed_up": speed_up,
        "best_runs": best[better] / best["both"],
    }
    return Compared(row, best, better, outputs, lib, quiet.waited_s)


def measure(name: str, bed: _common.TestBed, repeats: int, profile: str, target: str) -> dict:
    """One row of the table."""
    net = _modules.Network.load(name)
    both, plan = _modules.build_coexecuted(net, "both", cpu=target, profile=profile)
    alone_plan = _modules.plan_alone(net, cpu=target, profile=profile)
    made = compare_with_alone(net, both, bed, repeats, target)
    expected, alone_s = alone_plan.expected_s / plan.expected_s, made.best_s[made.better]
    return made.row | {
        "expected_speed_up": expected,
        "speed_up_off_%": 100 * (expected * made.best_s["both"] / alone_s - 1),
        "expected_ms": plan.expected_s * 1e3,
        # as for kernels, the shortest time counts: other load can only add time
        "expected_off_%": 100 * (plan.expected_s / made.best_s["both"] - 1),
        "alone_off_%": 100 * (alone_plan.expected_s / alone_s - 1),
        "chains": len(plan.chains),
        "split_kernels": sum(len(c.kernels) for c in plan.chains),
        "cpu_2_threads_ms": _modules.on_two_threads(made.cpu_library, net.inputs, max(3, repeats // 2)) * 1e3,
        "max_rel_error": _modules.relative_error(made.outputs["both"][0], net.reference),
        "waited_s": made.waited_s,
    }


def main() -> None:
    """Measure all networks."""
    args = _common.parse("models", __doc__, names=NETWORKS, own=_own_arguments)
    bed = _common.TestBed()
    names = ("squeezenet", "shufflenet") if args.quick else args.names
    rows = _common.keep_rows(args, "network")
    for name in _common.progress(names):
        rows.append(measure(name, bed, 3 if args.quick else 15, args.own.profile, args.own.cpu))
        print(_common.table(rows[-1:]), flush=True)
        _common.write(args, bed.setting(), rows, _notes(args, rows))  # an interrupted run keeps its results
    _common.finish(args, bed, rows, _notes(args, rows))


def _notes(args: _common.Arguments, rows: list[dict]) -> list[str]:
    mean = statistics.geometric_mean(r["speed_up"] for r in rows)
    return [
        "median wall-clock ms, inputs and results in the CPU's memory, in steady state: in each turn a module runs "
        "once untimed and three times timed; speed_up over the better single device: the median over turns, and of "
        "the shortest runs (best_runs)",
        f"geometric mean of speed_up: {mean:.2f}, the least {min(r['speed_up'] for r in rows):.2f}",
        f"the CPU's target is '{args.own.cpu}'",
        f"planned with the profile '{args.own.profile}'; expected_off_%: error of the plan's expected time against the "
        "shortest run; alone_off_%: the same for the better single device",
        "two CPU threads use both cores, as co-execution does on a pocl test-bed",
        "a turn starts when the two cores do not slow each other; waited_s: time spent waiting for it",
    ]


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    text = "costs for planning: 'measure' (default), a profile's name or file"
    parser.add_argument("--profile", default="measure", metavar="PROFILE", help=text)
    text = "its target; plain llvm (default) is about as fast as pocl, 'llvm -mcpu=skylake-avx512' is much faster"
    parser.add_argument("--cpu", default=_modules.CPU, metavar="TARGET", help=text)


if __name__ == "__main__":
    main()
