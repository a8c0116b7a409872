"""Networks of random structure, to find out if a co-executed module is ever slower than the better single device.

Each network is built for the CPU, for the GPU, and co-executed with the default decision, which may leave it on one
device, and timed in turns. More networks are only planned, for the gains that plans promise.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import statistics

from benchmarks import _apart, _common, _compare, _modules

SLOWER = 0.02  # of the better device's time, which counts as slower
MEASURED, PLANNED = 40, 200
PROMISES = (7.0, 15.0)
_BATCH = 20  # networks that a process plans
_PATIENCE_S = 15.0
_DETAILS = "planned only"


def plan(seed: int, profile: str) -> dict:
    """Plan a network: chains, device, and the gain that the plan promises over the better device alone."""
    from benchmarks._random_networks import random_network

    return {"seed": seed, **_planned(random_network(seed), profile)}


def _planned(net: _modules.Network, profile: str) -> dict:
    import tvm_coexec
    from tvm_coexec.pass_context import deployment_context

    partition = tvm_coexec.CoExecPartition(_modules.CPU, _modules.GPU, params=net.params, profile=profile)
    with deployment_context():
        made = tvm_coexec.plan_of(partition(net.mod))
    if made is None:
        return {"promised_gain": 1.0, "chains": 0, "device": "cpu", "kernels": 0}
    alone_s = min(partition.report.alone_s().values())
    kernels = sum(len(s.kernels) for s in made.segments)
    row = {"promised_gain": alone_s / made.expected_s, "chains": len(made.chains), "device": made.device}
    return row | {"kernels": kernels}


def measure(seed: int, bed: _common.TestBed, turns: int, profile: str) -> dict:
    """Build and time a network; one that seems slower is timed again with four times as many turns, which count."""
    from benchmarks._random_networks import random_network

    net = random_network(seed)
    name, _, blocks = net.name.partition(" ")
    alone = _compare.build_alone(net, _modules.CPU, needs_gpu=False)
    both, made_plan = _modules.build_coexecuted(net, "both", profile=profile)
    made = _compare.compare(name, alone, both, bed, turns, patience_s=_PATIENCE_S)
    first = made.row["speed_up"]
    again = first < 1 - SLOWER
    if again:
        made = _compare.compare(name, alone, both, bed, 4 * turns, patience_s=2 * _PATIENCE_S)
    return made.row | {
        **_compare.bounds(made.row),
        **_planned(net, profile),
        "promised_off_%": _compare.promised_off(made_plan.expected_s if made_plan else 0.0, made.row),
        "first_speed_up": first,
        "measured_again": again,
        "error_to_cpu": _modules.largest_error(made.outputs["both"], made.outputs["cpu"]),
        "seed": seed,
        "blocks": blocks.strip("()"),
        "gpu_failure": alone.gpu_failure,
        "waited_s": made.waited_s,
        "quiet_%": made.quiet_percent,
    }


def main() -> None:
    """Measure some networks, and plan more."""
    args = _common.parse("never_slower", __doc__, own=_own_arguments)
    own, turns = args.own, 3 if args.quick else args.own.turns
    if own.child:
        kind, *seeds = own.child.split(",")
        if kind == "plan":
            _apart.answer(lambda: {"rows": [plan(int(s), own.profile) for s in seeds]})
        else:
            _apart.answer(lambda: measure(int(seeds[0]), _common.TestBed(), turns, own.profile))
        return
    bed = _common.TestBed()
    measured, planned = (2, 6) if args.quick else (own.networks, own.planned)
    seeds = {_name(s): s for s in range(own.seed, own.seed + measured)}
    rows, names = _apart.earlier_rows(args, "network", list(seeds), keeps=False)
    plans = _earlier_plans(args)
    options = ["--profile", own.profile, "--turns", str(turns)]
    for name in _common.progress(names, "timed"):
        child = [*options, "--child", f"time,{seeds[name]}"]
        rows.append({"network": name} | _apart.measure_apart("never_slower", child, 600.0))
        print(_common.table(rows[-1:], _columns(rows[-1:])), flush=True)
        _common.write(args, bed.setting(), rows, _notes(args, rows, plans), {_DETAILS: plans})
    known = {r["seed"] for r in [*_apart.succeeded(rows), *_apart.succeeded(plans)]}
    wanted = [s for s in range(own.seed, own.seed + planned) if s not in known]
    for batch in _common.progress([wanted[i : i + _BATCH] for i in range(0, len(wanted), _BATCH)], "planned"):
        plans = [p for p in plans if p["seed"] not in batch] + plan_apart(batch, options)
        _common.write(args, bed.setting(), rows, _notes(args, rows, plans), {_DETAILS: plans})
    rows.sort(key=lambda r: (_apart.has_failed(r), r.get("speed_up", 0.0)))  # the worst first
    _common.write(args, bed.setting(), rows, _notes(args, rows, plans), {_DETAILS: plans})
    # without the plans' table, and so without the file, which is complete
    _common.finish(dataclasses.replace(args, json=None), bed, rows, _notes(args, rows, plans), _columns(rows))


def plan_apart(seeds: list[int], options: list[str]) -> list[dict]:
    """Plan networks in a process; if it fails, each of them in one of its own."""

    def run(chosen: list[int]) -> dict:
        return _apart.measure_apart("never_slower", [*options, "--child", ",".join(["plan", *map(str, chosen)])], 900.0)

    made = run(seeds)
    if not _apart.has_failed(made):
        return made["rows"]
    if len(seeds) == 1:
        return [{"seed": seeds[0], "network": _name(seeds[0]), **made}]
    return [row for seed in seeds for row in plan_apart([seed], options)]


def _name(seed: int) -> str:
    return f"random_{seed:03d}"


def _earlier_plans(args: _common.Arguments) -> list[dict]:
    details = _common.read_earlier(args)[1] if args.own.goes_on else {}
    return _apart.succeeded(details.get(_DETAILS, []))


def _columns(rows: list[dict]) -> list[str] | None:
    if not rows:
        return None
    hidden = (
        "seed",
        "blocks",
        "gpu_failure",
        "waited_s",
        "best_runs",
        "first_speed_up",
        "promised_off_%",
        _apart.FAILED,
    )
    return [key for key in rows[0] if key not in hidden]


def count_slower(rows: list[dict]) -> list[dict]:
    """Rows whose co-executed module is slower than the better device by more than `SLOWER`, the worst first."""
    return sorted((r for r in rows if r["speed_up"] < 1 - SLOWER), key=lambda r: r["speed_up"])


def describe_gains(plans: list[dict]) -> str:
    """How many plans have chains, and how the promised gains are distributed."""
    gains = sorted(p["promised_gain"] for p in plans if p["chains"])
    devices = collections.Counter(p["device"] for p in plans if not p["chains"])
    alone = ", ".join(f"{n} on {d}" for d, n in sorted(devices.items()))
    text = f"{len(plans)} planned: {len(gains)} have chains" + (f"; of the others {alone}" if alone else "")
    if len(gains) < 2:
        return text
    tenths = statistics.quantiles(gains, n=10, method="inclusive")
    steps = (("10 %", tenths[0]), ("half", tenths[4]), ("90 %", tenths[8]))
    below = ", ".join(f"{part} at most {value:.2f}" for part, value in steps)
    return f"{text}; promised gains {gains[0]:.2f} to {gains[-1]:.2f}: {below}"


def _notes(args: _common.Arguments, rows: list[dict], plans: list[dict]) -> list[str]:
    done = _apart.succeeded(rows)
    slower, split = count_slower(done), [r for r in done if r["chains"]]
    lines = [
        "median wall-clock ms in steady state and in turns, as in benchmarks/models; speed_up over the better single "
        "device: the median over turns; a network for which no chain pays is left on one device, and is timed as well",
        _compare.QUIET,
        f"a network that is slower by more than {SLOWER:.0%} is timed again with four times as many turns, and only "
        f"that counts: {sum(r['measured_again'] for r in done)} of {len(done)}",
        f"planned with the profile '{args.own.profile}', seeds from {args.own.seed}",
        describe_gains([*done, *_apart.succeeded(plans)]),
    ]
    if done:
        worst = min(done, key=lambda r: r["speed_up"])
        text = ", ".join(f"{r['network']} {r['speed_up']:.3f} (chains: {r['chains']})" for r in slower)
        lines.append(f"left on one device: {len(done) - len(split)} of {len(done)}")
        if split:
            gain = statistics.geometric_mean(r["speed_up"] for r in split)
            lines.append(f"geometric mean of speed_up where chains pay: {gain:.2f}")
        lines += _compare.summarise([{**r, "of_bound": None} for r in done], (0.0, 0.0), PROMISES)
        lines.append(
            f"slower than the better device by more than {SLOWER:.0%}: {len(slower)} of {len(done)} (goal: none)"
            f"{': ' if text else ''}{text}; the worst speed_up: {worst['speed_up']:.3f}, of {worst['network']}"
        )
    lines += [f"no GPU module: {r['network']}: {r['gpu_failure']}" for r in done if r["gpu_failure"]]
    return lines + _apart.list_failures(rows, "network") + _apart.list_failures(plans, "network")


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    _apart.add_arguments(parser)
    text = "costs for planning: a profile's name or file, or 'measure' (default: test_bed)"
    parser.add_argument("--profile", default="test_bed", metavar="PROFILE", help=text)
    parser.add_argument("--turns", type=int, default=15, metavar="N", help="turns of a network (default: 15)")
    text = f"networks to time (default: {MEASURED})"
    parser.add_argument("--networks", type=int, default=MEASURED, metavar="N", help=text)
    text = f"networks to plan, with those that are timed (default: {PLANNED})"
    parser.add_argument("--planned", type=int, default=PLANNED, metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the first network's seed (default: 0)")


if __name__ == "__main__":
    main()
