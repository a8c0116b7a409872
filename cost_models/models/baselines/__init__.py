"""Latency predictors from the literature with the same interface, for comparison."""

from .codl import CoDL
from .linear import LinearFlops, Neurosurgeon
from .lookup import LookupTable
from .neuralpower import NeuralPower
from .xgb import RawXGBoost

BASELINES = (LinearFlops, Neurosurgeon, CoDL, LookupTable, NeuralPower, RawXGBoost)

__all__ = ["BASELINES", "CoDL", "LinearFlops", "LookupTable", "NeuralPower", "Neurosurgeon", "RawXGBoost"]
