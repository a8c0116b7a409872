"""``coexec trace``: run a compiled model, record it, and show measured and expected timelines."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from . import checks, rpc

if TYPE_CHECKING:
    from tvm.rpc import RPCSession

    from tvm_coexec.tracing import Recording


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", help="a library that tvmc compile or export_library wrote (.so, .tar)"
    )
    add = parser.add_argument_group("how to run").add_argument
    add("--inputs", metavar="FILE", help="inputs, a file of numpy.savez (default: random ones)")
    add("--seed", type=checks.count, metavar="N", help="seed of random inputs (default: 0)")
    add(
        "--runs",
        type=checks.at_least_one,
        default=10,
        metavar="N",
        help="number of recorded runs (default: %(default)s)",
    )
    add(
        "--warm-up",
        type=checks.count,
        default=3,
        metavar="N",
        help="number of unrecorded runs before them (default: %(default)s)",
    )
    add(
        "--test-bed",
        action="store_true",
        help="on pocl and lavapipe: one core for each device, as in benchmarks and profiles",
    )
    rpc.add_arguments(parser)
    add = parser.add_argument_group("what to write").add_argument
    add("--trace", metavar="FILE", help="write the median run for ui.perfetto.dev or chrome://tracing (JSON)")
    add("--png", metavar="FILE", help="draw expected and measured timelines as an image")
    add("--html", metavar="FILE", help="draw them as an HTML page with tooltips")
    add("--json", metavar="FILE", help="write the printed numbers to this file")


def run(args: argparse.Namespace) -> int:
    """Load and run the model, and print the table."""
    from tvm_coexec.core.errors import CoExecError
    from tvm_coexec.remote import closing
    from tvm_coexec.tracing import table
    from tvm_coexec.tracing.outputs import Outputs

    if args.inputs and args.seed is not None:
        raise CoExecError("--seed is for random inputs and has no effect with --inputs: leave one out")
    outputs = Outputs(args.trace, args.png, args.html, args.json)
    checks.outputs(args, ("trace", "png", "html", "json"))
    if args.png:
        from .plots import require_matplotlib

        require_matplotlib("--png")
    server = rpc.server_of(args)
    if args.test_bed and server:
        raise CoExecError("--test-bed is for this machine's devices; leave it out with --rpc and --rpc-key")
    session = server.connect() if server else None
    with nullcontext() if session is None else closing(session):
        recording = _record(args, session)
    name = os.path.splitext(os.path.basename(args.model))[0]
    print(table(recording, name), end="")
    for line in outputs.write(recording, name):
        print(line)
    return 0


def _record(args: argparse.Namespace, session: RPCSession | None) -> Recording:
    from tvm_coexec.executor.create import find_devices, graph_json_of
    from tvm_coexec.tracing import record
    from tvm_coexec.tracing.load import open_model, open_model_there, random_inputs, read_inputs

    lib = open_model_there(args.model, session) if session else open_model(args.model)
    pin = _test_bed(graph_json_of(lib)) if args.test_bed else lambda: None
    inputs = read_inputs(args.inputs, lib, session) if args.inputs else random_inputs(lib, args.seed or 0, session)
    devices = find_devices(graph_json_of(lib), session) if session else None
    return record(lib, inputs, args.runs, args.warm_up, devices, ready=pin)


def _test_bed(graph_json: str) -> Callable[[], object]:
    """Prepare the machine before its GPU's driver is opened; return a function to call once both devices are in use."""
    from tvm_coexec import testbed
    from tvm_coexec.executor.create import gpu_kind

    bed = testbed.prepare(gpu_kind(graph_json))
    print(bed.description)
    return lambda: testbed.pin_main_thread(bed)
