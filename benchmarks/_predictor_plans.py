"""What plans take that are made by each predictor: built and measured on this machine, in turns."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import _common, _compare, _modules
from benchmarks._latency_goals import TEST_NETWORKS
from benchmarks._predictor_models import Predictor
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models import Profile, Samples, fit_profile, read_samples

_TURNS, _QUICK_TURNS = 9, 3


def run(args: _common.Arguments, bed: _common.TestBed, chosen: Sequence[Predictor]) -> None:
    """Fit a profile by each model of kernels, plan the networks with it, build, time in turns, and print the table."""
    notes = [
        "both_ms: median wall-clock ms of the plan by each model; plans that are the same are built and timed once; "
        "speed_up over the better single device; promised_off_%: what the plan promised against both_ms",
        f"models are fitted to {args.own.samples}, without the networks {', '.join(TEST_NETWORKS)}",
    ]
    profiles = fit_profiles(args, chosen, notes)
    rows = []
    for name in args.own.plans:
        rows += _measure(name, profiles, bed, _QUICK_TURNS if args.quick else _TURNS)
        print(_common.table(rows), flush=True)
        _common.write(args, bed.setting(), rows, notes)
    _common.finish(args, bed, rows, notes)


def fit_profiles(args: _common.Arguments, chosen: Sequence[Predictor], notes: list[str]) -> dict[str, Profile]:
    """Fit a profile by each model, or read those that an earlier run has left in ``--profiles``."""
    if not args.own.samples:
        raise SystemExit("--plans needs samples of this machine: give --samples FILE (of coexec profile)")
    samples = leave_out(read_samples(args.own.samples), TEST_NETWORKS)
    folder = Path(args.own.profiles) if args.own.profiles else None
    found: dict[str, Profile] = {}
    for p in _common.progress([p for p in chosen if p.model], "profiles"):
        path = folder / (re.sub(r"\W+", "_", p.name) + ".json") if folder else None
        if path is not None and path.exists():
            found[p.name] = Profile.load(path)
            continue
        try:
            found[p.name] = fit_profile(samples, p.model, p.name)
        except CoExecError as err:  # a library is missing
            notes.append(f"{p.name} is left out: {err}")
            continue
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            found[p.name].save(path)
    return found


def leave_out(samples: Samples, networks: tuple[str, ...]) -> Samples:
    """Return samples without some networks, and without the kernels that these share with others."""
    tested = {s.signature for s in samples.samples if s.network.startswith(networks)}
    kept = [s for s in samples.samples if s.signature not in tested]
    whole = [n for n in samples.networks if not n["network"].startswith(networks)]
    return replace(samples, samples=kept, networks=whole, _positions={s.key: i for i, s in enumerate(kept)})


def _measure(name: str, profiles: dict[str, Profile], bed: _common.TestBed, turns: int) -> list[dict]:
    net = _modules.Network.load(name)
    builds: dict[str, tuple[_modules.Runner, Any]] = {}  # by what the plan does
    of_model: dict[str, tuple[str, float]] = {}
    for model, profile in _common.progress(list(profiles.items()), f"plans of {name}"):
        import tvm_coexec

        plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(net.mod, net.params, profile=profile))
        key = repr([(s.device, s.axis, s.cut, s.kernels) for s in plan.segments])
        if key not in builds:
            builds[key] = _modules.build_coexecuted(net, f"plan{len(builds)}", profile=profile)
        of_model[model] = (key, plan.expected_s)
    alone = _compare.build_alone(net, _modules.CPU)
    runners = [*alone.runners, *(runner for runner, _ in builds.values())]
    outputs = {r.name: r.once()[1] for r in runners}
    from benchmarks import _quiet

    with _quiet.Quiet(120.0) as quiet:
        times = _modules.time_steady_state(runners, turns, bed, quiet)
    median = {n: statistics.median(s for turn in t for s in turn) for n, t in times.items()}
    better = min((r.name for r in alone.runners), key=median.__getitem__)
    rows = []
    for model, (key, expected_s) in of_model.items():
        runner, plan = builds[key]
        rows.append(
            {
                "network": name,
                "model": model,
                "both_ms": median[runner.name] * 1e3,
                "better_alone_ms": median[better] * 1e3,
                "speed_up": _compare.speed_up(times[better], times[runner.name]),
                "expected_ms": expected_s * 1e3,
                "promised_off_%": 100 * (expected_s / median[runner.name] - 1),
                "chains": len(plan.chains),
                "plan": runner.name,
                "error_to_cpu": _modules.largest_error(outputs[runner.name], outputs["cpu"]),
            }
        )
    return rows
