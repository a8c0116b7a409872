"""Predicted and measured times of verified plans, and the co-run calibration derived from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

DEVICES_USED = ("cpu", "gpu", "both")


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
    device : {"cpu", "gpu", "both"}
        ``cpu`` or ``gpu`` if everything runs on that device.
    chains : int
        Number of chains.
    predicted_s : float
        Makespan by the costs, without their co-run calibration.
    measured_s : float
        Shortest repeat, from inputs to outputs on the CPU.
    alone_s : float
        Time of the better single device, measured in turns with the plan.
    costs : str
        Description of the costs.
    at : str
        Time of the measurement; equal for all plans measured in turns.
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
        """Return JSON values, as a record of a dataset."""
        return {"record": "plan", **asdict(self)}

    @staticmethod
    def from_json(d: dict[str, Any]) -> PlanRecord:
        """Read the values of `to_json`; raise `KeyError`, `TypeError` or `ValueError` for others."""
        if d["device"] not in DEVICES_USED:
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
        """Measured over predicted time."""
        return self.measured_s / self.predicted_s


def fit_plan_factor(records: Iterable[PlanRecord]) -> float | None:
    """Return the co-run calibration: the factor by which plans with chains take longer than predicted.

    It is the median, over plans with chains, of measured over predicted seconds, relative to the geometric mean of this
    ratio over the single devices measured in turns with the plan. So errors that are common to a model's kernels
    cancel, and the cost of co-execution remains.

    Returns
    -------
    float or None
        `None` if no plan with chains was measured together with a single device.
    """
    runs: dict[tuple[str, str, str], list[PlanRecord]] = {}
    for r in records:
        runs.setdefault((r.graph, r.costs, r.at), []).append(r)
    found = [f for run in runs.values() for f in _relative_ratios(run)]
    return float(np.median(found)) if found else None


def _relative_ratios(run: Sequence[PlanRecord]) -> list[float]:
    alone = [math.log(r.ratio) for r in run if r.device != "both"]
    if not alone:
        return []
    common = math.exp(sum(alone) / len(alone))
    return [r.ratio / common for r in run if r.chains]
