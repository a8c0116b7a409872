"""Predictors from the literature that are networks over graphs or sequences, fitted with PyTorch."""

from __future__ import annotations

from ..base import LatencyModel
from ..network_base import NetworkModel
from .brp_nas import BRPNAS, BRPNASRanking
from .gpu_graph import GPUGraph
from .help import HELP
from .lstm_lightgbm import LSTMLightGBM
from .nnlqp import NNLQP
from .one_kernel import BRPNASKernels, GPUGraphKernels, LSTMLightGBMKernels, NNLQPKernels, OneKernelModel
from .tpu import TPULearned

GRAPH_KERNEL_MODELS: tuple[type[LatencyModel], ...] = (
    BRPNASKernels,
    TPULearned,
    HELP,
    LSTMLightGBMKernels,
    GPUGraphKernels,
    NNLQPKernels,
)
GRAPH_NETWORK_MODELS: tuple[type[NetworkModel], ...] = (BRPNAS, BRPNASRanking, LSTMLightGBM, GPUGraph, NNLQP)

__all__ = [
    "BRPNAS",
    "GRAPH_KERNEL_MODELS",
    "GRAPH_NETWORK_MODELS",
    "HELP",
    "NNLQP",
    "BRPNASRanking",
    "GPUGraph",
    "LSTMLightGBM",
    "OneKernelModel",
    "TPULearned",
]
