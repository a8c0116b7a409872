"""What a user asks for with ``--coexec-...``, or with ``coexec -ratio=0.5`` in a target."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models import shipped as profiles
from tvm_coexec.measuring.verify import DEFAULT_PLANS
from tvm_coexec.planner import OBJECTIVES, STRATEGIES

_PLANNING = ("ratio", "axis", "strategy", "profile", "plan", "min_gain", "objective", "bandwidth", "verify")
_NUMBERS = {"min_gain": "from 0 up to 1", "bandwidth": "of bytes a second"}


@dataclass(frozen=True)
class CoExecOptions:
    """Options of one co-executed compilation.

    Attributes
    ----------
    ratio, axis, strategy, profile, plan, min_gain, objective, bandwidth, verify
        As `relay.transform.CoExecPartition` takes them; `None` for its default.
    dump_plan, report : str, optional
        Files to write the plan (JSON) and the report (text) to; ``-`` is standard output.
    """

    ratio: str | None = None
    axis: str | None = None
    strategy: str | None = None
    profile: str | None = None
    plan: str | None = None
    min_gain: str | None = None
    objective: str | None = None
    bandwidth: str | None = None
    verify: str | None = None
    dump_plan: str | None = None
    report: str | None = None

    def pass_options(self) -> dict[str, object]:
        """Keyword arguments for `CoExecPartition`, without those left at their defaults.

        Raises
        ------
        CoExecError
            For a number that is none, a file that is missing, and options that exclude each other.
        """
        given = {name: getattr(self, name) for name in _PLANNING if getattr(self, name) is not None}
        if "plan" in given and len(given) > 1:
            others = ", ".join(flag(name) for name in given if name != "plan")
            raise CoExecError(
                f"{flag('plan')} replays a plan as it is, so {others} would have no effect: leave one out"
            )
        for name, others in (("plan", ()), ("profile", ("measure", *profiles.names()))):
            if name in given and not os.path.isfile(given[name]) and given[name] not in others:
                instead = f"; it may also be one of: {', '.join(others)}" if others else ""
                raise CoExecError(f"{flag(name)}: there is no file {given[name]}{instead}")
        for name, kind in _NUMBERS.items():
            if name in given:
                try:
                    given[name] = float(given[name])
                except ValueError:
                    raise CoExecError(f"{flag(name)} {given[name]} must be a number, {kind}") from None
        if "verify" in given:
            if not given["verify"].isdigit():
                raise CoExecError(f"{flag('verify')} {given['verify']} must be a number of plans")
            given["verify"] = int(given["verify"])
        return given

    def overridden_by(self, other: CoExecOptions) -> CoExecOptions:
        """These options, with those that `other` gives in their place."""
        return replace(self, **{name: value for name, value in asdict(other).items() if value is not None})


def flag(name: str) -> str:
    """The command-line option for a field of `CoExecOptions`."""
    return "--coexec-" + name.replace("_", "-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``tvmc compile``.

    Values are checked later, not by argparse, which would print the usage of a hundred options around its error.
    """
    # no defaults here: those in tvmc's --config file are already set, as the parser's
    group = parser.add_argument_group(
        "co-execution", "Let a CPU and a GPU work on the same operators at once. Give both in --target, in any order."
    )
    group.add_argument("--coexec", action="store_true", help="divide the model between the two devices of --target.")
    group.add_argument(
        "--coexec-ratio",
        metavar="PART",
        help="the GPU's part of every operator, 0 to 1, or 'auto' to decide by cost. Defaults to 'auto'.",
    )
    group.add_argument(
        "--coexec-axis",
        metavar="AXIS",
        help="what to divide along: 'oc' (output channels), 'h' (rows), 'w', 'n', 'm', 'batch', 'ic' or 'auto'. "
        "Defaults to 'auto'.",
    )
    group.add_argument(
        "--coexec-strategy",
        metavar="NAME",
        help=f"how to plan: {_listed(STRATEGIES)}. Defaults to 'coexec'; the others are there to compare with.",
    )
    group.add_argument(
        "--coexec-min-gain",
        metavar="PART",
        help="divide only where this part of the better device's time is saved. If not presented, what the profile "
        "says of its own error.",
    )
    group.add_argument(
        "--coexec-objective",
        metavar="NAME",
        help=f"what is made small: {_listed(OBJECTIVES)} (energy-delay product). Defaults to 'latency'; others need "
        "a profile with power.",
    )
    group.add_argument(
        "--coexec-bandwidth",
        metavar="BYTES",
        help="bytes a second of the link between the two parts of strategy 'neurosurgeon'. If not presented, the "
        "profile's links.",
    )
    group.add_argument(
        "--coexec-profile",
        metavar="FILE",
        help="the devices' costs: a file, 'measure' (the model's kernels are measured on this machine's devices), or "
        "the name of a profile that comes with tvm-coexec. If not presented, such a profile where it is of these "
        "devices, else measured.",
    )
    group.add_argument(
        "--coexec-verify",
        metavar="PLANS",
        nargs="?",
        const=str(DEFAULT_PLANS),
        help="build and time the best few plans on this machine's devices, each device alone among them, and keep the "
        f"fastest. Without a number {DEFAULT_PLANS} plans.",
    )
    group.add_argument("--coexec-plan", metavar="FILE", help="a plan to replay instead of planning.")
    group.add_argument("--coexec-dump-plan", metavar="FILE", help="write the plan as JSON; '-' writes to the console.")
    group.add_argument("--coexec-report", metavar="FILE", help="write what was decided; '-' writes to the console.")


def _listed(names: Iterable[str]) -> str:
    *first, last = (f"'{name}'" for name in names)
    return f"{', '.join(first)} or {last}"


def from_args(args: argparse.Namespace) -> tuple[bool, CoExecOptions]:
    """Whether ``--coexec`` was given, and its options."""
    fields = {name: getattr(args, "coexec_" + name) for name in CoExecOptions.__dataclass_fields__}
    # values from a configuration file are JSON, so numbers may be numbers
    texts = {name: value if value is None else str(value) for name, value in fields.items()}
    return bool(args.coexec), CoExecOptions(**texts)


def from_target(opts: Mapping[str, object]) -> CoExecOptions:
    """Options of ``coexec -ratio=0.5 -axis=oc`` in a target.

    Raises
    ------
    CoExecError
        For an option that doesn't exist, or has no value.
    """
    known = CoExecOptions.__dataclass_fields__
    fields: dict[str, str] = {}
    for key, value in opts.items():
        name = key.replace("-", "_")
        if name not in known or isinstance(value, bool):
            choices = ", ".join(f"-{n.replace('_', '-')}=..." for n in known)
            raise CoExecError(f"target 'coexec' has no option '{key}' of this form; use {choices}")
        fields[name] = str(value)
    return CoExecOptions(**fields)
