"""Planning: distance from the best plan, gain over CoDL's greedy search, and planning time, for all strategies.

Everything here is predicted, by one profile for all strategies. ``python -m benchmarks.models`` measures.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from benchmarks import _codl_networks, _common
from tests.planner.random_graphs import RandomCosts, random_graph
from tests.planner.recurrent_graphs import lstm_graph
from tvm_coexec import planner
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.cost_models import shipped
from tvm_coexec.cost_models.profile import Profile

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "codl"
PROFILES = shipped.FOLDER
NETWORKS = (*("resnet50", "mobilenet", "squeezenet", "inception_v1", "densenet121", "shufflenet", "bert_base"),)
LIMIT_MS = {"resnet50": 50, "densenet121": 150, "bert_base": 100}
LARGEST_RANDOM, NEAR = 7, 0.01
LONG, BLOCK = (125, 250, 500, 1000, 2000), 10
# Unrolled LSTMs of 100 to 400 kernels: steps, layers, directions, batch.
LSTMS = ((25, 1, 1, 1), (12, 1, 2, 1), (50, 2, 1, 1), (24, 2, 1, 4), (25, 1, 2, 1), (22, 2, 2, 1), (44, 1, 2, 1))
LSTM_LIMIT_MS = 1000
Tables = dict[str, list[dict]]


def main() -> None:
    """Print all tables."""
    args = _common.parse("planner", __doc__, own=_own_arguments)
    bed = _common.TestBed()
    profiles = {Path(p).stem: Profile.load(p) for p in args.own.profiles}
    goals: list[dict] = []
    tables: Tables = {}
    _oracle(args, goals)
    if args.own.codl:
        _codl(Path(args.own.codl), profiles, goals, tables)
    graphs = _graphs(("squeezenet", "shufflenet") if args.quick else NETWORKS)
    for name, profile in profiles.items():
        _strategies(name, profile, graphs, tables)
    name, profile = next(iter(profiles.items()))
    _times(args, profile, graphs, goals, tables)
    notes = [f"times to plan by the profile '{name}', the shortest of five, costs included"]
    if not args.own.codl:
        notes.append("CoDL's tables are missing: give --codl FOLDER")
    _common.finish(args, bed, goals, notes, details=tables)


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    shipped = [p for n in ("test_bed", "generic") if (p := PROFILES / f"{n}.json").exists()]
    parser.add_argument("--codl", metavar="FOLDER", default=DATA if DATA.is_dir() else None, help="CoDL's tables")
    parser.add_argument("--profiles", nargs="+", metavar="FILE", default=shipped, help="profiles to plan with")
    parser.add_argument("--plot", metavar="FILE", help="draw the time to plan over the number of kernels (PNG)")


def _goal(goals: list[dict], measure: str, value: float, goal: float, at_most: bool) -> None:
    met = value <= goal if at_most else value >= goal
    goals.append({"measure": measure, "value": value, "goal": f"{'<=' if at_most else '>='} {goal:g}", "met": met})


def _oracle(args: _common.Arguments, goals: list[dict]) -> None:
    """Compare with exhaustive search on random graphs."""
    near = worse = 0
    count, gaps = (60 if args.quick else 500), []
    for seed in _common.progress(range(count), "random graphs"):
        graph, costs = random_graph(seed, 2 + seed % (LARGEST_RANDOM - 1)), RandomCosts(seed, 1.0 + 0.2 * (seed % 2))
        cached = planner.CachedCosts(graph, costs)
        best, ours, single = (
            planner.makespan_s(graph, cached, planner.make_plan(graph, costs, strategy=s, min_gain=0.0).segments)
            for s in ("exhaustive", "coexec", "single")
        )
        gaps.append(ours / best - 1)
        near += ours <= best * (1 + NEAR)
        worse += ours > single * (1 + 1e-9)
    _goal(goals, f"random graphs ({count}): % within 1 % of the best plan", 100 * near / count, 99, False)
    _goal(goals, "random graphs: largest gap to the best plan, %", 100 * max(gaps), 100, True)
    _goal(goals, "random graphs: plans worse than the best single device", worse, 0, True)


def _codl(folder: Path, profiles: dict[str, Profile], goals: list[dict], tables: Tables) -> None:
    """Compare CoDL's search with ours on its own networks, with the same profile."""
    published = _codl_networks.published_sync_points(folder)
    for name, profile in profiles.items():
        rows = []
        for network, graph in _codl_networks.networks(folder).items():
            found = {c.strategy: c for c in planner.compare(graph, profile, strategies=("coexec", "codl", "single"))}
            ours, codl = found["coexec"], found["codl"]
            rows.append(
                {
                    "network": network,
                    "kernels": len(graph.kernels),
                    "single_ms": found["single"].seconds * 1e3,
                    "codl_ms": codl.seconds * 1e3,
                    "coexec_ms": ours.seconds * 1e3,
                    "below_codl_%": 100 * (1 - ours.seconds / codl.seconds),
                    "sync_points": ours.sync_points,
                    "codl_sync_points": codl.sync_points,
                    "published_sync_points": published[network],
                    "plan_ms": ours.planning_s * 1e3,
                }
            )
        tables[f"CoDL's networks, profile '{name}'"] = rows
        below = [r["below_codl_%"] for r in rows]
        _goal(
            goals,
            f"{name}: predicted latency below codl's on CoDL's networks, mean %",
            statistics.mean(below),
            8,
            False,
        )
        _goal(goals, f"{name}: the same, least of the five, %", min(below), 0, False)
        more = max(r["sync_points"] - r["published_sync_points"] for r in rows)
        _goal(goals, f"{name}: sync points beyond CoDL's published plans, most of the five", more, 0, True)


