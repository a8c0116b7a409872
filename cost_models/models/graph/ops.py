"""The operations that the networks here are made of, on NumPy arrays and on PyTorch tensors.

A forward pass is written once. PyTorch runs it while fitting, in single precision; NumPy predicts, in double precision,
so that a fitted model needs no PyTorch.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..extras import require

Array = Any  # of NumPy or PyTorch
Parameters = dict[str, Array]


class Ops(Protocol):
    """What differs between the two; ``@``, ``+``, ``*``, ``/`` and indexing do not."""

    def array(self, values: np.ndarray) -> Array:
        """Return an array of floats or integers."""

    def relu(self, x: Array) -> Array:
        """Return the positive part."""

    def tanh(self, x: Array) -> Array:
        """Return the hyperbolic tangent."""

    def sigmoid(self, x: Array) -> Array:
        """Return the logistic function."""

    def concat(self, parts: list[Array]) -> Array:
        """Concatenate along the last axis."""

    def normalise(self, x: Array) -> Array:
        """Divide each row by its length."""

    def segment_sum(self, x: Array, index: np.ndarray, count: int) -> Array:
        """Return the sums of the rows with each index, shape (count, f)."""

    def segment_max(self, x: Array, index: np.ndarray, count: int) -> Array:
        """Return the maxima of the rows with each index, shape (count, f); no index is without a row."""

    def lstm(self, parameters: Parameters, name: str, x: Array, lengths: np.ndarray) -> Array:
        """Return the state of an LSTM after each sequence, shape (n, width); x has shape (n, steps, f)."""


class NumpyOps:
    """On arrays of float64."""

    def array(self, values: np.ndarray) -> np.ndarray:
        """See `Ops`."""
        return np.asarray(values, float)

    def relu(self, x: np.ndarray) -> np.ndarray:
        """See `Ops`."""
        return np.maximum(x, 0.0)

    def tanh(self, x: np.ndarray) -> np.ndarray:
        """See `Ops`."""
        return np.tanh(x)

    def sigmoid(self, x: np.ndarray) -> np.ndarray:
        """See `Ops`."""
        return 0.5 * (1.0 + np.tanh(0.5 * x))

    def concat(self, parts: list[np.ndarray]) -> np.ndarray:
        """See `Ops`."""
        return np.concatenate(parts, axis=-1)

    def normalise(self, x: np.ndarray) -> np.ndarray:
        """See `Ops`."""
        return x / np.sqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12)

    def segment_sum(self, x: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
        """See `Ops`."""
        rows = len(index)
        from scipy.sparse import csr_matrix  # large, and few processes use graph networks

        return csr_matrix((np.ones(rows), (index, np.arange(rows))), (count, rows)) @ x

    def segment_max(self, x: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
        """See `Ops`."""
        found = np.full((count, x.shape[1]), -np.inf)
        order = np.argsort(index, kind="stable")
        starts = np.flatnonzero(np.diff(index[order], prepend=-1))
        found[index[order][starts]] = np.maximum.reduceat(x[order], starts)
        return found

    def lstm(self, parameters: Parameters, name: str, x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """See `Ops`."""
        width = parameters[f"{name}.hh"].shape[1]
        inputs = x @ parameters[f"{name}.ih"].T + parameters[f"{name}.b"]
        h, c = np.zeros((len(x), width)), np.zeros((len(x), width))
        for step in range(x.shape[1]):
            gates = inputs[:, step] + h @ parameters[f"{name}.hh"].T
            into, keep, new, out = (gates[:, i * width : (i + 1) * width] for i in range(4))
            running = (step < lengths)[:, None]
            c = np.where(running, self.sigmoid(keep) * c + self.sigmoid(into) * np.tanh(new), c)
            h = np.where(running, self.sigmoid(out) * np.tanh(c), h)
        return h


NUMPY = NumpyOps()


class TorchOps:
    """On tensors of float32."""

    def __init__(self) -> None:
        self._torch = require_torch()

    def array(self, values: np.ndarray) -> Array:
        """See `Ops`."""
        return self._torch.from_numpy(np.array(values, np.float32))

    def relu(self, x: Array) -> Array:
        """See `Ops`."""
        return self._torch.relu(x)

    def tanh(self, x: Array) -> Array:
        """See `Ops`."""
        return self._torch.tanh(x)

    def sigmoid(self, x: Array) -> Array:
        """See `Ops`."""
        return self._torch.sigmoid(x)

    def concat(self, parts: list[Array]) -> Array:
        """See `Ops`."""
        return self._torch.cat(parts, dim=-1)

    def normalise(self, x: Array) -> Array:
        """See `Ops`."""
        return x / self._torch.sqrt((x * x).sum(dim=-1, keepdim=True) + 1e-12)

    def segment_sum(self, x: Array, index: np.ndarray, count: int) -> Array:
        """See `Ops`."""
        return x.new_zeros(count, x.shape[1]).index_add(0, self._torch.from_numpy(index), x)

    def segment_max(self, x: Array, index: np.ndarray, count: int) -> Array:
        """See `Ops`."""
        where = self._torch.from_numpy(index)[:, None].expand(-1, x.shape[1])
        start = x.new_zeros(count, x.shape[1])
        return start.scatter_reduce(0, where, x, "amax", include_self=False)

    def lstm(self, parameters: Parameters, name: str, x: Array, lengths: np.ndarray) -> Array:
        """See `Ops`."""
        torch = self._torch
        bias, start = parameters[f"{name}.b"], x.new_zeros(1, len(lengths), parameters[f"{name}.hh"].shape[1])
        weights = [parameters[f"{name}.ih"], parameters[f"{name}.hh"], bias, torch.zeros_like(bias)]
        # one layer with biases in one direction, without dropout; the batch comes first
        states, _, _ = torch.lstm(x, (start, start), weights, True, 1, 0.0, True, False, True)
        return states[torch.arange(len(lengths)), torch.from_numpy(lengths - 1)]


def require_torch() -> Any:
    """Import PyTorch; `CoExecError` if it is not installed."""
    return require("torch", "graph networks that are fitted")


def add_dense(parameters: Parameters, rng: np.random.Generator, name: str, inputs: int, outputs: int) -> None:
    """Add the weights and biases of a dense layer, drawn as by He et al. (ICCV 2015)."""
    drawn = rng.standard_normal((inputs, outputs)) * np.sqrt(2.0 / inputs)
    parameters[f"{name}.w"] = drawn.astype(np.float32)
    parameters[f"{name}.b"] = np.zeros(outputs, np.float32)


def add_lstm(parameters: Parameters, rng: np.random.Generator, name: str, inputs: int, width: int) -> None:
    """Add the parameters of an LSTM, whose gates are input, forget, cell and output; it forgets little at first."""
    bound = 1.0 / np.sqrt(width)
    parameters[f"{name}.ih"] = rng.uniform(-bound, bound, (4 * width, inputs)).astype(np.float32)
    parameters[f"{name}.hh"] = rng.uniform(-bound, bound, (4 * width, width)).astype(np.float32)
    parameters[f"{name}.b"] = np.repeat(np.array([0, 1, 0, 0], np.float32), width)


def dense(parameters: Parameters, name: str, x: Array) -> Array:
    """Apply a dense layer without an activation."""
    return x @ parameters[f"{name}.w"] + parameters[f"{name}.b"]
