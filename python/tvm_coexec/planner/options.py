"""What a user may say about planning."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import AXIS_NAMES
from tvm_coexec.core.plan import Segment

from .objective import OBJECTIVES

# The first is the default; the others are here to be compared with.
STRATEGY_NAMES = ("coexec", "codl", "mulayer", "layerwise", "neurosurgeon", "single", "exhaustive")

Notes = dict[str, str]
Result = tuple[tuple[Segment, ...], Notes]


@dataclass(frozen=True)
class Options:
    """Options of all strategies, checked.

    Attributes
    ----------
    strategy : str
    axis : str
        ``auto`` or the only axis to divide.
    ratio : float or None
        The GPU's part, 0..1; `None` leaves it to the costs.
    min_gain : float or None
        Part of the single-device time that a plan must promise to save; `None` takes the margin from what the costs
        say of their own error (see `margin_of`).
    objective : {"latency", "energy", "edp"}
    bandwidth : float or None
        Bytes a second of the link between the two places, as ``neurosurgeon`` asks; `None` takes that of the costs.
    """

    strategy: str = "coexec"
    axis: str = "auto"
    ratio: float | None = None
    min_gain: float | None = None
    objective: str = "latency"
    bandwidth: float | None = None


def check_options(
    strategy: str = "coexec",
    axis: str = "auto",
    ratio: float | str | None = "auto",
    min_gain: float | None = None,
    objective: str = "latency",
    bandwidth: float | None = None,
) -> Options:
    """Options from what the user gave.

    Raises
    ------
    CoExecError
        One sentence that names the option.
    """
    if strategy not in STRATEGY_NAMES:
        raise CoExecError(f"strategy '{strategy}' is unknown; use one of {', '.join(STRATEGY_NAMES)}")
    if axis != "auto" and axis not in AXIS_NAMES:
        raise CoExecError(f"axis '{axis}' is unknown; use auto or one of {', '.join(AXIS_NAMES)}")
    if min_gain is not None and not 0.0 <= _number(min_gain) < 1.0:
        raise CoExecError(f"min_gain {min_gain!r} must be a part of the single-device time, from 0 up to 1")
    if objective not in OBJECTIVES:
        raise CoExecError(f"objective '{objective}' is unknown; use one of {', '.join(OBJECTIVES)}")
    if bandwidth is not None and not _number(bandwidth) > 0:
        raise CoExecError(f"bandwidth {bandwidth!r} must be a number of bytes a second, more than 0")
    part = None
    if ratio is not None and ratio != "auto":
        part = _number(ratio)
        if not 0.0 <= part <= 1.0:
            raise CoExecError(f"ratio {ratio!r} must be auto or a number from 0 (all on the CPU) to 1 (all on the GPU)")
    gain = None if min_gain is None else float(min_gain)
    return Options(strategy, axis, part, gain, objective, None if bandwidth is None else float(bandwidth))


def _number(value: object) -> float:
    """The value as a number, -1 if it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return -1.0
