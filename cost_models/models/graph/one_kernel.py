"""Network models as latency models: a kernel is a network of one node."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from ...device_parameters import DeviceParameters
from ...features.graphs import GraphFeatures, describe_workloads
from ...features.workload import Workload, Workloads
from ..base import LatencyModel, check_samples, unknown_class_error
from .brp_nas import BRPNAS
from .gpu_graph import GPUGraph
from .lstm_lightgbm import LSTMLightGBM
from .neural import NeuralNetworkModel
from .nnlqp import NNLQP


class OneKernelModel(LatencyModel):
    """Predicts kernels by a network model that is fitted to networks of one kernel.

    Parameters
    ----------
    options : dict, optional
        Arguments of the network model.
    device : str
        Of the features (see `describe_graph`).
    parameters : dict, optional
        The device's parameters (see `DeviceParameters.to_json`).
    """

    network_class: ClassVar[type[NeuralNetworkModel]]
    is_slow_to_fit = True

    def __init__(
        self, options: dict[str, Any] | None = None, device: str = "cpu", parameters: dict[str, Any] | None = None
    ):
        self._options, self.device, self.parameters = dict(options or {}), device, dict(parameters or {})

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`."""
        groups, y = check_samples(kernels, seconds)
        network = self.network_class(**self._options).fit(self._describe(kernels), y)
        self.network_, self.kinds_ = network, sorted({w.kind for w, _ in groups})
        return self

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`: algorithms that were not measured are predicted like others of their kind."""
        return w.kind in self.kinds_

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        if not self.knows(w):
            raise unknown_class_error(self, w.key, self.kinds_)
        return self.network_.predict(self._describe(w))

    def adapt(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """Return a model of another device: this one, fine-tuned to a few kernels that were measured there.

        Parameters
        ----------
        kernels : Workload or sequence of Workload
        seconds : array, shape (n,)

        Returns
        -------
        OneKernelModel
            A new model; this one is not changed.
        """
        self.check_fitted()
        groups, y = check_samples(kernels, seconds)
        made = type(self)(**self.options())
        made.kinds_ = sorted({*self.kinds_, *(w.kind for w, _ in groups)})
        made.network_ = self.network_.adapt(self._describe(kernels), y)
        return made

    def _describe(self, kernels: Workloads) -> list[GraphFeatures]:
        known = DeviceParameters.from_json(self.parameters) if self.parameters else None
        return describe_workloads(kernels, self.device, known)

    def options(self) -> dict[str, Any]:
        """See `SavedModel.options`."""
        return {"options": self._options, "device": self.device, "parameters": self.parameters}

    def state(self) -> dict[str, Any]:
        """See `SavedModel.state`; the arrays are the network model's."""
        inside = self.network_.state()
        arrays = inside.pop("arrays")
        return {"options": self.options(), "kinds": self.kinds_, "network": inside, "arrays": arrays}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `SavedModel.from_state`."""
        model = cls(**state["options"])
        model.kinds_ = [str(k) for k in state["kinds"]]
        model.network_ = cls.network_class.from_state({**state["network"], "arrays": state["arrays"]})
        return model


class BRPNASKernels(OneKernelModel):
    """`BRPNAS` on single kernels."""

    name: ClassVar[str] = BRPNAS.name
    network_class = BRPNAS


class GPUGraphKernels(OneKernelModel):
    """`GPUGraph` on single kernels."""

    name: ClassVar[str] = GPUGraph.name
    network_class = GPUGraph


class LSTMLightGBMKernels(OneKernelModel):
    """`LSTMLightGBM` on the operators of single kernels."""

    name: ClassVar[str] = LSTMLightGBM.name
    network_class = LSTMLightGBM


class NNLQPKernels(OneKernelModel):
    """`NNLQP` on single kernels."""

    name: ClassVar[str] = NNLQP.name
    network_class = NNLQP
