"""The learned model of TPUs: a graph network over the operators inside a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from ...features.graphs import NODE_COLUMNS, node_values
from ...features.operators import (
    OPERATOR_COLUMNS,
    OperatorGraph,
    operator_edges,
    operator_values,
    workload_kinds,
)
from ...features.workload import Workload, Workloads, take
from ..base import LatencyModel, check_samples, unknown_class_error
from .batches import Batch, Scale, join_operators, repeat_operators, scale_times, to_seconds
from .layers import add_perceptron, add_sage, perceptron, sage
from .neural import Neural
from .ops import NUMPY, Array, Ops, Parameters, TorchOps, add_dense, dense
from .training import train


class TPULearned(Neural, LatencyModel):
    """Latency of a kernel by GraphSAGE over the operators that are fused in it.

    Kaufman et al. (MLSys 2021): a layer on the features of each operator, GraphSAGE along the data flow with rows of
    length one, mean and maximum over the operators, joined with features of the whole kernel, and a perceptron. The
    loss is the squared error of the logarithm, plus a pairwise rank loss (logistic) between the kernels of a step. The
    paper uses the first for fusion and the second for tile sizes.

    Parameters
    ----------
    width, layers : int
    rank : float
        Weight of the rank loss.
    epochs, rate, seed, max_fit_s
        See `Training`.
    """

    name: ClassVar[str] = "tpu"
    is_slow_to_fit = True
    _CHUNK = 2048  # kernels that are predicted at a time

    def __init__(
        self,
        width: int = 64,
        layers: int = 2,
        rank: float = 0.1,
        epochs: int = 200,
        rate: float = 3e-3,
        seed: int = 0,
        max_fit_s: float = 600.0,
    ):
        self.width, self.layers, self.rank = width, layers, rank
        self.epochs, self.rate, self.seed, self.max_fit_s = epochs, rate, seed, max_fit_s

    def scale_sizes(self) -> dict[str, int]:
        """See `Neural.scale_sizes`."""
        return {"operators": len(OPERATOR_COLUMNS), "kernel": len(NODE_COLUMNS)}

    def initial_parameters(self) -> Parameters:
        """See `Neural.initial_parameters`."""
        rng, width = np.random.default_rng(self.seed), self.width
        found: Parameters = {}
        add_dense(found, rng, "operator", len(OPERATOR_COLUMNS), width)
        for i in range(self.layers):
            add_sage(found, rng, f"sage{i}", width, width)
        add_perceptron(found, rng, "out", [2 * width + len(NODE_COLUMNS), width, 1])
        return found

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`."""
        groups, y = check_samples(kernels, seconds)
        self.kinds_ = sorted({w.kind for w, _ in groups})
        inside: list[OperatorGraph] = []
        for w, _ in groups:
            inside += _describe_each(w)
        table = np.concatenate([node_values(w) for w, _ in groups])
        target, self.times_ = scale_times(np.concatenate([y[where] for _, where in groups]))
        self.scales_ = {
            "operators": Scale.of(np.concatenate([g.nodes for g in inside])),
            "kernel": Scale.of(table),
        }
        self.parameters_ = self._train(inside, self.scales_["kernel"].apply(table), target)
        return self

    def _train(self, inside: Sequence[OperatorGraph], table: np.ndarray, target: np.ndarray) -> Parameters:
        ops = TorchOps()

        def loss(parameters: Parameters, rows: np.ndarray) -> Array:
            found = self._forward(ops, parameters, join_operators([inside[i] for i in rows]), table[rows])
            wanted = ops.array(target[rows])
            slower = ops.array(target[rows][:, None] > target[rows][None])
            right = ops.sigmoid(found[:, None] - found[None])
            ranked = -((right + 1e-7).log() * slower).sum() / max(1.0, float(slower.sum()))
            return ((found - wanted) ** 2).mean() + self.rank * ranked

        return train(self.initial_parameters(), loss, len(target), self.training(), self.name)

    def _forward(self, ops: Ops, parameters: Parameters, batch: Batch, kernel: np.ndarray) -> Array:
        x = ops.array(self.scales_["operators"].apply(batch.nodes))
        x = ops.relu(dense(parameters, "operator", x))
        for i in range(self.layers):
            x = ops.normalise(sage(ops, parameters, f"sage{i}", x, batch.source, batch.target, both=True))
        sizes = ops.array(np.bincount(batch.graph, minlength=batch.count)[:, None])
        mean = ops.segment_sum(x, batch.graph, batch.count) / sizes
        most = ops.segment_max(x, batch.graph, batch.count)
        return perceptron(ops, parameters, "out", ops.concat([mean, most, ops.array(kernel)]), 2)[:, 0]

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`: algorithms that were not measured are predicted like others of their kind."""
        return w.kind in self.kinds_

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        if not self.knows(w):
            raise unknown_class_error(self, w.key, self.kinds_)
        parameters, found = self.double_parameters(), np.empty(w.size)
        for where, part in _split_by_operators(w, self._CHUNK):
            kinds = workload_kinds(part, int(part.fused[0]))
            batch = repeat_operators(operator_values(part, kinds, 0), operator_edges(len(kinds), 0))
            kernel = self.scales_["kernel"].apply(node_values(part))
            found[where] = self._forward(NUMPY, parameters, batch, kernel)
        return to_seconds(found, self.times_)

    def state(self) -> dict[str, Any]:
        """See `Neural.state`."""
        return {**super().state(), "kinds": self.kinds_}

    def read_extra(self, state: dict[str, Any]) -> None:
        """See `Neural.read_extra`."""
        self.kinds_ = [str(k) for k in state["kinds"]]


def _split_by_operators(w: Workload, most: int) -> list[tuple[np.ndarray, Workload]]:
    """Return parts of a stacked workload, of at most so many kernels with equal operators, and their positions."""
    fused = np.broadcast_to(np.asarray(w.fused, int), (w.size,))
    found = []
    for count in np.unique(fused):
        where = np.flatnonzero(fused == count)
        found += [(rows, take(w, rows)) for rows in np.array_split(where, -(-len(where) // most))]
    return found


def _describe_each(w: Workload) -> list[OperatorGraph]:
    """Return the operators of each kernel of a stacked workload."""
    found: list[OperatorGraph | None] = [None] * w.size
    for where, part in _split_by_operators(w, w.size):
        kinds = workload_kinds(part, int(part.fused[0]))
        edges = operator_edges(len(kinds), 0)
        for at, nodes in zip(where, operator_values(part, kinds, 0), strict=True):
            found[at] = OperatorGraph(nodes, edges)
    return [g for g in found if g is not None]
