"""Cost models: latency models, and the costs through which the planner uses them. Nothing here imports TVM."""

from .corrected import CorrectedCosts
from .costs import AnalyticCosts, Costs, Link, Roofline
from .dataset import Sample, Samples, read_samples
from .device_parameters import DeviceParameters
from .features.describe import describe
from .features.graphs import GraphFeatures, describe_graph, describe_workloads
from .features.shares import describe_shares
from .features.workload import Workload
from .fit_profile import fit_profile, refine_profile, transfer_profile
from .measured import MeasuredCosts, ShareKey
from .models.analytic import AnalyticModel
from .models.base import LatencyModel
from .models.boosted import BoostedModel
from .models.network_base import NetworkModel
from .models.registry import MODELS, NETWORK_MODELS, load_model, load_network_model
from .power import Power, Reading
from .profile import Profile
from .profile_costs import NetworkCorrection
from .tuned import KernelTime, TunedCosts, load_costs, load_profile

__all__ = [
    "MODELS",
    "NETWORK_MODELS",
    "AnalyticCosts",
    "AnalyticModel",
    "BoostedModel",
    "CorrectedCosts",
    "Costs",
    "DeviceParameters",
    "GraphFeatures",
    "KernelTime",
    "LatencyModel",
    "Link",
    "MeasuredCosts",
    "NetworkCorrection",
    "NetworkModel",
    "Power",
    "Profile",
    "Reading",
    "Roofline",
    "Sample",
    "Samples",
    "ShareKey",
    "TunedCosts",
    "Workload",
    "describe",
    "describe_graph",
    "describe_shares",
    "describe_workloads",
    "fit_profile",
    "load_costs",
    "load_model",
    "load_network_model",
    "load_profile",
    "read_samples",
    "refine_profile",
    "transfer_profile",
]
