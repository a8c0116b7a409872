"""Verified plans: what whole plans were predicted to take and took, and what a profile learns from that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

PLACES = ("cpu", "gpu", "both")


@dataclass(frozen=True)
class PlanRecord:
    """One plan of one model, predicted and measured.

    Attributes
    ----------
    graph : str
        Fingerprint of the kernel graph.
    segments : str
        Digest of the plan's segments.
    strategy : str
    device : str
        ``cpu`` or ``gpu`` for everything on that device, else ``both``.
    chains : int
        Split segments.
    predicted_s : float
        Makespan by the costs, without a factor that they have learnt from such records.
    measured_s : float
        The shortest of the repeats, from inputs to outputs on the CPU.
    alone_s : float
        The better single device, measured in turns with the plan.
    costs : str
        Where the prediction comes from.
    at : str
        When; the same for all plans that were measured in turns.
    """

    graph: str
    segments: str
    strategy: str
    device: str
    chains: int
    predicted_s: float
    measured_s: float
    alone_s: float
    costs: str = ""
    at: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a record of a file of samples."""
        return {"record": "plan", **asdict(self)}

    @staticmethod
    def from_json(d: dict[str, Any]) -> PlanRecord:
        """What `to_json` made; raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        if d["device"] not in PLACES:
            raise ValueError(f"device '{d['device']}'")
        seconds = {n: float(d[n]) for n in ("predicted_s", "measured_s", "alone_s")}
        for name, value in seconds.items():
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} {value}")
        return PlanRecord(
            graph=str(d["graph"]),
            segments=str(d["segments"]),
            strategy=str(d["strategy"]),
            device=str(d["device"]),
            chains=int(d["chains"]),
            predicted_s=seconds["predicted_s"],
            measured_s=seconds["measured_s"],
            alone_s=seconds["alone_s"],
            costs=str(d["costs"]),
            at=str(d["at"]),
        )

    @property
    def ratio(self) -> float:
        """Measured over predicted."""
        return self.measured_s / self.predicted_s


def fit_plan_factor(records: Iterable[PlanRecord]) -> float | None:
    """Co-run calibration: how many times longer plans with chains take than predicted, beyond single devices.

    Median over the plans with chains of their measured over their predicted seconds, each relative to the geometric
    mean of the same ratio of the single devices that were measured in turns with it. So an error of the costs that a
    model's kernels have in common cancels, and what remains is the cost of co-execution.

    Returns
    -------
    float or None
        `None` where no plan with chains was measured alongside a single device.
    """
    runs: dict[tuple[str, str, str], list[PlanRecord]] = {}
    for r in records:
        runs.setdefault((r.graph, r.costs, r.at), []).append(r)
    found = [f for run in runs.values() for f in _relative(run)]
    return float(np.median(found)) if found else None


def _relative(run: Sequence[PlanRecord]) -> list[float]:
    alone = [math.log(r.ratio) for r in run if r.device != "both"]
    if not alone:
        return []
    common = math.exp(sum(alone) / len(alone))
    return [r.ratio / common for r in run if r.chains]
