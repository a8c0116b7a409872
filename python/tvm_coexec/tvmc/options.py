"""Options that a user gives as ``--coexec-...``, or as ``coexec -ratio=0.5`` in a target."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from tvm_coexec.core import options as declared
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.options import option, options_of
from tvm_coexec.partition_options import PartitionOptions, check_partition_options

PREFIX = "--coexec-"
# Options as the user gave them: text by option name.
Given = dict[str, str]


@dataclass(frozen=True)
class OutputOptions:
    """Files to write in addition to the compiled module; ``-`` is standard output."""

    dump_plan: str | None = option(None, "FILE", "write the plan as JSON; - writes to the console", str)
    report: str | None = option(None, "FILE", "write the report on the plan; - writes to the console", str)


@dataclass(frozen=True)
class TunedOptions:
    """The folder of tuned results."""

    tuned: str | None = option(
        None, "FOLDER", "use the records, the plan and the profile of this folder of `tvmc tune --coexec`", str
    )


PARTITION = tuple(options_of(PartitionOptions))
OUTPUT = tuple(options_of(OutputOptions))
TUNED = tuple(options_of(TunedOptions))
_ALL = (*PARTITION, *TUNED, *OUTPUT)


def flag(name: str) -> str:
    """The command-line option of a field of `PartitionOptions` or `OutputOptions`."""
    return declared.flag(name, PREFIX)


def pass_options(given: Given) -> dict[str, object]:
    """Keyword arguments for `CoExecPartition`.

    Raises
    ------
    CoExecError
        One sentence that names the flag.
    """
    asked = {name: text for name, text in given.items() if name in PARTITION}
    options = check_partition_options(asked, flag)
    return {name: getattr(options, name) for name in asked}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``tvmc compile``.

    Values are checked later, not by argparse, which would print the usage of a hundred options around its error.
    """
    # no defaults here: the parser's defaults already hold the values of tvmc's --config file
    group = parser.add_argument_group(
        "co-execution", "Run operators on a CPU and a GPU at once. Give both in --target, in any order."
    )
    group.add_argument("--coexec", action="store_true", help="divide the model between the two devices of --target.")
    for options in (PartitionOptions, TunedOptions, OutputOptions):
        declared.add_flags(group.add_argument, options, PREFIX)


def from_args(args: argparse.Namespace) -> tuple[bool, Given]:
    """Whether ``--coexec`` was given, and its options."""
    values = {name: getattr(args, "coexec_" + name) for name in _ALL}
    # values from a configuration file are JSON and need not be text
    return bool(args.coexec), {name: str(value) for name, value in values.items() if value is not None}


def from_target(opts: Mapping[str, object]) -> Given:
    """Options of ``coexec -ratio=0.5 -axis=oc`` in a target.

    Raises
    ------
    CoExecError
        For an option that doesn't exist, or has no value.
    """
    given: Given = {}
    for key, value in opts.items():
        name = key.replace("-", "_")
        if name not in _ALL or isinstance(value, bool):
            choices = ", ".join(f"{declared.flag(n, '-')}=..." for n in _ALL)
            raise CoExecError(f"target 'coexec' has no option '{key}'; use {choices}")
        given[name] = str(value)
    return given
