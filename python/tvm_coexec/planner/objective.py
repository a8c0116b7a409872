"""What a plan is measured by."""

from __future__ import annotations

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.costs import NO_POWER

from .simulator import Simulator


def score(objective: str, seconds: float, joules: float) -> float:
    """The number to be made small: seconds, joules, or their product (energy-delay product, joule seconds)."""
    if objective == "latency":
        return seconds
    return joules if objective == "energy" else joules * seconds


def energy_j(sim: Simulator) -> float | None:
    """Joules of what was simulated; `None` where the costs know no power."""
    power = sim.costs.power
    return None if power is None else power.energy_j(sim.now_s, sim.totals.busy_s)


def score_of(objective: str, sim: Simulator) -> float:
    """Score of a finished simulation; `CoExecError` where energy is asked for and nothing is known of power."""
    joules = energy_j(sim)
    if objective != "latency" and joules is None:
        raise CoExecError(f"objective '{objective}' needs watts, which the profile lacks; {NO_POWER}, or use latency")
    return score(objective, sim.now_s, joules or 0.0)
