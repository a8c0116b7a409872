"""An LSTM reads the operators of a network in order; boosted trees regress the time on what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError

from ...features.graphs import NETWORK_COLUMNS, GraphFeatures
from ...features.operators import FIRST, OPERATOR_COLUMNS
from ..boosted import Trees
from .batches import Scale, network_table, to_seconds
from .neural import NeuralNetworkModel
from .ops import NUMPY, Array, Ops, Parameters, add_dense, add_lstm, dense


class LSTMLightGBM(NeuralNetworkModel):
    """Latency of a whole network by an LSTM over its operators and LightGBM.

    An LSTM (Hochreiter and Schmidhuber, 1997) reads the features of every operator, kernel by kernel; it is trained
    with a linear layer on its last state and the network's totals. Then gradient-boosted trees (Ke et al., NeurIPS
    2017) are fitted to the same state and totals.

    Parameters
    ----------
    width : int
        Of the LSTM's state.
    trees, leaves : int
    trees_rate : float
    epochs, rate, seed, max_fit_s
        See `Training`.
    """

    name: ClassVar[str] = "lstm_lightgbm"
    _DIGITS = 5  # of the state that trees compare, so that the last bits do not matter

    def __init__(
        self,
        width: int = 32,
        trees: int = 200,
        leaves: int = 15,
        trees_rate: float = 0.1,
        epochs: int = 60,
        rate: float = 5e-3,
        seed: int = 0,
        max_fit_s: float = 600.0,
    ):
        self.width, self.trees, self.leaves, self.trees_rate = width, trees, leaves, trees_rate
        self.epochs, self.rate, self.seed, self.max_fit_s = epochs, rate, seed, max_fit_s

    def scale_sizes(self) -> dict[str, int]:
        """See `Neural.scale_sizes`."""
        return {"operators": len(OPERATOR_COLUMNS), "network": len(NETWORK_COLUMNS)}

    def initial_parameters(self) -> Parameters:
        """See `Neural.initial_parameters`."""
        rng, found = np.random.default_rng(self.seed), {}
        add_lstm(found, rng, "lstm", len(OPERATOR_COLUMNS), self.width)
        add_dense(found, rng, "out", self.width + len(NETWORK_COLUMNS), 1)
        return found

    def fit(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> Self:
        """See `NetworkModel.fit`."""
        super().fit(graphs, seconds)
        self._fit_trees(graphs, np.asarray(seconds, float).reshape(-1))
        return self

    def adapt(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> Self:
        """See `NeuralNetworkModel.adapt`; trees are fitted to the new networks alone."""
        made = super().adapt(graphs, seconds)
        made._fit_trees(graphs, np.asarray(seconds, float).reshape(-1))
        return made

    def _fit_trees(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> None:
        lightgbm = _require_lightgbm()
        target = (np.log(seconds) - self.times_[0]) / self.times_[1]
        features = self._embed(graphs).astype(float)
        options = {
            **{"objective": "regression_l1", "num_leaves": self.leaves, "learning_rate": self.trees_rate},
            **{"min_data_in_leaf": max(1, min(5, len(target) // 20)), "seed": self.seed, "num_threads": 1},
            **{"deterministic": True, "force_row_wise": True, "use_missing": False, "verbosity": -1},
        }
        booster = lightgbm.train(options, lightgbm.Dataset(features, target), num_boost_round=self.trees)
        dumped = booster.dump_model()["tree_info"]
        self.trees_ = Trees([_tree_nodes(tree["tree_structure"]) for tree in dumped])

    def fit_scales(self, graphs: Sequence[GraphFeatures]) -> None:
        """See `NeuralNetworkModel.fit_scales`."""
        self.scales_ = {
            "operators": Scale.of(np.concatenate([_sequence(g) for g in graphs])),
            "network": Scale.of(network_table(graphs, device=False)),
        }

    def prepare(self, graphs: Sequence[GraphFeatures]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return sequences with zeros after their ends, shape (n, steps, f), their lengths, and the totals."""
        sequences = [self.scales_["operators"].apply(_sequence(g)) for g in graphs]
        lengths = np.array([len(s) for s in sequences])
        padded = np.zeros((len(graphs), lengths.max(), len(OPERATOR_COLUMNS)))
        for row, s in zip(padded, sequences, strict=True):
            row[: len(s)] = s
        return padded, lengths, self.scales_["network"].apply(network_table(graphs, device=False))

    def _state(self, ops: Ops, parameters: Parameters, inputs: Any) -> Array:
        padded, lengths, totals = inputs
        return ops.concat([ops.lstm(parameters, "lstm", ops.array(padded), lengths), ops.array(totals)])

    def forward(self, ops: Ops, parameters: Parameters, inputs: Any) -> Array:
        """See `NeuralNetworkModel.forward`."""
        return dense(parameters, "out", self._state(ops, parameters, inputs))[:, 0]

    def _embed(self, graphs: Sequence[GraphFeatures]) -> np.ndarray:
        """Return what the trees see, shape (n, width + totals), in single precision."""
        parameters = self.double_parameters()
        found = [self._state(NUMPY, parameters, self.prepare(part)) for part in self._chunks(graphs)]
        return np.round(np.concatenate(found), self._DIGITS).astype(np.float32)

    def predict(self, graphs: Sequence[GraphFeatures]) -> np.ndarray:
        """See `NetworkModel.predict`."""
        self.check_fitted()
        if not hasattr(self, "trees_"):  # while `adapt` asks for its scale
            return super().predict(graphs)
        return to_seconds(self.trees_.sum(self._embed(graphs)), self.times_) if len(graphs) else np.empty(0)

    def state(self) -> dict[str, Any]:
        """See `Neural.state`."""
        return {**super().state(), "trees": self.trees_.nodes}

    def read_extra(self, state: dict[str, Any]) -> None:
        """See `Neural.read_extra`."""
        columns = self.width + len(NETWORK_COLUMNS)
        for nodes in state["trees"]:
            for at, node in enumerate(nodes):
                inner = len(node) == 4
                if not (inner or len(node) == 1) or not np.isfinite(node).all():
                    raise ValueError(f"node {node} of a tree")
                if inner and not (0 <= node[0] < columns and all(at < child < len(nodes) for child in node[2:])):
                    raise ValueError(f"node {node} of a tree")
        self.trees_ = Trees(state["trees"])


