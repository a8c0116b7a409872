"""All changes to tvmc.

========================================  ==========================================================================
``main.REGISTERED_PARSER``                the ``compile`` command gets the options ``--coexec...``; the ``run`` command
                                          takes several devices; they and ``tune`` get our ``drive_...``, which
                                          call TVM's
``composite_target.REGISTERED_CODEGEN``   ``coexec``: ``tvmc.compile(model, "coexec -ratio=0.5, opencl, llvm")``
``compiler.build``                        partitions and builds for two targets if co-execution was requested
``runner.executor``, ``debug_executor``   ``create`` adds the devices that a graph names and the caller left out; during
                                          ``run --profile``, that of ``debug_executor`` also records both timelines
========================================  ==========================================================================

Each replacement does what TVM's does unless co-execution was asked for or a module needs several devices.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tvm.driver.tvmc import TVMCException, compiler, composite_target, runner
from tvm.driver.tvmc import main as tvmc_main

from tvm_coexec.core.errors import one_line
from tvm_coexec.core.interrupts import INTERRUPTED, interruptible
from tvm_coexec.core.logs import log_to_stderr

from . import joint_tuning
from . import trace_run as profiling
from .compiling import CODEGEN, build_hook, drive_compile, mark
from .options import add_arguments
from .patching import Overlay
from .running import add_arguments as add_run_arguments
from .running import create_hook, drive_run, take_device_list
from .tuning import drive_tune

_installed = False


def install() -> None:
    """Install co-execution in ``tvm.driver.tvmc``; further calls are no-ops."""
    global _installed
    if _installed:
        return
    _installed = True
    composite_target.REGISTERED_CODEGEN[CODEGEN] = {"config_key": None, "pass_pipeline": mark}
    compiler.build = build_hook(compiler.build)
    runner.executor = Overlay(runner.executor, create=create_hook(runner.executor.create))
    runner.debug_executor = Overlay(runner.debug_executor, create=create_hook(runner.debug_executor.create))
    parsers = tvmc_main.REGISTERED_PARSER
    parsers[:] = [_with_device_list(p) if p is runner.add_run_parser else p for p in parsers]
    parsers.append(_extend)


def _with_device_list(add_run_parser: Callable) -> Callable:
    """Wrap TVM's function, which parses the command line already while it makes this parser: allow device lists."""

    def add(subparsers: Any, main_parser: argparse.ArgumentParser, json_params: list) -> None:
        add_run_parser(
            Overlay(subparsers, add_parser=take_device_list(subparsers.add_parser)), main_parser, json_params
        )

    return add


def _extend(subparsers: Any, _main_parser: argparse.ArgumentParser, _json_params: list) -> None:
    """Add our options; runs after TVM's own functions, when the commands exist."""
    commands = subparsers.choices
    add_arguments(commands["compile"])
    commands["compile"].set_defaults(func=drive_compile)
    add_run_arguments(commands["run"])
    profiling.add_arguments(commands["run"])
    commands["run"].set_defaults(func=drive_run)
    joint_tuning.add_arguments(commands["tune"])
    commands["tune"].set_defaults(func=drive_tune)


def main(argv: Sequence[str] | None = None) -> None:
    """The ``tvmc`` command: TVM's own, with co-execution.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Raises
    ------
    SystemExit
        Always, as TVM's ``main`` does: 0 if the command succeeded, 4 for an error in what the user gave, 130
        after an interruption.
    """
    before = sys.argv
    if argv is not None:
        # TVM itself reads sys.argv while it makes the parser of `run`
        sys.argv = [before[0], *argv]
    try:
        with interruptible(), log_to_stderr("tvmc: %(message)s"):  # TVM's main would log to standard output
            tvmc_main.main()
    except KeyboardInterrupt:
        sys.stderr.write("tvmc: interrupted\n")
        sys.exit(INTERRUPTED)
    except TVMCException as err:  # TVM catches errors of commands, but not earlier ones such as a missing configuration
        sys.stderr.write(f"Error: {one_line(err)}\n")
        sys.exit(4)
    finally:
        sys.argv = before