def _graphs(names: tuple[str, ...]) -> dict[str, KernelGraph]:
    from tvm_coexec.measuring.read_model import load_model

    return {name: load_model(name).graph() for name in _common.progress(names, "networks")}


def _strategies(name: str, profile: Profile, graphs: dict[str, KernelGraph], tables: Tables) -> None:
    """Run all strategies on all networks."""
    rows = []
    for network, graph in graphs.items():
        for c in planner.compare(graph, profile):
            if c.plan is None:
                continue
            rows.append(
                {
                    "network": network,
                    "strategy": c.strategy,
                    "predicted_ms": c.seconds * 1e3,
                    "sync_points": c.sync_points,
                    "chains": c.chains,
                    "moved_MB": c.bytes_moved / 1e6,
                    "plan_ms": c.planning_s * 1e3,
                }
            )
    tables[f"strategies, profile '{name}'"] = rows


def _times(
    args: _common.Arguments, profile: Profile, graphs: dict[str, KernelGraph], goals: list[dict], tables: Tables
) -> None:
    """Measure planning time and its growth with the number of kernels."""
    for name, limit in LIMIT_MS.items():
        if name in graphs:
            _goal(goals, f"time to plan {name}, ms", _plan_s(graphs[name], profile) * 1e3, limit, True)
    rows = []
    for n in LONG[:2] if args.quick else LONG:
        seconds = _plan_s(random_graph(n, n, BLOCK), RandomCosts(n), 1 if n > 500 else 3)
        rows.append({"kernels": n, "plan_ms": seconds * 1e3, "ms_a_kernel": seconds * 1e3 / n})
    tables[f"random graphs of many kernels, in blocks of {BLOCK}"] = rows
    growth = rows[-1]["ms_a_kernel"] / rows[0]["ms_a_kernel"]
    _goal(goals, f"time per kernel, {rows[-1]['kernels']} kernels against {rows[0]['kernels']}", growth, 1.5, True)
    _lstms(args, profile, goals, tables)
    if args.own.plot:
        _plot(rows, args.own.plot)


def _lstms(args: _common.Arguments, profile: Profile, goals: list[dict], tables: Tables) -> None:
    """How long it takes to plan unrolled recurrent networks: one block of hundreds of kernels."""
    rows = []
    for steps, layers, directions, batch in _common.progress(LSTMS[:3] if args.quick else LSTMS, "LSTMs"):
        graph = lstm_graph(steps, layers, directions == 2, hidden=256, inputs=128, batch=batch)
        ms = _plan_s(graph, profile, 3) * 1e3
        rows.append(
            {"steps": steps, "layers": layers, "directions": directions, "batch": batch}
            | {"kernels": len(graph.kernels), "plan_ms": ms}
        )
    tables["unrolled LSTMs"] = rows
    most = max(r["plan_ms"] for r in rows)
    _goal(goals, "time to plan unrolled LSTMs of 100 to 400 kernels, most, ms", most, LSTM_LIMIT_MS, True)


def _plan_s(graph: KernelGraph, costs: object, times: int = 5) -> float:
    def once() -> float:
        start = time.perf_counter()
        planner.make_plan(graph, costs)
        return time.perf_counter() - start

    return min(once() for _ in range(times))


def _plot(rows: list[dict], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
    axes.plot([r["kernels"] for r in rows], [r["plan_ms"] for r in rows], marker="o")
    axes.set(xlabel="kernels", ylabel="time to plan, ms", title="random series-parallel graphs", xlim=0, ylim=0)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
