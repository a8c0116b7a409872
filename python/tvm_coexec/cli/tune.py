"""``coexec tune``: tune kernels and shares for both devices, refine the profile and plan again."""

from __future__ import annotations

import argparse
from dataclasses import fields

from tvm_coexec.core.options import add_flags, flag, options_of
from tvm_coexec.planner import Options

from . import rpc
from .model_argument import add_model
from .tables import print_table

_IDLE = ("ratio", "objective", "bandwidth")  # planning options that tuning refuses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from tvm_coexec.tuning.loop.options import TuneOptions

    add_model(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="folder for the results; an existing one is continued"
    )
    add = parser.add_argument_group("the budget").add_argument
    add("--trials", metavar="N", help="trials in the folder, with those of earlier runs")
    add("--minutes", metavar="M", help="minutes of trials and checks; measuring modules at the end comes on top")
    add = parser.add_argument_group("the devices").add_argument
    add("--cpu", default="llvm", metavar="TARGET", help="CPU target (default: %(default)s)")
    add("--gpu", default="opencl", metavar="TARGET", help="GPU target (default: %(default)s)")
    add("--profile", metavar="FILE", help="costs to start with: a file, a shipped profile's name, or 'measure'")
    rpc.add_arguments(parser, direct=False)
    add = parser.add_argument_group("how to tune").add_argument
    add("--records", action="append", default=[], metavar="FILE", help="a log of AutoTVM from earlier tuning")
    add_flags(add, TuneOptions, names=[n for n in options_of(TuneOptions) if n not in options_of(Options)])
    add = parser.add_argument_group("how to plan").add_argument
    add_flags(add, Options, names=[n for n in options_of(Options) if n not in _IDLE])
    parser.set_defaults(interrupted="interrupted; run the same command again to continue", rpc=None)


def run(args: argparse.Namespace) -> int:
    """Tune, and print what was measured."""
    from tvm_coexec.core.errors import CoExecError
    from tvm_coexec.measuring.read_model import load_model
    from tvm_coexec.tuning.loop import tune
    from tvm_coexec.tuning.loop.folder import check_free
    from tvm_coexec.tuning.loop.options import TuneOptions, check_budget, check_tune_options

    given = {f.name: getattr(args, f.name, None) for f in fields(TuneOptions)}
    options = {name: value for name, value in given.items() if value is not None}
    check_tune_options(options, flag)
    budget = check_budget(args.trials, args.minutes, flag)
    check_free(args.output)
    server = rpc.server_of(args)
    if server is not None and not server.key:
        raise CoExecError("--rpc-tracker needs --rpc-key, the boards' key at the tracker")
    model = load_model(args.model, args.input_shapes)
    tuned = tune(
        *(model.mod, model.params, args.cpu, args.gpu, args.output, budget.trials, budget.minutes, args.profile),
        tracker=None if server is None else server.tracker,
        key="" if server is None else server.key,
        records=args.records,
        **options,
    )
    print_results(tuned.summary, args.output)
    return 0


def print_results(summary: dict, folder: str) -> None:
    """Print the modules that were measured, and what to do with the folder."""
    rows = [
        {
            "module": m["name"],
            "plan": m["plan"],
            "ms expected": m["expected_s"] * 1e3,
            "ms measured": m["measured_s"] * 1e3 if m.get("measured_s") else None,
        }
        for m in summary["modules"]
    ]
    print_table(rows, f"{summary['trials']} trials, {summary['failed']} of them failed; chosen: {summary['chosen']}")
    print(f"{folder}: the results; use them with `tvmc compile --coexec --coexec-tuned {folder}`")
