"""BRP-NAS: a graph convolutional network predicts a network's latency, or which of two networks is faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from ...features.graphs import ALGORITHM_BUCKETS, NODE_COLUMNS, GraphFeatures
from ...features.workload import KINDS
from ..network_base import check_networks
from ..state_files import take_array
from .batches import Batch, Scale, join_graphs, scale_times, to_seconds
from .neural import NeuralNetworkModel
from .ops import NUMPY, Array, Ops, Parameters, TorchOps, add_dense, dense
from .training import train

_ONE_HOT = len(KINDS) + ALGORITHM_BUCKETS


class BRPNAS(NeuralNetworkModel):
    """Latency of a whole network by a graph convolutional network.

    Dudziak et al. (NeurIPS 2020): layers of graph convolutions (Kipf and Welling, ICLR 2017) along the data
    flow, a global node that all nodes are connected to, and a linear layer on its embedding. The paper has 4 layers of
    600 and nodes with one-hot operators alone, since in its search space shapes follow from the position; `width=600`,
    ``shapes=False`` is that.

    Parameters
    ----------
    width, layers : int
    shapes : bool
        Whether nodes have their shapes.
    epochs, rate, seed, max_fit_s
        See `Training`.
    """

    name: ClassVar[str] = "brp_nas"

    def __init__(
        self,
        width: int = 64,
        layers: int = 4,
        shapes: bool = True,
        epochs: int = 200,
        rate: float = 3e-3,
        seed: int = 0,
        max_fit_s: float = 600.0,
    ):
        self.width, self.layers, self.shapes = width, layers, shapes
        self.epochs, self.rate, self.seed, self.max_fit_s = epochs, rate, seed, max_fit_s

    def scale_sizes(self) -> dict[str, int]:
        """See `Neural.scale_sizes`."""
        return {"nodes": len(NODE_COLUMNS) if self.shapes else _ONE_HOT}

    def initial_parameters(self) -> Parameters:
        """See `Neural.initial_parameters`."""
        rng = np.random.default_rng(self.seed)
        found: Parameters = {}
        # the global node's column is the last
        sizes = [self.scale_sizes()["nodes"] + 1, *[self.width] * self.layers]
        for i in range(self.layers):
            add_dense(found, rng, f"layer{i}", sizes[i], sizes[i + 1])
        add_dense(found, rng, "out", self.width, 1)
        return found

    def fit_scales(self, graphs: Sequence[GraphFeatures]) -> None:
        """See `NeuralNetworkModel.fit_scales`."""
        self.scales_ = {"nodes": Scale.of(np.concatenate([self._nodes(g) for g in graphs]))}

    def prepare(self, graphs: Sequence[GraphFeatures]) -> tuple[np.ndarray, Batch, np.ndarray]:
        """Return the nodes with a global node for each graph, the edges to it as well, and the weight of each edge."""
        batch = join_graphs(graphs)
        count, total = len(batch.nodes), len(batch.nodes) + batch.count
        nodes = np.zeros((total, self.scale_sizes()["nodes"] + 1))
        nodes[:count, :-1] = self.scales_["nodes"].apply(batch.nodes[:, : nodes.shape[1] - 1])
        nodes[count:, -1] = 1.0
        source = np.concatenate([batch.source, np.arange(count), np.arange(total)])
        target = np.concatenate([batch.target, count + batch.graph, np.arange(total)])
        degree = np.bincount(target, minlength=total).astype(float)
        weight = 1.0 / np.sqrt(degree[source] * degree[target])
        return nodes, Batch(nodes, source, target, batch.edges, batch.graph, batch.count), weight[:, None]

    def embed(self, ops: Ops, parameters: Parameters, inputs: tuple[np.ndarray, Batch, np.ndarray]) -> Array:
        """Return the embedding of each graph: that of its global node, shape (n, width)."""
        nodes, batch, weight = inputs
        x, w = ops.array(nodes), ops.array(weight)
        for i in range(self.layers):
            mixed = ops.segment_sum(x[batch.source] * w, batch.target, len(nodes))
            x = ops.relu(dense(parameters, f"layer{i}", mixed))
        return x[len(nodes) - batch.count :]

    def forward(self, ops: Ops, parameters: Parameters, inputs: Any) -> Array:
        """See `NeuralNetworkModel.forward`."""
        return dense(parameters, "out", self.embed(ops, parameters, inputs))[:, 0]

    def _nodes(self, g: GraphFeatures) -> np.ndarray:
        return g.nodes if self.shapes else g.nodes[:, :_ONE_HOT]


class BRPNASRanking(BRPNAS):
    """Which of two networks is faster, by the binary-relation predictor.

    Dudziak et al. (NeurIPS 2020): both networks have an embedding by the same graph convolutional network; a
    linear layer on both gives the probability that the first one takes longer. Networks are ranked by the sum of these
    probabilities against all others. Seconds are those of the reference networks, which training kept, at the quantile
    of the references that a network takes longer than.

    Parameters
    ----------
    references : int
        Number of networks that are kept.
    pairs : int
        Pairs of networks in a step, times the networks in it.
    width, layers, shapes, epochs, rate, seed, max_fit_s
        See `BRPNAS`.
    """

    name: ClassVar[str] = "brp_nas_rank"

    def __init__(
        self,
        references: int = 32,
        pairs: int = 8,
        width: int = 64,
        layers: int = 4,
        shapes: bool = True,
        epochs: int = 200,
        rate: float = 3e-3,
        seed: int = 0,
        max_fit_s: float = 600.0,
    ):
        super().__init__(width, layers, shapes, epochs, rate, seed, max_fit_s)
        self.references, self.pairs = references, pairs

    def initial_parameters(self) -> Parameters:
        """See `Neural.initial_parameters`."""
        found = super().initial_parameters()
        del found["out.w"], found["out.b"]
        add_dense(found, np.random.default_rng(self.seed + 1), "compare", 2 * self.width, 1)
        return found

    def fit(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> Self:
        """See `NetworkModel.fit`."""
        y = check_networks(graphs, seconds)
        self.fit_scales(graphs)
        _, self.times_ = scale_times(y)
        self.parameters_ = self._train(graphs, y)
        order = np.argsort(y, kind="stable")
        kept = order[np.linspace(0, len(y) - 1, min(self.references, len(y))).round().astype(int)]
        self.reference_seconds_ = y[kept]
        self.reference_embeddings_ = self._embed([graphs[i] for i in kept]).astype(np.float32)
        return self

    def _train(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> Parameters:
        ops, rng = TorchOps(), np.random.default_rng(self.seed + 2)

        def loss(parameters: Parameters, rows: np.ndarray) -> Array:
            embedded = self.embed(ops, parameters, self.prepare([graphs[i] for i in rows]))
            first, second = rng.integers(0, len(rows), (2, self.pairs * len(rows)))
            slower = np.sign(seconds[rows[first]] - seconds[rows[second]])
            margin = self._compare(ops, parameters, embedded[first], embedded[second])
            # binary cross-entropy; equal times count half for each
            wanted = ops.array(0.5 + 0.5 * slower)
            probability = ops.sigmoid(margin)
            return -(wanted * (probability + 1e-7).log() + (1 - wanted) * (1 - probability + 1e-7).log()).mean()

        return train(self.initial_parameters(), loss, len(graphs), self.training(), self.name)

    def _compare(self, ops: Ops, parameters: Parameters, first: Array, second: Array) -> Array:
        return dense(parameters, "compare", ops.concat([first, second]))[:, 0]

    def _embed(self, graphs: Sequence[GraphFeatures]) -> np.ndarray:
        parameters = self.double_parameters()
        return np.concatenate([self.embed(NUMPY, parameters, self.prepare(part)) for part in self._chunks(graphs)])

    def compare(self, graphs: Sequence[GraphFeatures]) -> np.ndarray:
        """Return the probabilities that each network takes longer than each other one, shape (n, n)."""
        self.check_fitted()
        embedded = self._embed(graphs)
        return self._slower(embedded, embedded)

    def rank(self, graphs: Sequence[GraphFeatures]) -> np.ndarray:
        """Return the positions of networks from the fastest to the slowest, shape (n,)."""
        return np.argsort(np.round(self.compare(graphs).sum(axis=1), 6), kind="stable")

    def predict(self, graphs: Sequence[GraphFeatures]) -> np.ndarray:
        """See `NetworkModel.predict`."""
        self.check_fitted()
        if not len(graphs):
            return np.empty(0)
        quantile = self._slower(self._embed(graphs), NUMPY.array(self.reference_embeddings_)).mean(axis=1)
        logs = np.log(self.reference_seconds_)
        at = np.interp(quantile, (np.arange(len(logs)) + 0.5) / len(logs), logs)
        return to_seconds((at - self.times_[0]) / self.times_[1], self.times_)

    def _slower(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the probabilities that each of the first takes longer than each of the second, in either order."""
        parameters = self.double_parameters()
        w, b = parameters["compare.w"][:, 0], parameters["compare.b"][0]
        mine, other = w[: self.width], w[self.width :]
        forward = (first @ mine)[:, None] + (second @ other)[None] + b
        backward = (first @ other)[:, None] + (second @ mine)[None] + b
        return 0.5 * (NUMPY.sigmoid(forward) + 1.0 - NUMPY.sigmoid(backward))

    def adapt(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> Self:
        """Return a model that was fitted to another device's networks: ranks know no scale that could be moved."""
        return type(self)(**self.options()).fit(graphs, seconds)

    def state(self) -> dict[str, Any]:
        """See `Neural.state`."""
        found = super().state()
        kept = {"seconds": self.reference_seconds_, "embeddings": self.reference_embeddings_}
        found["arrays"] |= {f"reference.{n}": a for n, a in kept.items()}
        return found

    def read_extra(self, state: dict[str, Any]) -> None:
        """See `Neural.read_extra`."""
        self.reference_seconds_ = take_array(state, "reference.seconds", (None,))
        if not (len(self.reference_seconds_) and (self.reference_seconds_ > 0).all()):
            raise ValueError("the array 'reference.seconds' has no times")
        shape = (len(self.reference_seconds_), self.width)
        self.reference_embeddings_ = take_array(state, "reference.embeddings", shape)
