"""Many graphs as one, and the scales of features and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...features.graphs import GraphFeatures
from ...features.operators import OperatorGraph
from ..state_files import take_array


@dataclass(frozen=True)
class Batch:
    """Graphs as one graph of several components.

    Attributes
    ----------
    nodes : array, shape (n, f)
    source, target : array of int, shape (m,)
        Of each edge.
    edges : array, shape (m, e)
        Features of the edges.
    graph : array of int, shape (n,)
        Number of each node's graph.
    count : int
        Number of graphs; each has at least one node.
    """

    nodes: np.ndarray
    source: np.ndarray
    target: np.ndarray
    edges: np.ndarray
    graph: np.ndarray
    count: int


def join_graphs(graphs: Sequence[GraphFeatures]) -> Batch:
    """Return graphs as one batch."""
    sizes = [len(g.nodes) for g in graphs]
    starts = np.cumsum([0, *sizes[:-1]])
    pairs = np.concatenate([g.edges + start for g, start in zip(graphs, starts, strict=True)])
    return Batch(
        np.concatenate([g.nodes for g in graphs]),
        np.ascontiguousarray(pairs[:, 0]),
        np.ascontiguousarray(pairs[:, 1]),
        np.concatenate([g.edge_values for g in graphs]),
        np.repeat(np.arange(len(graphs)), sizes),
        len(graphs),
    )


def join_operators(graphs: Sequence[OperatorGraph]) -> Batch:
    """Return the operators inside kernels as one batch."""
    sizes = [len(g.nodes) for g in graphs]
    starts = np.cumsum([0, *sizes[:-1]])
    pairs = np.concatenate([g.edges + start for g, start in zip(graphs, starts, strict=True)])
    source, target = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    nodes = np.concatenate([g.nodes for g in graphs])
    return Batch(
        nodes, source, target, np.empty((len(pairs), 0)), np.repeat(np.arange(len(graphs)), sizes), len(graphs)
    )


def repeat_operators(nodes: np.ndarray, edges: np.ndarray) -> Batch:
    """Return kernels with equal operators as one batch; `nodes` has shape (kernels, operators, f)."""
    count, inside, columns = nodes.shape
    pairs = (edges[None] + inside * np.arange(count)[:, None, None]).reshape(-1, 2)
    source, target = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    graph = np.repeat(np.arange(count), inside)
    return Batch(nodes.reshape(-1, columns), source, target, np.empty((len(pairs), 0)), graph, count)


def network_table(graphs: Sequence[GraphFeatures], device: bool) -> np.ndarray:
    """Return the features of networks, with those of their devices or without, shape (n, k)."""
    return np.array([np.concatenate([g.network, g.device]) if device else g.network for g in graphs])


@dataclass(frozen=True)
class Scale:
    """Mean and spread of columns, by which they are standardised; constant columns become 0.

    Standardised values are within `LIMIT`, as networks do not extrapolate.
    """

    mean: np.ndarray
    spread: np.ndarray

    LIMIT = 6.0

    @staticmethod
    def of(values: np.ndarray) -> Scale:
        """Return the scale of a table, shape (n, f)."""
        if not len(values):
            return Scale(np.zeros(values.shape[1]), np.ones(values.shape[1]))
        spread = values.std(axis=0)
        return Scale(values.mean(axis=0), np.where(spread > 1e-6, spread, np.inf))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Standardise."""
        return np.clip((values - self.mean) / self.spread, -self.LIMIT, self.LIMIT)

    def to_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return the arrays of a state; the factor of a constant column is 0."""
        return {f"{name}.mean": self.mean, f"{name}.factor": 1.0 / self.spread}

    @staticmethod
    def from_state(state: Mapping[str, Any], name: str, columns: int) -> Scale:
        """Read what `to_arrays` returned."""
        factor = take_array(state, f"{name}.factor", (columns,))
        with np.errstate(divide="ignore"):
            return Scale(take_array(state, f"{name}.mean", (columns,)), np.where(factor > 0, 1.0 / factor, np.inf))


def scale_times(seconds: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Return the standardised logarithms of times, shape (n,), and their mean and spread."""
    logs = np.log(seconds)
    mean, spread = float(logs.mean()), float(max(logs.std(), 0.1))
    return (logs - mean) / spread, [mean, spread]


def to_seconds(outputs: np.ndarray, times: Sequence[float]) -> np.ndarray:
    """Return the seconds of a network's outputs.

    They are rounded to single precision, so that they do not depend on what else is predicted at the same time, by
    which matrix products differ in their last bits.
    """
    logs = times[0] + times[1] * np.clip(outputs, -8.0, 8.0)
    return np.maximum(np.exp(logs), 1e-9).astype(np.float32).astype(float)
