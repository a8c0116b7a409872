"""Latency predictors from the literature with the same interface, for comparison."""

from .autotvm import AutoTVM
from .codl import CoDL
from .halide import Halide
from .linear import LinearFlops, Neurosurgeon
from .lookup import LookupTable
from .neuralpower import NeuralPower
from .nnmeter import NNMeter
from .paleo import Paleo
from .spore import SporeFoba, SporeLasso

BASELINES = (
    *(LinearFlops, Neurosurgeon, CoDL, LookupTable, NeuralPower, AutoTVM),
    *(NNMeter, Paleo, SporeLasso, SporeFoba, Halide),
)

__all__ = [
    "BASELINES",
    "AutoTVM",
    "CoDL",
    "Halide",
    "LinearFlops",
    "LookupTable",
    "NNMeter",
    "NeuralPower",
    "Neurosurgeon",
    "Paleo",
    "SporeFoba",
    "SporeLasso",
]
