"""The table of commands.

A command is a module with a docstring (its first line is the help), ``add_arguments(parser)`` and ``run(args) -> int``.
It is imported on use, so that no command waits for the imports of another.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.interrupts import INTERRUPTED, interruptible
from tvm_coexec.core.logs import PACKAGE, log_to_stderr

COMMANDS = {
    "profile": "measure kernels and shares on both devices",
    "fit": "fit a profile of both devices to samples",
    "eval": "compare a profile's predictions with samples",
    "predict": "predict a model's kernels and its latency on each device",
    "plan": "plan a model, compare strategies, check and draw plans",
    "tune": "tune kernels and shares for both devices, refine the profile and plan again",
    "connect": "load the runtime on a TVM RPC server, and show its devices",
    "store": "keep measured latencies in a file, and look up models in it",
    "trace": "run a compiled model and show the measured and the expected timelines of both devices",
    "places": "divide a network between this machine and a remote one, and run it",
}
USER_ERROR = 2


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``coexec``.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        Exit status: 0, or 2 after one line on standard error that says what to do.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _Parser(prog="coexec", description="Fit cost models and make plans for co-execution.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((a for a in argv if not a.startswith("-")), None)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            module = importlib.import_module(f".{name}", __package__)
            module.add_arguments(sub)
            sub.add_argument("-v", "--verbose", action="store_true", help="log progress")
            sub.set_defaults(run=module.run)
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        commands.choices[args.command].error(f"unknown option {unknown[0]}")
    levels = {PACKAGE: logging.INFO if args.verbose else logging.WARNING}
    levels |= {"te_compiler": logging.ERROR, "autotvm": logging.ERROR}
    try:
        with interruptible(), log_to_stderr("coexec: %(message)s", levels):
            return args.run(args)
    except CoExecError as err:
        print(f"coexec {args.command}: {' '.join(str(err).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(f"coexec {args.command}: {getattr(args, 'interrupted', 'interrupted')}", file=sys.stderr)
        return INTERRUPTED
