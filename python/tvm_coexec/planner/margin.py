"""How much a plan must promise, so that it is not slower than one device when the costs are wrong."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_coexec.core.kernel_graph import DEVICES
from tvm_coexec.cost_models import Costs

# Of costs that say nothing of their error: kernels measured alone run from warm caches and share no bandwidth, so that
# a split promises more than it keeps (by up to a quarter on a two-core test-bed); less than this may be a loss.
DEFAULT_MIN_GAIN = 0.10
LARGEST = 0.5
# Of kernels of classes with few samples, which a roofline or another class stands for.
WEAK_ERROR = 0.3


def margin_of(costs: Costs, weak_fractions: Mapping[str, float] | None = None) -> float:
    """Part of the single-device time that a plan must promise to save.

    It is the mean of both devices' errors, by which the costs say that their sums over whole networks are off: what is
    compared are two such sums, and what a device's kernels have in common cancels in part. That error was found on
    classes of kernels with samples; the part of a device's time that rests on few of them is taken to be off by
    `WEAK_ERROR`.

    Parameters
    ----------
    costs : Costs
        ``costs.error`` holds the relative error by device, as `Profile` does; costs without it have the margin
        `DEFAULT_MIN_GAIN`.
    weak_fractions : mapping of str to float, optional
        Fraction of each device's time that rests on few samples (see `CachedCosts.weak_fractions`).
    """
    known = costs.error or dict.fromkeys(DEVICES, DEFAULT_MIN_GAIN)
    weak = weak_fractions or {}
    errors = [_mix(known.get(d, 0.0), weak.get(d, 0.0)) for d in DEVICES]
    return min(LARGEST, sum(errors) / len(DEVICES))


def decision_margin(costs: Costs, weak_fractions: Mapping[str, float] | None = None) -> float:
    """Part of the single-device time that a plan must promise to save to be preferred to the device.

    As `margin_of`, and no less than measured plans were off (``costs.error["plans"]``): a plan waits at each sync point
    for the device whose kernels took longer than predicted, so that its time is less certain than that of one device.
    It is only for this decision; a chain is chosen by the margin of the kernels.
    """
    return min(LARGEST, max(margin_of(costs, weak_fractions), (costs.error or {}).get("plans", 0.0)))


def _mix(error: float, weak: float) -> float:
    """Return the error of a device's time of which a fraction rests on few samples; never less than without it."""
    return error * (1.0 - weak) + max(error, WEAK_ERROR) * weak
