"""Any latency model, with a roofline for kernels of classes that it was not fitted to."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from ..features.workload import Workload, Workloads
from .analytic import AnalyticModel
from .base import LatencyModel

ARRAYS = "arrays"


class FallbackModel(LatencyModel):
    """A latency model, and analytic terms without corrections for the classes that it does not know.

    Most published predictors refuse a kernel of a class that was not measured. A planner must have some time for each.

    Parameters
    ----------
    model : LatencyModel
    work_groups : bool
        See `AnalyticModel`.
    """

    name: ClassVar[str] = "fallback"

    def __init__(self, model: LatencyModel, work_groups: bool = False):
        self.model = model
        self.work_groups = work_groups
        self.is_slow_to_fit = model.is_slow_to_fit

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`."""
        self.model.fit(kernels, seconds)
        terms = AnalyticModel(corrections=False, fallback=True, work_groups=self.work_groups)
        self.substitute_ = terms.fit(kernels, seconds)
        return self

    def for_device(self, device: str) -> Self:
        """See `LatencyModel.for_device`."""
        self.substitute_.for_device(device)
        return self

    def silence_warnings(self) -> Self:
        """See `LatencyModel.silence_warnings`."""
        self.substitute_.silence_warnings()
        return self

    def samples_of(self, w: Workload) -> int | None:
        """See `LatencyModel.samples_of`."""
        return self.substitute_.samples_of(w)

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        return (self.model if self.model.knows(w) else self.substitute_).predict_stacked(w)

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`; the arrays of the model are those of the whole."""
        inner = self.model.state()
        arrays = {ARRAYS: inner.pop(ARRAYS)} if ARRAYS in inner else {}
        inner = {"model": self.model.name, **inner}
        return {"work_groups": self.work_groups, "inner": inner, "substitute": self.substitute_.state(), **arrays}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        from .registry import model_from_state

        arrays = {ARRAYS: state[ARRAYS]} if ARRAYS in state else {}
        model = cls(model_from_state({**state["inner"], **arrays}), bool(state["work_groups"]))
        model.substitute_ = AnalyticModel.from_state(state["substitute"])
        return model
