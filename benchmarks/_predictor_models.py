"""The models of the predictors' bench: ours, sixteen of the literature, and how each moves to another device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks._predictor_measures import (
    Adapt,
    Choose,
    FitDevices,
    MakeKernelModel,
    predict_known,
    scale_by_class,
)
from tvm_coexec.cost_models import AnalyticModel, BoostedModel
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
from tvm_coexec.cost_models.models.graph import BRPNAS, HELP, NNLQP, BRPNASRanking, GPUGraph, LSTMLightGBM, TPULearned
from tvm_coexec.cost_models.models.graph.one_kernel import (
    BRPNASKernels,
    GPUGraphKernels,
    LSTMLightGBMKernels,
    NNLQPKernels,
)
from tvm_coexec.cost_models.models.moved import MovedModel, choose_informative
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
    fit_devices : callable or None
        Makes a model of kernels on several devices, given as pairs of workloads and seconds, for `adapt`; without it
        the model of each one is moved to the others.
    choose : callable or None
        Chooses the kernels to measure on another device, from such a model; without it those with typical shapes.
    is_slow : bool
        Whether its learning curve has fewer points, so that the bench ends in time.
    """

    name: str
    make: MakeKernelModel | None
    adapt: Adapt = scale_by_class
    make_network: Callable[[], NetworkModel] | None = None
    model: str = ""
    fit_devices: FitDevices | None = None
    choose: Choose | None = None
    is_slow: bool = False


# So that the whole bench ends in half an hour on one core; by default these models have several times as many epochs.
BOUNDS = {"epochs": 25, "max_fit_s": 15.0}


def _simple(name: str, cls: type, is_slow: bool = False) -> Predictor:
    return Predictor(name, lambda kind, groups: cls(), model=cls.name, is_slow=is_slow)


def _analytic() -> Predictor:
    def fit_devices(devices):
        return MovedModel([AnalyticModel().fit(workloads, seconds) for workloads, seconds in devices])

    def choose(model, candidates, count):
        return choose_informative(candidates, count, model.donors)

    return Predictor(
        AnalyticModel.name,
        lambda kind, groups: AnalyticModel(work_groups=groups),
        _fit_moved,
        model=AnalyticModel.name,
        fit_devices=fit_devices,
        choose=choose,
    )


def _fit_moved(model: MovedModel, workloads, seconds):
    moved = MovedModel(model.donors).fit(workloads, seconds)
    return lambda wanted: predict_known(moved, wanted, float(np.median(seconds)))


def adapt_model(model, workloads, seconds):
    """Move a model by its own method (see `scale_by_class` for the arguments)."""
    moved = model.adapt(workloads, seconds)
    return lambda wanted: predict_known(moved, wanted, float(np.median(seconds)))


def _graph(name: str, kernels: type, network: type) -> Predictor:
    """A model of whole networks, which predicts kernels as networks of one."""
    return Predictor(
        name, lambda kind, groups: kernels(BOUNDS, kind), adapt_model, _network(network), network.name, is_slow=True
    )


def _network(cls: type) -> Callable[[], NetworkModel]:
    return lambda: cls(**BOUNDS)


# In the order of the table: ours, then the others by age.
PREDICTORS = (
    _analytic(),
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
    _graph("BRP-NAS", BRPNASKernels, BRPNAS),
    Predictor("BRP-NAS, rank", None, make_network=_network(BRPNASRanking)),
    Predictor("TPU learned model", lambda kind, groups: TPULearned(**BOUNDS), model=TPULearned.name, is_slow=True),
    Predictor(
        "HELP",
        lambda kind, groups: HELP(**BOUNDS),
        adapt_model,
        model=HELP.name,
        fit_devices=lambda devices: HELP(**BOUNDS).fit_devices(devices),
        is_slow=True,
    ),
    _graph("LSTM + LightGBM", LSTMLightGBMKernels, LSTMLightGBM),
    _graph("NNLQP", NNLQPKernels, NNLQP),
    _graph("DNNPerf-like", GPUGraphKernels, GPUGraph),
)
