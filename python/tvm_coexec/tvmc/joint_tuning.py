"""``tvmc tune --coexec``: the joint loop (`tuning.loop`), with TVM's own options where they mean the same."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from tvm.driver.tvmc.transform import apply_graph_transforms, parse_graph_transform_args

from tvm_coexec.core import options as declared
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.options import options_of
from tvm_coexec.remote import Server
from tvm_coexec.tuning.loop import tune
from tvm_coexec.tuning.loop.folder import check_free
from tvm_coexec.tuning.loop.options import TuneOptions, check_budget, check_tune_options

from .model_file import Frontends
from .options import PREFIX, flag
from .target_text import devices_of, read_target

_TVMS = ("tuner", "number", "repeat", "min_repeat_ms", "timeout")  # options that tvmc has, too
_IDLE = ("ratio", "objective", "bandwidth")
_OWN = tuple(n for n in options_of(TuneOptions) if n not in (*_TVMS, *_IDLE))
OPTIONS = ("minutes", "profile", *_OWN)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``tvmc tune``; values are checked later."""
    group = parser.add_argument_group(
        "co-execution", "Tune for a CPU and a GPU at once, and plan; -o is then a folder. Give both in --target."
    )
    group.add_argument("--coexec", action="store_true", help="tune kernels and shares, refine the profile, plan again.")
    group.add_argument(
        flag("minutes"),
        metavar="M",
        help="minutes of trials and checks; measuring modules at the end comes on top (default: no limit)",
    )
    group.add_argument(
        flag("profile"), metavar="FILE", help="costs to start with: a file, a shipped profile's name, or measure"
    )
    declared.add_flags(group.add_argument, TuneOptions, PREFIX, _OWN)


def drive(args: argparse.Namespace, server: Server | None) -> None:
    """Run the loop."""
    for name, idle in (("enable_autoscheduler", False), ("early_stopping", None)):
        if getattr(args, name) != idle:
            raise CoExecError(f"--{name.replace('_', '-')} has no effect with --coexec: leave it out")
    if args.tasks != "all":
        raise CoExecError("--tasks has no effect with --coexec, which chooses tasks by the plan: leave it out")
    check_free(args.output)
    options: dict[str, Any] = {n: getattr(args, "coexec_" + n) for n in _OWN}
    options |= {n: getattr(args, n) for n in _TVMS if n != "tuner"}
    options["tuner"] = "xgb" if args.tuner.startswith("xgb") else args.tuner
    options = {name: value for name, value in options.items() if value is not None}
    check_tune_options(options, lambda n: declared.flag(n) if n in _TVMS else flag(n))
    budget = check_budget(args.trials, args.coexec_minutes, lambda n: "--trials" if n == "trials" else flag(n))
    cpu, gpu = devices_of(_both(args))
    if not os.path.isfile(args.FILE):
        raise CoExecError(f"there is no model {args.FILE}: give the path of a file")
    model = Frontends.load_model(args.FILE, args.model_format, args.input_shapes)
    mod = apply_graph_transforms(model.mod, parse_graph_transform_args(args))
    records = [args.tuning_records] if args.tuning_records else []
    tracker, key = (None, "") if server is None else (server.tracker, server.key)
    tuned = tune(
        *(mod, model.params, cpu, gpu, args.output, budget.trials, budget.minutes, args.coexec_profile),
        tracker=tracker,
        key=key,
        records=records,
        **options,
    )
    print(
        f"{args.output}: {tuned.summary['chosen']}; compile with --coexec --coexec-tuned {args.output}", file=sys.stderr
    )


def _both(args: argparse.Namespace) -> Any:
    """Return the target; ``--target-host`` names the CPU, unless ``--target`` does."""
    if args.target_host and args.target and "," not in args.target:
        args.target = f"{args.target}, {args.target_host}"
    return read_target(args)


__all__ = ["OPTIONS", "add_arguments", "drive"]
