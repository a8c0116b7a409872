"""``coexec plan``: plan a model, compare strategies, check and draw plans."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically
from tvm_coexec.core.options import add_flags, checked, flag, options_of
from tvm_coexec.core.plan import Plan
from tvm_coexec.planner import CachedCosts, Options, compare, make_plan, refuse_idle, with_times
from tvm_coexec.planner.compare import Compared, from_simulation
from tvm_coexec.report.report import Report

from . import checks
from .model_argument import add_model
from .tables import print_table

_CPU, _GPU = "llvm", "opencl"
# The end of a saved kernel graph's name.
GRAPH_SUFFIX = ".json"

if TYPE_CHECKING:
    from tvm.target import Target

    from tvm_coexec.core.kernel_graph import KernelGraph
    from tvm_coexec.cost_models import Costs
    from tvm_coexec.measuring.choose_costs import Chosen
    from tvm_coexec.measuring.pieces import KernelBuilder


class _Made(NamedTuple):
    """A plan with its graph and costs, and a description of the costs' source."""

    profile: str
    costs: Costs
    plan: Plan
    graph: KernelGraph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(
        parser, help="an ONNX file, the name of a network of the zoo, or a kernel graph that --save-graph wrote (.json)"
    )
    parser.add_argument("--profile", metavar="FILE", help="costs: a file, a shipped profile's name, or 'measure'")
    parser.add_argument("--cpu", metavar="TARGET", help=f"CPU target (default: {_CPU})")
    parser.add_argument("--gpu", metavar="TARGET", help=f"GPU target (default: {_GPU})")
    add = parser.add_argument_group("how to plan").add_argument
    add_flags(add, Options)
    add(
        "--check",
        metavar="PLAN",
        help="check this plan (written by coexec or edited by hand) against MODEL instead of planning",
    )
    add = parser.add_argument_group("what to show").add_argument
    add("-o", "--output", metavar="FILE", help="write the plan (JSON)")
    add("--save-graph", metavar="FILE", help="write the model's kernel graph (JSON), to plan it again without TVM")
    add("--compare", action="store_true", help="print a table of all strategies")
    add("--png", metavar="FILE", help="draw the network and both timelines as an image")
    add("--html", metavar="FILE", help="draw them as an HTML page with tooltips")
    add("--json", metavar="FILE", help="write the printed numbers to this file")


def run(args: argparse.Namespace) -> int:
    """Make or check a plan, and print it."""
    options = _options(args)
    given = Plan.load(args.check) if args.check else None
    make = _make_from_graph if args.model.endswith(GRAPH_SUFFIX) else _make_from_model
    made = make(args, options, given)
    plan, graph = made.plan, made.graph
    costs = CachedCosts(graph, made.costs)
    if given is not None:
        plan = with_times(graph, costs, given)
    report = Report(graph, plan, costs=costs)
    print(f"profile: {made.profile}")
    if given is not None:
        print(f"{args.check}: OK, the plan fits {args.model}")
    print(report.to_text(), end="")
    compared = _compare(report, options, args) if args.compare else []
    if args.output:
        plan.save(args.output)
        print(f"{args.output}: the plan")
    if args.save_graph:
        graph.save(args.save_graph)
        print(f"{args.save_graph}: the kernel graph")
    _draw(report, args)
    if args.json:
        write_atomically(args.json, json.dumps(_numbers(report, made.profile, compared, args), indent=1) + "\n")
    return 0


def _options(args: argparse.Namespace) -> Options:
    """Check all options that can be checked before the model is read, and return those of planning."""
    given = {name: getattr(args, name) for name in options_of(Options) if getattr(args, name) is not None}
    if args.check and (idle := [n for n in given if n == "strategy" or not args.compare]):
        names = ", ".join(map(flag, idle))
        raise CoExecError(f"--check does not change the plan, so {names} would have no effect: leave one out")
    if args.compare and "ratio" in given:
        raise CoExecError("--compare leaves the ratio to each strategy: leave out --ratio, or --compare")
    options = checked(Options, given, flag)
    if not args.compare:
        refuse_idle(options, flag)
    checks.outputs(args, ("output", "save_graph", "png", "html", "json"))
    if args.png:
        from .plots import require_matplotlib

        require_matplotlib("--png")
    return options


def _make_from_graph(args: argparse.Namespace, options: Options, given: Plan | None) -> _Made:
    """Make a plan for a saved kernel graph, without compiling or measuring; TVM is not needed."""
    from tvm_coexec.core.kernel_graph import KernelGraph
    from tvm_coexec.cost_models import load_costs
    from tvm_coexec.cost_models import shipped as profiles

    for name in ("cpu", "gpu", "input_shapes"):
        if getattr(args, name) is not None:
            raise CoExecError(
                f"{args.model} is a saved kernel graph, so {flag(name)} would have no effect: leave it out"
            )
    if args.profile == "measure":
        raise CoExecError(f"--profile measure needs the model itself: {args.model} is its kernel graph; give a profile")
    graph = KernelGraph.load(args.model)
    if not graph.kernels:
        raise CoExecError(f"{args.model} has no kernels: {graph.reason or 'it has no operators'}")
    origin, costs = args.profile, load_costs(profiles.find(args.profile or profiles.GENERIC))
    if given is not None:
        _check(given, graph, args)
    costs = options.costs_in_place(costs)
    plan = given or make_plan(graph, costs, options)
    return _Made(origin or "generic, because a saved graph names no devices; give --profile", costs, plan, graph)


