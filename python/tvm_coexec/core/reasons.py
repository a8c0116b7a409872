"""Why a kernel is not split: a kind of reason with its data. Code asks for the kind, people read the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .kernel_graph import Kernel


class Why(Enum):
    """Kinds of reasons, each with its text; braces are filled in from the data of the reason.

    What the rules say of a kernel (`Kernel.reason`) and what the GPU's compiler says of it are texts already.
    """

    INDIVISIBLE = "{rule}"
    GPU_REFUSES = "{compiler}"
    NOT_HEAVY = "no convolution or matrix product in it, so dividing it can't pay; it may ride on a chain"
    NO_AXIS = "no axis '{axis}'; it has {axes}"
    NO_CUT = "no aligned cut near the ratio leaves both devices work"
    LITTLE_GAIN = "dividing it is not expected to save {gain:.0%}"
    ONE_DEVICE_IS_AS_GOOD = "{device} alone is expected to be as good"
    ONE_DEVICE_WAS_FASTEST = "{device} alone was the fastest"
    ONE_DEVICE_WANTED = "{device} alone, as asked for"
    RATIO_GIVEN = "ratio {ratio:g}: all on the {device}"
    FASTER_DEVICE = "whole on the faster device, the {device}"
    WHOLE_IS_FASTER = "whole on the {device} promises more"
    WHOLE_WAS_FASTEST = "a plan that leaves it whole was the fastest"
    DEVICES_BY_KERNEL_WERE_FASTEST = "each kernel whole on one device was the fastest"
    ONE_CUT = "one cut of the whole network, no operator is divided"
    NO_BETTER_PLAN = "no plan that divides it is better"


@dataclass(frozen=True)
class Reason:
    """Why a kernel is not split.

    Attributes
    ----------
    why : Why
    data : dict
        What its text names.
    """

    why: Why
    data: dict[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """The reason as a plan and a report state it."""
        return self.why.value.format(**self.data)


def reason(why: Why, **data: Any) -> Reason:
    """A reason with its data."""
    return Reason(why, data)


def own_reason(kernel: Kernel) -> Reason | None:
    """Why a kernel can't be split whatever the plan; `None` when it can."""
    return reason(Why.INDIVISIBLE, rule=kernel.reason) if kernel.reason else None
