"""``coexec trace``: a compiled model is run and recorded: what both devices do when, beside what the plan expected."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from . import checks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("model", metavar="MODEL", help="what tvmc compile wrote, or export_library (.so, .tar)")
    add = parser.add_argument_group("how to run").add_argument
    add("--inputs", metavar="FILE", help="inputs, as numpy.savez writes them (default: random ones)")
    add("--seed", type=checks.count, metavar="N", help="of random inputs (default: 0)")
    add("--runs", type=checks.at_least_one, default=10, metavar="N", help="recorded runs (default: %(default)s)")
    add("--warm-up", type=checks.count, default=3, metavar="N", help="runs before them (default: %(default)s)")
    add("--test-bed", action="store_true", help="on pocl: a core for each device, as benchmarks and profiles have it")
    add = parser.add_argument_group("what to write").add_argument
    add("--trace", metavar="FILE", help="the median run, for ui.perfetto.dev or chrome://tracing (JSON)")
    add("--png", metavar="FILE", help="both timelines, expected and measured, as an image")
    add("--html", metavar="FILE", help="the same as a page, with details where the mouse points")
    add("--json", metavar="FILE", help="what is printed")


def run(args: argparse.Namespace) -> int:
    """Load, run, show."""
    from tvm_coexec.core.errors import CoExecError
    from tvm_coexec.tracing import record, table
    from tvm_coexec.tracing.load import open_model, random_inputs, read_inputs
    from tvm_coexec.tracing.outputs import Outputs

    if args.inputs and args.seed is not None:
        raise CoExecError("--seed is for random inputs and has no effect with --inputs: leave one out")
    outputs = Outputs(args.trace, args.png, args.html, args.json)
    for path in (args.trace, args.png, args.html, args.json):
        if path:
            checks.folder_of(path)
    if args.png:
        from .plots import require_matplotlib

        require_matplotlib("--png")
    pin = _test_bed() if args.test_bed else lambda: None
    lib = open_model(args.model)
    inputs = read_inputs(args.inputs, lib) if args.inputs else random_inputs(lib, args.seed or 0)
    recording = record(lib, inputs, args.runs, args.warm_up, ready=pin)
    name = os.path.splitext(os.path.basename(args.model))[0]
    print(table(recording, name), end="")
    for line in outputs.write(recording, name):
        print(line)
    return 0


def _test_bed() -> Callable[[], object]:
    """Prepare the machine before OpenCL is opened; returns what is to be called once both devices are in use."""
    from tvm_coexec import testbed

    bed = testbed.prepare()
    print(bed.description)
    return lambda: testbed.pin_main_thread(bed)
