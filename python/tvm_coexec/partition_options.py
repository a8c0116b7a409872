"""Options of `CoExecPartition`: those of planning, and the sources of costs and plans."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .core.errors import CoExecError
from .core.options import checked, option
from .core.plan import Plan
from .cost_models import shipped
from .measuring.verify import DEFAULT_PLANS, Verify, check_verify
from .planner import Options, refuse_idle


def _read_plan(plan: object) -> Plan:
    if isinstance(plan, Plan):
        return plan
    if isinstance(plan, str) and plan.lstrip().startswith("{"):
        return Plan.from_json(plan)
    if isinstance(plan, (str, os.PathLike)):
        if not os.path.isfile(plan):
            raise ValueError("is not a file; give the path of a plan, its JSON text or a Plan")
        return Plan.load(os.fspath(plan))
    raise ValueError(f"must be a Plan, its JSON text or a path, not {type(plan).__name__}")


def _check_profile(profile: object) -> object:
    names = ("measure", *shipped.names())
    if not isinstance(profile, str) or profile in names:
        return profile
    if not any(map(os.path.isfile, (profile, os.path.join(profile, shipped.FILE)))):  # of `coexec tune`: a folder
        raise ValueError(f"is not a file; give a file or one of {', '.join(names)}")
    return profile


def _check_adaptive(value: object) -> bool:
    text = str(value).lower() if isinstance(value, (bool, str)) else ""
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


@dataclass(frozen=True)
class PartitionOptions(Options):
    """Checked options of `CoExecPartition`.

    Attributes
    ----------
    profile : str, path, Costs or None
        Source of the costs: a file, a shipped profile's name, ``measure``, or a cost model; see
        `measuring.choose_costs`.
    plan : Plan or None
        A plan to replay instead of planning.
    verify : Verify or None
        Build and time the best few plans, and keep the fastest.
    adaptive : bool
        Also make each device alone, for a module that changes between them at run time.
    """

    profile: object | None = option(
        None,
        "FILE",
        "the devices' costs: a file, the name of a shipped profile, or measure, which measures the model's kernels on "
        "this machine's devices (default: a shipped profile of these devices, else measure)",
        _check_profile,
    )
    plan: Plan | None = option(None, "FILE", "a plan to replay instead of planning", _read_plan)
    verify: Verify | None = option(
        None,
        "PLANS",
        "build and time the best few plans on this machine's devices, including each device alone, and keep the "
        f"fastest; without a number {DEFAULT_PLANS} plans",
        check_verify,
        implied=str(DEFAULT_PLANS),
    )
    adaptive: bool = option(
        False,
        "BOOL",
        "build one module that holds the plan and each device alone, for tvm_coexec.create(lib, adaptive=True) and "
        "tvmc run --adaptive, which run what is fastest while others use the machine; without a value true",
        _check_adaptive,
        implied="true",
    )


def check_partition_options(given: Mapping[str, object], label: Callable[[str], str] = str) -> PartitionOptions:
    """Check the options that the user gave.

    Parameters
    ----------
    given : mapping of str to object
        Values by name; `None`, and a `verify` that is false, stand for the default.
    label : callable
        Name of an option in error messages.

    Raises
    ------
    CoExecError
        One sentence that names the option, also for options that exclude each other.
    """
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    if "plan" in given and (others := [name for name in given if name not in ("plan", "adaptive")]):
        idle = ", ".join(map(label, others))
        raise CoExecError(f"{label('plan')} replays a plan unchanged, so {idle} would have no effect: leave one out")
    options = checked(PartitionOptions, given, label)
    refuse_idle(options, label)
    if options.verify is not None and options.objective != "latency":
        raise CoExecError(
            f"{label('verify')} measures time and can't compare plans by {options.objective}: leave it out"
        )
    return options
