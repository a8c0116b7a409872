"""Cost models: latency models, and the costs through which the planner uses them. Nothing here imports TVM."""

from .costs import AnalyticCosts, Costs, Link, Roofline
from .dataset import Sample, Samples, read_samples
from .features.describe import describe
from .features.shares import describe_shares
from .features.workload import Workload
from .fit_profile import fit_profile, refine_profile, transfer_profile
from .measured import MeasuredCosts
from .models.analytic import AnalyticModel
from .models.base import LatencyModel
from .models.boosted import BoostedModel
from .models.registry import MODELS, load_model
from .power import Power, Reading
from .profile import Profile
from .profile_costs import NetworkCorrection
from .tuned import KernelTime, TunedCosts, load_costs

__all__ = [
    "MODELS",
    "AnalyticCosts",
    "AnalyticModel",
    "BoostedModel",
    "Costs",
    "KernelTime",
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
    "TunedCosts",
    "Workload",
    "describe",
    "describe_shares",
    "fit_profile",
    "load_costs",
    "load_model",
    "read_samples",
    "refine_profile",
    "transfer_profile",
]
