"""Predictors from the literature that are networks over graphs or sequences, fitted with PyTorch."""

from __future__ import annotations

from ..base import LatencyModel
from ..network_base import NetworkModel

GRAPH_KERNEL_MODELS: tuple[type[LatencyModel], ...] = ()
GRAPH_NETWORK_MODELS: tuple[type[NetworkModel], ...] = ()

__all__ = ["GRAPH_KERNEL_MODELS", "GRAPH_NETWORK_MODELS"]
