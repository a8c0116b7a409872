"""An LSTM reads the operators of a network in order; boosted trees regress the time on what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from ...features.graphs import NETWORK_COLUMNS, GraphFeatures
from ...features.operators import FIRST, OPERATOR_COLUMNS
from ..extras import require
from ..forest import Forest
from ..state_files import take_array
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
        rng = np.random.default_rng(self.seed)
        found: Parameters = {}
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
        lightgbm = require("lightgbm", "trees on the state of an LSTM")
        target = (np.log(seconds) - self.times_[0]) / self.times_[1]
        features = self._embed(graphs).astype(float)
        options = {
            **{"objective": "regression_l1", "num_leaves": self.leaves, "learning_rate": self.trees_rate},
            **{"min_data_in_leaf": max(1, min(5, len(target) // 20)), "seed": self.seed, "num_threads": 1},
            **{"deterministic": True, "force_row_wise": True, "use_missing": False, "verbosity": -1},
        }
        booster = lightgbm.train(options, lightgbm.Dataset(features, target), num_boost_round=self.trees)
        self.trees_ = _to_forest(booster.dump_model()["tree_info"])

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
        if not len(graphs):
            return np.empty(0)
        return to_seconds(self.trees_.mean(self._embed(graphs)) * len(self.trees_.roots), self.times_)

    def state(self) -> dict[str, Any]:
        """See `Neural.state`."""
        found = super().state()
        found["arrays"] |= {f"trees.{n}": getattr(self.trees_, n) for n in Forest.FIELDS}
        return found

    def read_extra(self, state: dict[str, Any]) -> None:
        """See `Neural.read_extra`."""
        self.trees_ = Forest(*(take_array(state, f"trees.{n}", (None,)) for n in Forest.FIELDS))
        if self.trees_.feature.max() >= self.width + len(NETWORK_COLUMNS):
            raise ValueError("its trees have features that are unknown")


def _sequence(g: GraphFeatures) -> np.ndarray:
    """Return the features of the operators of a network, in order, shape (steps, len(OPERATOR_COLUMNS))."""
    return np.concatenate([o.nodes[FIRST:] for o in g.operators])


def _to_forest(trees: Sequence[dict[str, Any]]) -> Forest:
    """Return LightGBM's trees; the threshold is the largest number in single precision that is not above theirs."""
    feature: list[int] = []
    value: list[np.float32] = []
    right: list[int] = []
    roots: list[int] = []

    def add(d: dict[str, Any]) -> int:
        at = len(feature)
        is_leaf = "leaf_value" in d
        number = np.float32(d["leaf_value" if is_leaf else "threshold"])
        if not is_leaf and float(number) > d["threshold"]:
            number = np.nextafter(number, np.float32(-np.inf))
        feature.append(-1 if is_leaf else int(d["split_feature"]))
        value.append(number)
        right.append(0)
        if not is_leaf:
            add(d["left_child"])
            right[at] = add(d["right_child"])
        return at

    for tree in trees:
        roots.append(add(tree["tree_structure"]))
    return Forest(np.array(feature), np.array(value), np.array(right), np.array(roots))
