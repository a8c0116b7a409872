"""From a kernel graph and costs to a plan. Nothing here imports TVM."""

from __future__ import annotations

from dataclasses import replace

from tvm_coexec.cost_models import Costs
from tvm_coexec.errors import CoExecError
from tvm_coexec.kernel_graph import AXIS_NAMES, KernelGraph
from tvm_coexec.plan import Plan

from .chains import fixed_plan
from .greedy import check_axis, greedy_plan
from .simulate import simulate, with_times

__all__ = ["STRATEGIES", "check_options", "make_plan", "needs_costs", "simulate", "with_times"]

STRATEGIES = ("coexec", "codl")
# Kernels measured alone run from warm caches and share no bandwidth, so a split promises more than it keeps (by a
# quarter on a two-core test-bed); one that promises less than this may be a loss.
DEFAULT_MIN_GAIN = 0.10


def check_options(strategy: str, axis: str, ratio: float | str, min_gain: float | None) -> float | None:
    """Validates planner options; returns the ratio as a number, or `None` for ``auto``.

    Raises
    ------
    CoExecError
        One sentence that names the option.
    """
    if strategy not in STRATEGIES:
        raise CoExecError(f"strategy '{strategy}' is unknown; use one of {', '.join(STRATEGIES)}")
    check_axis(axis, AXIS_NAMES)
    if min_gain is not None and not 0.0 <= _number(min_gain) < 1.0:
        raise CoExecError(f"min_gain {min_gain!r} must be a part of the single-device time, from 0 up to 1")
    if ratio == "auto":
        return None
    value = _number(ratio)
    if not 0.0 <= value <= 1.0:
        raise CoExecError(f"ratio {ratio!r} must be auto or a number from 0 (all on the CPU) to 1 (all on the GPU)")
    return value


def _number(value: object) -> float:
    """The value as a number, -1 if it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return -1.0


def needs_costs(ratio: float | None, strategy: str) -> bool:
    """Whether the options leave something to decide by cost."""
    return ratio is None or (strategy == "codl" and 0.0 < ratio < 1.0)


def make_plan(
    graph: KernelGraph,
    costs: Costs | None = None,
    strategy: str = "coexec",
    axis: str = "auto",
    ratio: float | None = None,
    min_gain: float | None = None,
) -> Plan:
    """Plan a kernel graph.

    Parameters
    ----------
    graph : KernelGraph
    costs : Costs, optional
        Needed when `needs_costs`; otherwise only used to fill in expected times.
    strategy, axis, ratio, min_gain
        As `relay.transform.CoExecPartition` takes them, `ratio` already a number or `None` for ``auto``.

    Returns
    -------
    Plan
        The same inputs give the same plan, byte for byte.
    """
    gain = DEFAULT_MIN_GAIN if min_gain is None else float(min_gain)
    if needs_costs(ratio, strategy):
        if costs is None:
            raise CoExecError(f"strategy '{strategy}' with ratio auto needs costs: give a profile, or a ratio")
        segments, notes = greedy_plan(graph, costs, strategy, axis, ratio, gain)
    else:
        assert ratio is not None
        segments, notes = fixed_plan(graph, ratio, axis)
    plan = Plan(graph.fingerprint(), segments, strategy, notes)
    plan.check(graph)
    return with_times(graph, costs, plan) if costs is not None else replace(plan, costs="none: the ratio was given")
