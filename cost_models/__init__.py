"""Latency models and the costs that planners ask for. Nothing here imports TVM."""

from .costs import AnalyticCosts, Costs, Link, Roofline
from .measured import MeasuredCosts

__all__ = ["AnalyticCosts", "Costs", "Link", "MeasuredCosts", "Roofline"]
