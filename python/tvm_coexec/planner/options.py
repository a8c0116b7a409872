"""Options of planning: declared once, for the pass, for tvmc and for coexec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm_coexec.core.devices import MEMORY, RUNTIMES, check_memory
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import AXIS_NAMES
from tvm_coexec.core.options import checked, number, one_of, option
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.reasons import Reason
from tvm_coexec.cost_models import Costs

# The first is the default; the others are here to be compared with.
STRATEGY_NAMES = ("coexec", "codl", "mulayer", "layerwise", "neurosurgeon", "single", "exhaustive")
OBJECTIVES = ("latency", "energy", "edp")

# Options that a strategy does not ask for.
_IDLE = {"single": ("axis", "ratio", "min_gain"), "neurosurgeon": ("axis", "ratio"), "exhaustive": ("ratio",)}

# Why kernels stay whole, by their index.
Reasons = dict[int, Reason]
Result = tuple[tuple[Segment, ...], Reasons]


def _ratio(value: object) -> float | None:
    """A number from 0 to 1; `None` for ``auto``."""
    if isinstance(value, str) and value == "auto":
        return None
    text = "must be auto or a number from 0 (all on the CPU) to 1 (all on the GPU)"
    return number(lambda v: 0.0 <= v <= 1.0, text)(value)


def _axis(value: object) -> str:
    if value != "auto" and value not in AXIS_NAMES:
        raise ValueError(f"is unknown; use auto or one of {', '.join(AXIS_NAMES)}")
    return str(value)


@dataclass(frozen=True)
class Options:
    """How to plan: options of all strategies, checked.

    Attributes
    ----------
    strategy : str
    axis : str
        ``auto`` or the only axis to divide.
    ratio : float or None
        The GPU's fraction of the output, 0 to 1; `None` (``auto``) leaves it to the costs.
    min_gain : float or None
        Fraction of the single-device time that a plan must promise to save; `None` takes the margin from what the
        costs say of their own error (see `margin_of`).
    objective : {"latency", "energy", "edp"}
    bandwidth : float or None
        Of the link between the two places, as ``neurosurgeon`` asks, bytes per second; `None` takes that of the costs.
    runtime : {"own", "tvm"} or None
        OpenCL runtime that the module will run on: this package's, or TVM's own, whose copies wait for all of the GPU's
        work. `None` takes that of the costs (see `Costs.on_runtime`).
    memory : {"copied", "mapped", "shared"} or None
        How tensors will cross between the devices (see `Costs`). `None` takes what the costs say of the devices.
    """

    strategy: str = option(
        "coexec",
        "NAME",
        f"how to plan: one of {', '.join(STRATEGY_NAMES)}; those after the first are for comparison (default: coexec)",
        one_of(STRATEGY_NAMES),
    )
    axis: str = option(
        "auto", "AXIS", f"divide along this axis only: auto or one of {', '.join(AXIS_NAMES)} (default: auto)", _axis
    )
    ratio: float | None = option(
        None, "RATIO", "the GPU's fraction of every operator, 0 to 1, or auto to decide by cost (default: auto)", _ratio
    )
    min_gain: float | None = option(
        None,
        "FRACTION",
        "divide only where a plan promises to save this fraction of the better device's time (default: what the "
        "profile says of its own error)",
        number(lambda v: 0.0 <= v < 1.0, "must be a fraction of the single-device time, from 0 up to 1"),
    )
    objective: str = option(
        "latency",
        "NAME",
        f"what to minimise: one of {', '.join(OBJECTIVES)}; edp is energy times delay, and all but latency need a "
        "profile with power (default: latency)",
        one_of(OBJECTIVES),
    )
    bandwidth: float | None = option(
        None,
        "BYTES_PER_S",
        "bandwidth of the link that neurosurgeon cuts the network at, bytes per second (default: the profile's links)",
        number(lambda v: v > 0, "must be a number of bytes per second, more than 0"),
    )
    runtime: str | None = option(
        None,
        "NAME",
        f"OpenCL runtime that the module will run on: one of {', '.join(RUNTIMES)}; with tvm, TVM's own, copies wait "
        "for all of the GPU's work (default: the one in use here; for another machine, the one that the profile is of)",
        one_of(RUNTIMES),
    )

    memory: str | None = option(
        None,
        "NAME",
        f"how tensors will cross between the devices: one of {', '.join(MEMORY)}; copied is what TVM's own executor "
        "does (default: what tvm_coexec.create does on these devices, if the profile says it)",
        one_of(MEMORY),
    )

    def __post_init__(self) -> None:
        """Refuse at once what costs would refuse: they may have to be measured first."""
        if self.runtime is not None and self.memory is not None:
            check_memory(self.memory, self.runtime)

    def costs_in_place(self, costs: Costs) -> Costs:
        """Return the costs for `runtime` and `memory`; by default tensors are not copied where both can address them.

        Raises
        ------
        CoExecError
            If memory is to be shared on TVM's own OpenCL runtime.
        """
        costs = costs if self.runtime is None else costs.on_runtime(self.runtime)
        memory = self.memory or (costs.unified.memory if costs.unified else None)
        return costs if memory is None else costs.on_memory(memory)


def refuse_idle(options: Options, label: Callable[[str], str] = str) -> None:
    """Raise `CoExecError` for an option that the strategy does not ask for; `label` returns its name in the message."""
    idle = _IDLE.get(options.strategy, ()) + (() if options.strategy == "neurosurgeon" else ("bandwidth",))
    defaults = Options()
    for name in idle:
        if getattr(options, name) != getattr(defaults, name):
            raise CoExecError(
                f"{label(name)} has no effect on the strategy '{options.strategy}': leave it out, or choose another "
                "strategy"
            )


def check_options(**given: object) -> Options:
    """Options from what the user gave; `CoExecError` names the option that is wrong."""
    return checked(Options, given)
