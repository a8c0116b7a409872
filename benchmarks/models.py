"""Networks of the zoo: the CPU alone, the GPU alone, and co-executed, compared with a two-thread CPU build.

``python -m benchmarks.models NETWORK ...`` runs some networks and, with ``--json``, keeps the rows of the others.
"""

from __future__ import annotations

import argparse

from benchmarks import _apart, _common, _compare, _modules, _verified

NETWORKS = (
    *("resnet50", "vgg19", "squeezenet", "shufflenet", "inception_v1", "densenet121"),
    *("mobilenet", "bert_base"),
)
AGAINST_TWO_THREADS = ("resnet50", "vgg19", "bert_base")
_LIMIT_S = 3600.0  # of a network whose kernels are measured first
OF_BOUND, PROMISES, OVER_TWO_THREADS = (0.92, 0.85), (7.0, 15.0), 0.93


def measure(name: str, bed: _common.TestBed, turns: int, profile: str, target: str, plans: int) -> dict:
    """One row of the table."""
    net = _modules.Network.load(name)
    both, plan = _modules.build_coexecuted(net, "both", cpu=target, profile=profile)
    alone_plan = _modules.plan_alone(net, cpu=target, profile=profile)
    verified, kept = _verified.build(net, plans, cpu=target, profile=profile)
    made = _compare.compare_with_alone(net, both, bed, turns, target, two_threads=True, others=verified)
    assert net.reference is not None and made.two_threads_s is not None
    expected, alone_s = alone_plan.expected_s / plan.expected_s, made.best_s[made.better]
    return made.row | {
        **_compare.bounds(made.row),
        "expected_speed_up": expected,
        "speed_up_off_%": 100 * (expected * made.best_s["both"] / alone_s - 1),
        "expected_ms": plan.expected_s * 1e3,
        "promised_off_%": _compare.promised_off(plan.expected_s, made.row),
        # as for kernels, the shortest time counts: other load can only add time
        "expected_off_%": 100 * (plan.expected_s / made.best_s["both"] - 1),
        "alone_off_%": 100 * (alone_plan.expected_s / alone_s - 1),
        "chains": len(plan.chains),
        "split_kernels": sum(len(c.kernels) for c in plan.chains),
        "cpu_2_threads_ms": made.two_threads_s * 1e3,
        "over_two_threads": made.over_two_threads,
        **_verified.columns(made, kept),
        "max_rel_error": _modules.relative_error(made.outputs["both"][0], net.reference),
        "waited_s": made.waited_s,
        "quiet_%": made.quiet_percent,
    }


def main() -> None:
    """Measure all networks."""
    args = _common.parse("models", __doc__, names=NETWORKS, own=_own_arguments)
    own = args.own
    if own.child:
        turns = 3 if args.quick else 15
        _apart.answer(lambda: measure(own.child, _common.TestBed(), turns, own.profile, own.cpu, own.verify))
        return
    names = ["squeezenet", "shufflenet"] if args.quick else args.names
    rows, names = _apart.earlier_rows(args, "network", names, keeps=not args.quick)
    bed = _common.TestBed()
    options = ["--profile", own.profile, "--cpu", own.cpu, "--verify", str(own.verify)]
    options += ["--quick"] if args.quick else []
    for name in _common.progress(names):
        rows.append({"network": name, **_apart.measure_apart("models", [*options, "--child", name], _LIMIT_S)})
        print(_common.table(rows[-1:]), flush=True)
        _common.write(args, bed.setting(), rows, _notes(args, rows))  # an interrupted run keeps its results
    # a row that failed, or of an earlier release, has fewer columns
    _common.finish(args, bed, rows, _notes(args, rows), columns=list(max(rows, key=lambda row: len(row))))


def _notes(args: _common.Arguments, rows: list[dict]) -> list[str]:
    done = _apart.succeeded(rows)
    return [
        "median wall-clock ms, inputs and results in the CPU's memory, in steady state: in each turn a module runs "
        "three times timed, each after an untimed run if they take less than 0.1 s; speed_up over the better single "
        "device: the median over turns, and of the shortest runs (best_runs)",
        "bound: the better device's time over 1 / (1 / cpu + 1 / gpu); of_bound: speed_up over it; promised_off_%: the "
        "plan's expected time against both_ms",
        *_compare.summarise(done, OF_BOUND, PROMISES),
        *_verified.summarise(done, OF_BOUND, PROMISES),
        f"the CPU's target is '{args.own.cpu}'",
        f"planned with the profile '{args.own.profile}'; expected_off_%: error of the plan's expected time against the "
        "shortest run; alone_off_%: the same for the better single device",
        "cpu_2_threads: TVM's own CPU build on two threads, which use both cores, as co-execution does on a pocl "
        "test-bed, in the same turns; over_two_threads: speed of both_ms, relative to it; "
        + _against_two_threads(done),
        _compare.QUIET,
        *_apart.list_failures(rows, "network"),
    ]


def _against_two_threads(done: list[dict]) -> str:
    found = {r["network"]: r["over_two_threads"] for r in done if r.get("over_two_threads")}
    texts = [f"{name} {found[name]:.3f}" if name in found else name for name in AGAINST_TWO_THREADS]
    return f"{', '.join(texts)} (goal of each: >= {OVER_TWO_THREADS:g})"


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    _apart.add_arguments(parser)
    text = "costs for planning: 'measure' (default), a profile's name or file"
    parser.add_argument("--profile", default="measure", metavar="PROFILE", help=text)
    text = "its target; plain llvm (default) is about as fast as pocl, 'llvm -mcpu=skylake-avx512' is much faster"
    parser.add_argument("--cpu", default=_modules.CPU, metavar="TARGET", help=text)
    _verified.add_argument(parser)


if __name__ == "__main__":
    main()
