"""NNLQP: one graph embedding for all devices, and a head for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError

from ...features.graphs import NETWORK_COLUMNS, NODE_COLUMNS, GraphFeatures
from ..network_base import check_networks
from .batches import Batch, Scale, join_graphs, network_table, scale_times
from .layers import add_perceptron, add_sage, perceptron, sage
from .neural import NeuralNetworkModel
from .ops import Array, Ops, Parameters, TorchOps
from .training import train

DEVICE = "device"  # the name of the head of a model that is fitted to one device


class NNLQP(NeuralNetworkModel):
    """Latency of a whole network by a graph embedding that devices share, and a small network for each.

    Liu et al. (ICPP 2022): GraphSAGE over nodes with one-hot operators and shapes, the sum over the
    nodes, static features of the network (FLOPs, parameters, memory accesses, batch), and a head of two layers for each
    device. A new device has a new head, and everything is fine-tuned. The paper's GraphSAGE has 2 layers of 512.

    Parameters
    ----------
    width, layers : int
        Of GraphSAGE.
    head : int
        Hidden units of a head.
    epochs, rate, seed, max_fit_s
        See `Training`.

    Attributes
    ----------
    devices_ : dict of str to (float, float)
        Devices that have a head, each with the mean and spread of the logarithms of its times.
    device : str
        The device that `predict` predicts (see `for_device`).
    """

    name: ClassVar[str] = "nnlqp"

    def __init__(
        self,
        width: int = 64,
        layers: int = 2,
        head: int = 32,
        epochs: int = 200,
        rate: float = 3e-3,
        seed: int = 0,
        max_fit_s: float = 600.0,
    ):
        self.width, self.layers, self.head = width, layers, head
        self.epochs, self.rate, self.seed, self.max_fit_s = epochs, rate, seed, max_fit_s
        self.device = DEVICE

    def scale_sizes(self) -> dict[str, int]:
        """See `Neural.scale_sizes`."""
        return {"nodes": len(NODE_COLUMNS), "network": len(NETWORK_COLUMNS)}

    def initial_parameters(self) -> Parameters:
        """See `Neural.initial_parameters`."""
        rng = np.random.default_rng(self.seed)
        found: Parameters = {}
        for i in range(self.layers):
            add_sage(found, rng, f"sage{i}", self.width if i else len(NODE_COLUMNS), self.width)
        for device in self.devices_:
            self._add_head(found, device)
        return found

    def _add_head(self, parameters: Parameters, device: str) -> None:
        sizes = [self.width + len(NETWORK_COLUMNS), self.head, 1]
        add_perceptron(parameters, np.random.default_rng(self.seed + 1), f"head.{device}.", sizes)

    def fit(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> Self:
        """See `NetworkModel.fit`."""
        return self.fit_devices({DEVICE: (graphs, seconds)})

    def fit_devices(self, measured: Mapping[str, tuple[Sequence[GraphFeatures], np.ndarray]]) -> Self:
        """Fit to networks that were measured on several devices.

        Parameters
        ----------
        measured : mapping of str to (sequence of GraphFeatures, array)
            Networks and their seconds, by device.
        """
        times = {device: check_networks(*pair) for device, pair in measured.items()}
        if not times:
            raise CoExecError("there are no measured networks to fit a network model to")
        graphs = [g for pair in measured.values() for g in pair[0]]
        heads = np.concatenate([np.full(len(y), i) for i, y in enumerate(times.values())])
        self.fit_scales(graphs)
        scaled = {device: scale_times(y) for device, y in times.items()}
        self.devices_ = {device: found for device, (_, found) in scaled.items()}
        target = np.concatenate([t for t, _ in scaled.values()])
        self.parameters_ = self._train(self.initial_parameters(), graphs, target, heads)
        return self.for_device(next(iter(self.devices_)))

    def _train(
        self, start: Parameters, graphs: Sequence[GraphFeatures], target: np.ndarray, heads: np.ndarray, **changes: Any
    ) -> Parameters:
        ops, names = TorchOps(), list(self.devices_)

        def loss(parameters: Parameters, rows: np.ndarray) -> Array:
            embedded = self._embed(ops, parameters, self.prepare([graphs[i] for i in rows]))
            total: Any = 0.0
            for k in np.unique(heads[rows]):
                own = np.flatnonzero(heads[rows] == k)
                found = perceptron(ops, parameters, f"head.{names[k]}.", embedded[own], 2)[:, 0]
                total = total + ((found - ops.array(target[rows[own]])) ** 2).sum()
            return total / len(rows)

        return train(start, loss, len(graphs), self.training(**changes), self.name)

    def for_device(self, device: str) -> Self:
        """Set the device that `predict` predicts; return the model itself."""
        self.check_fitted()
        if device not in self.devices_:
            raise CoExecError(f"the model '{self.name}' has no device '{device}'; it has: {', '.join(self.devices_)}")
        self.device, self.times_ = device, self.devices_[device]
        return self

    def adapt(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray, device: str = "adapted") -> Self:
        """Return a model with a head for another device, fine-tuned to a few networks that were measured there.

        The head starts as that of the present device, with its times shifted.

        Parameters
        ----------
        graphs : sequence of GraphFeatures
        seconds : array, shape (n,)
        device : str
            Name of the new device.
        """
        self.check_fitted()
        y = check_networks(graphs, seconds)
        made = type(self).from_state(self.state())
        shift = float(np.median(np.log(y / self.predict(graphs))))
        start = dict(made.parameters_)
        for name, a in self.parameters_.items():
            if name.startswith(f"head.{self.device}."):
                start[name.replace(f"head.{self.device}.", f"head.{device}.", 1)] = a
        made.devices_[device] = [self.times_[0] + shift, self.times_[1]]
        target = (np.log(y) - made.devices_[device][0]) / made.devices_[device][1]
        heads = np.full(len(y), list(made.devices_).index(device))
        made.parameters_ = made._train(start, graphs, target, heads, rate=self.rate / 10)
        return made.for_device(device)

    def fit_scales(self, graphs: Sequence[GraphFeatures]) -> None:
        """See `NeuralNetworkModel.fit_scales`."""
        self.scales_ = {
            "nodes": Scale.of(np.concatenate([g.nodes for g in graphs])),
            "network": Scale.of(network_table(graphs, device=False)),
        }

    def prepare(self, graphs: Sequence[GraphFeatures]) -> tuple[np.ndarray, np.ndarray, Batch]:
        """See `NeuralNetworkModel.prepare`."""
        batch = join_graphs(graphs)
        static = self.scales_["network"].apply(network_table(graphs, device=False))
        return self.scales_["nodes"].apply(batch.nodes), static, batch

    def _embed(self, ops: Ops, parameters: Parameters, inputs: tuple[np.ndarray, np.ndarray, Batch]) -> Array:
        nodes, static, batch = inputs
        x = ops.array(nodes)
        for i in range(self.layers):
            x = ops.normalise(sage(ops, parameters, f"sage{i}", x, batch.source, batch.target, both=True))
        return ops.concat([ops.segment_sum(x, batch.graph, batch.count), ops.array(static)])

    def forward(self, ops: Ops, parameters: Parameters, inputs: Any) -> Array:
        """See `NeuralNetworkModel.forward`."""
        return perceptron(ops, parameters, f"head.{self.device}.", self._embed(ops, parameters, inputs), 2)[:, 0]

    def state(self) -> dict[str, Any]:
        """See `Neural.state`."""
        return {**super().state(), "device": self.device, "devices": self.devices_}

    def read_extra(self, state: dict[str, Any]) -> None:
        """See `Neural.read_extra`."""
        self.devices_ = {str(n): [float(v) for v in times] for n, times in state["devices"].items()}
        self.device = str(state["device"])
        if self.device not in self.devices_:
            raise ValueError(f"device {self.device!r}")
