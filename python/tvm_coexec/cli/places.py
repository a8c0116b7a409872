"""``coexec places``: divide a network between this machine and a remote one, and run it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.core.progress import progress
from tvm_coexec.core.random_inputs import random_tensor

from . import checks
from .model_argument import add_model
from .tables import print_table

if TYPE_CHECKING:
    from tvm.rpc import RPCSession

    from tvm_coexec.core.kernel_graph import KernelGraph
    from tvm_coexec.two_machines import Partition, RunResult

_BACK = {"cpu": "gpu", "gpu": "cpu"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    add = parser.add_argument_group("where to cut").add_argument
    add(
        "--profile",
        metavar="FILE",
        help="costs: a file or a shipped profile's name; its cpu stands for this machine, its gpu for the remote one",
    )
    add(
        "--bandwidth",
        type=checks.positive,
        metavar="BYTES",
        help="bandwidth of the link, bytes per second; required with --profile",
    )
    add("--plan", metavar="FILE", help="replay a plan of the strategy neurosurgeon instead")
    add("--cut", type=checks.at_least_one, metavar="N", help="run the first N kernels on the first machine instead")
    add(
        "--first",
        choices=("here", "there"),
        default="here",
        help="the first machine, with --cut (default: %(default)s)",
    )
    add = parser.add_argument_group("the machines").add_argument
    add("--here", default="llvm", metavar="TARGET", help="target of this machine (default: %(default)s)")
    add("--there", default="llvm", metavar="TARGET", help="target of the remote machine (default: %(default)s)")
    add(
        "--host-there",
        default="llvm",
        metavar="TARGET",
        help="target of the remote CPU if --there is a GPU (default: %(default)s)",
    )
    add("--remote", metavar="HOST:PORT", help="the remote machine's RPC server")
    add("--tracker", metavar="HOST:PORT", help="or its tracker (default: TVM_TRACKER_HOST and TVM_TRACKER_PORT)")
    add("--key", default="", metavar="KEY", help="the remote machine's key at the tracker")
    add = parser.add_argument_group("what to run").add_argument
    add("--inputs", metavar="FILE", help="inputs by name, .npz (default: random ones)")
    add(
        "--repeats",
        type=checks.at_least_one,
        default=3,
        metavar="N",
        help="number of runs, of which the shortest counts (default: 3)",
    )
    add("-o", "--outputs", metavar="FILE", help="write the outputs (.npz)")
    add("--json", metavar="FILE", help="write the printed numbers to this file")


def run(args: argparse.Namespace) -> int:
    """Divide, build and run the network, and print the times."""
    if sum(v is not None for v in (args.profile, args.plan, args.cut)) != 1:
        raise CoExecError("no cut is given: give one of --profile, --plan and --cut")
    if (args.profile is None) != (args.bandwidth is None):
        raise CoExecError(
            "--profile needs --bandwidth (bytes per second), and no other option takes it: give both or neither"
        )
    checks.outputs(args, ("outputs", "json"))
    from tvm_coexec import remote, two_machines
    from tvm_coexec.measuring.read_model import load_model

    model = load_model(args.model, args.input_shapes)
    prepared, extracted = two_machines.prepare(model.mod, model.params)
    plan, expected_s = _plan(extracted.graph, args)
    partition = two_machines.split_prepared(prepared, extracted, plan)
    opened: AbstractContextManager[RPCSession | None] = nullcontext()
    if any(p.machine == two_machines.THERE for p in partition.parts):
        gpu_there = not args.there.startswith("llvm")
        opened = remote.closing(remote.connect(args.remote, args.tracker, args.key, upload=gpu_there))
    with (
        remote.explained("the network can't be run"),
        opened as there,
        two_machines.TwoMachineRunner(partition, args.here, args.there, there, args.host_there) as both,
    ):
        inputs = _inputs(args.inputs, prepared["main"].params)
        both.run(inputs)  # drivers compile GPU kernels when they are first launched
        best = min((both.run(inputs) for _ in progress(range(args.repeats), "running", "run")), key=lambda r: r.total_s)
    numbers = _numbers(partition, best, expected_s, args)
    _print(numbers, args.model)
    if args.outputs:
        with open(args.outputs, "wb") as f:
            np.savez(f, **{f"output_{i}": value for i, value in enumerate(best.outputs)})
        print(f"{args.outputs}: the outputs")
    if args.json:
        write_atomically(args.json, json.dumps(numbers, indent=1) + "\n")
    return 0


def _plan(graph: KernelGraph, args: argparse.Namespace) -> tuple[Plan, float | None]:
    """Return the plan and its expected seconds, if known."""
    if args.plan:
        return Plan.load(args.plan), None
    if args.cut:
        n, first = len(graph.kernels), {"here": "cpu", "there": "gpu"}[args.first]
        if args.cut > n:
            raise CoExecError(f"--cut {args.cut}: the model has only {n} kernels; give a smaller number")
        halves = ((first, range(args.cut)), (_BACK[first], range(args.cut, n)))
        segments = tuple(Segment(device, tuple(kernels)) for device, kernels in halves if kernels)
        return Plan(graph.fingerprint(), segments, "neurosurgeon"), None
    from tvm_coexec.cost_models import load_costs
    from tvm_coexec.cost_models import shipped as profiles
    from tvm_coexec.planner import CachedCosts, check_options, make_plan, makespan_s

    costs = load_costs(profiles.find(args.profile))
    options = check_options(strategy="neurosurgeon", bandwidth=args.bandwidth)
    plan = make_plan(graph, costs, options)
    return plan, makespan_s(graph, CachedCosts(graph, costs, options.bandwidth), plan.segments)


def _inputs(path: str | None, params: Sequence[Any]) -> dict[str, np.ndarray]:
    types = {p.name_hint: p.checked_type for p in params}
    if path is None:
        rng = np.random.default_rng(0)
        return {name: random_tensor([int(d) for d in t.shape], t.dtype, rng) for name, t in types.items()}
    try:
        with np.load(path) as given:
            found = {name: given[name] for name in given.files}
    except (OSError, ValueError, AttributeError) as err:
        raise CoExecError(f"--inputs: can't read {path} ({err}); write it with numpy.savez") from None
    for name, t in types.items():
        shape = tuple(int(d) for d in t.shape)
        if name in found and (found[name].shape, str(found[name].dtype)) != (shape, t.dtype):
            raise CoExecError(
                f"--inputs: '{name}' is {found[name].dtype} {found[name].shape}, the model takes {t.dtype} {shape}"
            )
    return found


def _numbers(partition: Partition, ran: RunResult, expected_s: float | None, args: argparse.Namespace) -> dict:
    parts = [
        {"place": p.machine, "target": getattr(args, p.machine), "kernels": len(p.kernels), "seconds": s}
        for p, s in zip(partition.parts, ran.part_s, strict=True)
    ]
    link = {"sent_bytes": ran.sent_bytes, "received_bytes": ran.received_bytes, "seconds": ran.link_s}
    return {"parts": parts, "link": link, "seconds": ran.total_s, "expected_s": expected_s}


def _print(numbers: Mapping, model: str) -> None:
    rows = [
        {"place": p["place"], "target": p["target"], "kernels": p["kernels"], "ms": p["seconds"] * 1e3}
        for p in numbers["parts"]
    ]
    print_table(rows, model)
    link = numbers["link"]
    print(f"link: {link['sent_bytes']} bytes sent, {link['received_bytes']} received, {link['seconds'] * 1e3:.3f} ms")
    expected = numbers["expected_s"]
    suffix = f", {expected * 1e3:.3f} ms expected" if expected is not None else ""
    print(f"together: {numbers['seconds'] * 1e3:.3f} ms{suffix}")
