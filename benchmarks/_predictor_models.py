"""The models of the predictors' bench: ours, sixteen of the literature, and how each moves to another device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks._predictor_measures import Adapt, MakeKernelModel, scale_by_class
from tvm_coexec.cost_models import AnalyticModel, BoostedModel
from tvm_coexec.cost_models.models.adjust import transfer_model
from tvm_coexec.cost_models.models.baselines import (
    AutoTVM,
    CoDL,
    Halide,
    LinearFlops,
    LookupTable,
    NeuralPower,
    Neurosurgeon,
    NNMeter,
    Paleo,
    SporeFoba,
    SporeLasso,
)
from tvm_coexec.cost_models.models.network_base import NetworkModel


@dataclass(frozen=True)
class Predictor:
    """A row of the bench.

    Attributes
    ----------
    name : str
    make : callable or None
        Makes an unfitted model of kernels; `None` for models of whole networks.
    adapt : callable
        Moves a fitted model to another device.
    make_network : callable or None
        Makes an unfitted model of whole networks.
    model : str
        Name of the kernels' model in `registry.MODELS`, for profiles; empty if no profile can have it.
    is_slow : bool
        Whether its learning curve has fewer points, so that the bench ends in time.
    """

    name: str
    make: MakeKernelModel | None
    adapt: Adapt = scale_by_class
    make_network: Callable[[], NetworkModel] | None = None
    model: str = ""
    is_slow: bool = False


def _transfer(model, workloads, seconds):
    return transfer_model(model, workloads, seconds).predict


def _simple(name: str, cls: type, is_slow: bool = False) -> Predictor:
    return Predictor(name, lambda kind, groups: cls(), model=cls.name, is_slow=is_slow)


def _analytic(name: str, max_bytes: int, model: str = "") -> Predictor:
    return Predictor(name, lambda kind, groups: AnalyticModel(max_bytes, work_groups=groups), _transfer, model=model)


# In the order of the table: ours, then the others by age.
PREDICTORS = (
    _analytic("analytic", 4096),
    _analytic("analytic, 8 kB", 8192, "analytic"),  # as in profiles
    Predictor("boosted", lambda kind, groups: BoostedModel(work_groups=groups), model="boosted"),
    _simple("linear FLOPs", LinearFlops),
    _simple("SPORE-LASSO", SporeLasso),
    _simple("SPORE-FoBa", SporeFoba),
    _simple("Neurosurgeon, muLayer", Neurosurgeon),
    _simple("Paleo", Paleo),
    _simple("NeuralPower", NeuralPower, is_slow=True),
    _simple("AutoTVM, regression", AutoTVM),
    Predictor("AutoTVM, rank", lambda kind, groups: AutoTVM("rank"), is_slow=True),
    _simple("look-up table", LookupTable),
    _simple("Halide", Halide),
    _simple("nn-Meter", NNMeter, is_slow=True),
    Predictor("CoDL", lambda kind, groups: CoDL(kind), model=CoDL.name),
)
