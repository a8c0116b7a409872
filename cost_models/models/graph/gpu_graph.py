"""A graph network over kernels and the tensors between them, with the parameters of the device as features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...features.graphs import DEVICE_COLUMNS, EDGE_COLUMNS, NETWORK_COLUMNS, NODE_COLUMNS, GraphFeatures
from .batches import Batch, Scale, join_graphs, network_table
from .layers import add_perceptron, perceptron
from .neural import NeuralNetworkModel
from .ops import Array, Ops, Parameters, add_dense, dense

_SUM_SCALE = 1 / 32  # sums over tens of nodes have the scale of the other inputs


class GPUGraph(NeuralNetworkModel):
    """Latency of a whole network by a graph network that sees the device's parameters.

    After DNNPerf (Gao et al., ICSE-SEIP 2023): nodes are operators with their shapes and FLOPs, edges the tensors
    between them with their bytes, and node and edge embeddings update each other: a message is computed from the
    producer and the edge, attention weights the messages that a node receives, and an edge is updated from its ends.
    The sum over the nodes, the network's totals and the device's peak rate, bandwidth, cores, clock and caches go into
    a perceptron. Fitted to networks on several devices it predicts another one by its parameters; `adapt` fine-tunes
    it.

    Parameters
    ----------
    width, layers : int
    epochs, rate, seed, max_fit_s
        See `Training`.
    """

    name: ClassVar[str] = "gpu_graph"

    def __init__(
        self,
        width: int = 48,
        layers: int = 2,
        epochs: int = 200,
        rate: float = 3e-3,
        seed: int = 0,
        max_fit_s: float = 600.0,
    ):
        self.width, self.layers = width, layers
        self.epochs, self.rate, self.seed, self.max_fit_s = epochs, rate, seed, max_fit_s

    def scale_sizes(self) -> dict[str, int]:
        """See `Neural.scale_sizes`."""
        whole = len(NETWORK_COLUMNS) + len(DEVICE_COLUMNS)
        return {"nodes": len(NODE_COLUMNS), "edges": len(EDGE_COLUMNS), "network": whole}

    def initial_parameters(self) -> Parameters:
        """See `Neural.initial_parameters`."""
        rng, width = np.random.default_rng(self.seed), self.width
        found: Parameters = {}
        add_dense(found, rng, "node", len(NODE_COLUMNS) + len(DEVICE_COLUMNS), width)
        add_dense(found, rng, "edge", len(EDGE_COLUMNS), width)
        for i in range(self.layers):
            add_dense(found, rng, f"message{i}", 2 * width, width)
            add_dense(found, rng, f"attention{i}", 2 * width, 1)
            add_dense(found, rng, f"update{i}", 2 * width, width)
            add_dense(found, rng, f"edge{i}", 3 * width, width)
        add_perceptron(found, rng, "out", [width + self.scale_sizes()["network"], width, 1])
        return found

    def fit_scales(self, graphs: Sequence[GraphFeatures]) -> None:
        """See `NeuralNetworkModel.fit_scales`."""
        self.scales_ = {
            "nodes": Scale.of(np.concatenate([g.nodes for g in graphs])),
            "edges": Scale.of(np.concatenate([g.edge_values for g in graphs])),
            "network": Scale.of(network_table(graphs, device=True)),
        }

    def prepare(self, graphs: Sequence[GraphFeatures]) -> tuple[np.ndarray, np.ndarray, np.ndarray, Batch]:
        """See `NeuralNetworkModel.prepare`."""
        batch = join_graphs(graphs)
        whole = self.scales_["network"].apply(network_table(graphs, device=True))
        device = whole[:, len(NETWORK_COLUMNS) :][batch.graph]
        nodes = np.concatenate([self.scales_["nodes"].apply(batch.nodes), device], 1)
        return nodes, self.scales_["edges"].apply(batch.edges), whole, batch

    def forward(self, ops: Ops, parameters: Parameters, inputs: Any) -> Array:
        """See `NeuralNetworkModel.forward`."""
        nodes, edges, whole, batch = inputs
        x = ops.relu(dense(parameters, "node", ops.array(nodes)))
        e = ops.relu(dense(parameters, "edge", ops.array(edges)))
        for i in range(self.layers):
            x, e = self._exchange(ops, parameters, i, x, e, batch)
        summed = ops.segment_sum(x, batch.graph, batch.count) * _SUM_SCALE
        return perceptron(ops, parameters, "out", ops.concat([summed, ops.array(whole)]), 2)[:, 0]

    def _exchange(
        self, ops: Ops, parameters: Parameters, i: int, x: Array, e: Array, batch: Batch
    ) -> tuple[Array, Array]:
        """Update nodes by weighted messages along their edges, then the edges by their ends."""
        along = ops.concat([x[batch.source], e])
        message = ops.relu(dense(parameters, f"message{i}", along))
        gate = ops.sigmoid(dense(parameters, f"attention{i}", along))
        received = ops.segment_sum(message * gate, batch.target, x.shape[0])
        weight = ops.segment_sum(gate, batch.target, x.shape[0])
        updated = ops.relu(dense(parameters, f"update{i}", ops.concat([x, received / (weight + 1e-3)])))
        ends = ops.concat([updated[batch.source], updated[batch.target], e])
        return x + updated, ops.relu(dense(parameters, f"edge{i}", ends))