def _make_from_model(args: argparse.Namespace, options: Options, given: Plan | None) -> _Made:
    """Make a plan for a model, such that TVM can compile the GPU's work."""
    from tvm_coexec.measuring.read_model import load_model
    from tvm_coexec.targets import targets

    cpu, gpu = args.cpu or _CPU, args.gpu or _GPU
    both = targets(cpu, gpu)
    builder = load_model(args.model, args.input_shapes).builder(cpu, gpu)
    if given is not None:
        _check(given, builder.graph, args)
    chosen = _choose_costs(args, builder)
    return _Made(chosen.origin, chosen.costs, *_plan(args, builder, chosen.costs, options, given, both))


def _plan(
    args: argparse.Namespace,
    builder: KernelBuilder,
    costs: Costs,
    options: Options,
    given: Plan | None,
    targets: Sequence[Target],
) -> tuple[Plan, KernelGraph]:
    """Make a plan whose GPU work TVM can compile; return it with the graph that it was made for."""
    from tvm_coexec.measuring.restrict import restrict_to_measured
    from tvm_coexec.partition import divide_compilably
    from tvm_coexec.pass_context import deployment_context

    def make(graph: KernelGraph) -> Plan:
        if given is None:
            return make_plan(graph, costs, options)
        _check(given, graph, args)
        return given

    with deployment_context(instruments=False):
        extracted = restrict_to_measured(builder.prepared, builder.extracted, costs, targets)
        plan, extracted, _ = divide_compilably(builder.prepared, extracted, make, targets)
    return plan, extracted.graph


def _check(plan: Plan, graph: KernelGraph, args: argparse.Namespace) -> None:
    try:
        plan.check(graph)
    except CoExecError as err:
        raise CoExecError(f"{args.check} does not fit {args.model}: {err}") from None


def _choose_costs(args: argparse.Namespace, builder: KernelBuilder) -> Chosen:
    """Choose the costs by the same rules as the pass."""
    from tvm_coexec.measuring.choose_costs import choose_costs
    from tvm_coexec.pass_context import deployment_context

    with deployment_context(instruments=False):
        return choose_costs(
            builder.prepared, builder.cpu, builder.gpu, args.profile, args.axis or "auto", args.runtime, args.memory
        )


def _compare(report: Report, options: Options, args: argparse.Namespace) -> list[Compared]:
    """Print the table of strategies and the reason why a strategy has no plan; a checked plan is the first row."""
    graph, costs = report.graph, report.costs
    assert costs is not None
    compared = compare(graph, costs, options)
    if args.check:
        assert report.plan is not None
        compared.insert(0, _compared(report, os.path.basename(args.check)))
    best = min(report.alone_s().values())
    rows = [_row(c, best) for c in compared if c.plan is not None]
    if not any("energy mJ" in r and r["energy mJ"] is not None for r in rows):
        rows = [{k: v for k, v in r.items() if k != "energy mJ"} for r in rows]
    print()
    whose = "TVM's own" if costs.runtime == "tvm" else "this package's"
    print_table(rows, f"strategies, all with the same costs and the same simulator, on {whose} OpenCL runtime")
    for c in compared:
        if c.plan is None:
            print(f"{c.strategy}: {c.reason}")
    return compared


def _compared(report: Report, name: str) -> Compared:
    sim, plan = report.simulated, report.plan
    assert sim is not None and plan is not None
    return from_simulation(name, plan, sim)


def _row(c: Compared, alone_s: float) -> dict[str, object]:
    return {
        "strategy": c.strategy,
        "ms": c.seconds * 1e3,
        "x best single": f"{alone_s / c.seconds:.2f}" if c.seconds else None,
        "energy mJ": None if c.joules is None else c.joules * 1e3,
        "sync points": c.sync_points,
        "syncs ms": c.meetings_s * 1e3,
        "MB moved": c.bytes_moved / 1e6,
        "chains": c.chains,
        "planned in ms": c.planning_s * 1e3,
    }


def _draw(report: Report, args: argparse.Namespace) -> None:
    if not (args.png or args.html):
        return
    from tvm_coexec.drawing import draw_plan, write_html, write_png

    assert report.plan is not None and report.costs is not None
    name = os.path.splitext(os.path.basename(args.model))[0]
    drawing = draw_plan(report.graph, report.plan, report.costs, name)
    if args.png:
        write_png(drawing, args.png)
        print(f"{args.png}: the drawing")
    if args.html:
        write_html(drawing, args.html, report.to_text())
        print(f"{args.html}: the drawing")


def _numbers(report: Report, profile: str, compared: list[Compared], args: argparse.Namespace) -> dict[str, object]:
    plan, sim = report.plan, report.simulated
    assert plan is not None and sim is not None
    whole = [{"kernel": k, "name": name, "reason": reason} for k, name, reason in report.whole()]
    strategies = [
        {"strategy": c.strategy, "expected_s": c.seconds, "energy_j": c.joules, "sync_points": c.sync_points,
         "bytes_moved": c.bytes_moved, "chains": c.chains, "planning_s": c.planning_s}
        if c.plan is not None else {"strategy": c.strategy, "reason": c.reason}
        for c in compared
    ]  # fmt: skip
    return {
        "model": args.model,
        "profile": profile,
        "costs": plan.costs,
        "runtime": report.costs.runtime if report.costs else None,
        "memory": plan.memory,
        "strategy": plan.strategy,
        "expected_s": report.expected_s,
        "alone_s": report.alone_s(),
        "energy_j": report.energy_j,
        "sync_points": report.sync_points,
        "bytes_moved": sim.totals.bytes_moved,
        "segments": report.segments(),
        "largest": report.largest(),
        "whole": whole,
        "strategies": strategies,
    }
