"""What the models that are fitted by PyTorch share: their state, and the training options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from typing_extensions import Self

from ...features.graphs import GraphFeatures
from ..network_base import NetworkModel, check_networks
from ..saved import SavedModel
from ..state_files import take_array
from .batches import Scale, scale_times, to_seconds
from .ops import NUMPY, Array, Ops, Parameters, TorchOps
from .training import Training, train


class Neural(SavedModel):
    """A model whose fitted state is scales, parameters, and the mean and spread of the logarithms of times."""

    epochs: int
    rate: float
    seed: int
    max_fit_s: float

    scales_: dict[str, Scale]
    parameters_: Parameters
    times_: list[float]

    def training(self, **changes: Any) -> Training:
        """Return the options of the training."""
        options = {"epochs": self.epochs, "rate": self.rate, "seed": self.seed, "max_fit_s": self.max_fit_s}
        return Training(**(options | changes))

    @abstractmethod
    def scale_sizes(self) -> dict[str, int]:
        """Return the number of columns of each scale."""

    @abstractmethod
    def initial_parameters(self) -> Parameters:
        """Return parameters to start from; their names and shapes are those of the fitted ones."""

    def state(self) -> dict[str, Any]:
        """See `SavedModel.state`."""
        arrays: dict[str, np.ndarray] = {}
        for name, scale in self.scales_.items():
            arrays |= scale.to_arrays(f"scale.{name}")
        return {"options": self.options(), "times": self.times_, "arrays": arrays | self.parameters_}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `SavedModel.from_state`."""
        model = cls(**state["options"])
        model.read_extra(state)
        model.times_ = [float(v) for v in state["times"]]
        if len(model.times_) != 2 or not np.isfinite(model.times_).all():
            raise ValueError(f"times {state['times']}")
        model.scales_ = {n: Scale.from_state(state, f"scale.{n}", k) for n, k in model.scale_sizes().items()}
        wanted = model.initial_parameters()
        model.parameters_ = {n: take_array(state, n, np.shape(a)) for n, a in wanted.items()}
        return model

    def read_extra(self, state: dict[str, Any]) -> None:
        """Read fitted attributes that the shapes of parameters depend on."""

    def double_parameters(self) -> Parameters:
        """Return the parameters in double precision, for prediction."""
        return {n: NUMPY.array(a) for n, a in self.parameters_.items()}


class NeuralNetworkModel(Neural, NetworkModel):
    """A network model with one forward pass for fitting and predicting."""

    _CHUNK = 4096  # nodes that are predicted at a time, so that memory is bounded

    def fit(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> Self:
        """See `NetworkModel.fit`."""
        y = check_networks(graphs, seconds)
        self.fit_scales(graphs)
        target, self.times_ = scale_times(y)
        self.parameters_ = self.train_on(self.initial_parameters(), graphs, target, self.training())
        return self

    @abstractmethod
    def fit_scales(self, graphs: Sequence[GraphFeatures]) -> None:
        """Set `scales_`."""

    @abstractmethod
    def prepare(self, graphs: Sequence[GraphFeatures]) -> Any:
        """Return the standardised inputs of some graphs."""

    @abstractmethod
    def forward(self, ops: Ops, parameters: Parameters, inputs: Any) -> Array:
        """Return the standardised logarithms of times, shape (n,)."""

    def train_on(
        self, start: Parameters, graphs: Sequence[GraphFeatures], target: np.ndarray, how: Training
    ) -> Parameters:
        """Return parameters that were trained on mean squared errors."""
        ops = TorchOps()

        def loss(parameters: Parameters, rows: np.ndarray) -> Array:
            inputs = self.prepare([graphs[i] for i in rows])
            return ((self.forward(ops, parameters, inputs) - ops.array(target[rows])) ** 2).mean()

        return train(start, loss, len(graphs), how, self.name)

    def adapt(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> Self:
        """Return a model of another device: this one, fine-tuned to a few networks that were measured there.

        Parameters
        ----------
        graphs : sequence of GraphFeatures
        seconds : array, shape (n,)

        Returns
        -------
        NetworkModel
            A new model; this one is not changed.
        """
        self.check_fitted()
        y = check_networks(graphs, seconds)
        made = type(self).from_state(self.state())
        shift = float(np.median(np.log(y / self.predict(graphs))))
        made.times_ = [self.times_[0] + shift, self.times_[1]]
        target = (np.log(y) - made.times_[0]) / made.times_[1]
        made.parameters_ = made.train_on(made.parameters_, graphs, target, self.training(rate=self.rate / 10))
        return made

    def predict(self, graphs: Sequence[GraphFeatures]) -> np.ndarray:
        """See `NetworkModel.predict`."""
        self.check_fitted()
        parameters = self.double_parameters()
        found = [self.forward(NUMPY, parameters, self.prepare(part)) for part in self._chunks(graphs)]
        return to_seconds(np.concatenate(found), self.times_) if found else np.empty(0)

    def _chunks(self, graphs: Sequence[GraphFeatures]) -> list[Sequence[GraphFeatures]]:
        if not len(graphs):
            return []
        ends = np.cumsum([len(g.nodes) for g in graphs]) // self._CHUNK
        starts = np.flatnonzero(np.diff(ends, prepend=-1)).tolist()
        return [graphs[a:b] for a, b in zip(starts, [*starts[1:], len(graphs)], strict=True)]