def _sequence(g: GraphFeatures) -> np.ndarray:
    """Return the features of the operators of a network, in order, shape (steps, len(OPERATOR_COLUMNS))."""
    return np.concatenate([o.nodes[FIRST:] for o in g.operators])


def _tree_nodes(root: dict[str, Any]) -> list[list[float]]:
    """Return a tree of LightGBM as `Trees` has it.

    There a row goes left if it is less than the threshold, in LightGBM also if it is equal; features are in single
    precision, so the threshold becomes the next such number.
    """
    nodes: list[list[float]] = []

    def add(d: dict[str, Any]) -> int:
        at = len(nodes)
        nodes.append([])
        if "leaf_value" in d:
            nodes[at] = [float(np.float32(d["leaf_value"]))]
            return at
        threshold = np.float32(d["threshold"])
        if float(threshold) <= float(d["threshold"]):
            threshold = np.nextafter(threshold, np.float32(np.inf))
        nodes[at] = [int(d["split_feature"]), float(threshold), add(d["left_child"]), add(d["right_child"])]
        return at

    add(root)
    return nodes


def _require_lightgbm() -> Any:
    try:
        import lightgbm
    except (ImportError, OSError):  # OSError: its library needs an OpenMP runtime
        raise CoExecError("fitting this model needs LightGBM: install the extra, pip install .[predictors]") from None
    return lightgbm
