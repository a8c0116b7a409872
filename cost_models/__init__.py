"""Latency models and the costs that planners ask for. Nothing here imports TVM."""

from .analytic import AnalyticModel
from .base import LatencyModel
from .boosted import BoostedModel
from .costs import AnalyticCosts, Costs, Link, Roofline
from .describe import describe, describe_shares
from .measured import MeasuredCosts
from .models import MODELS, load_model
from .power import Power, Reading
from .profile import NetworkCorrection, Profile, load_costs
from .samples import Sample, Samples, read_samples
from .workload import Workload

__all__ = [
    "MODELS",
    "AnalyticCosts",
    "AnalyticModel",
    "BoostedModel",
    "Costs",
    "LatencyModel",
    "Link",
    "MeasuredCosts",
    "NetworkCorrection",
    "Power",
    "Profile",
    "Reading",
    "Roofline",
    "Sample",
    "Samples",
    "Workload",
    "describe",
    "describe_shares",
    "load_costs",
    "load_model",
    "read_samples",
]
