"""A small network with two heads whose outputs are positive coefficients of given terms, trained with numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from tvm_coexec.core.progress import progress

from ..one_thread import on_one_thread

Inputs = tuple[np.ndarray, np.ndarray]  # of the two heads, shape (n, columns) each
Arrays = dict[str, np.ndarray]

_BATCH = 128
_RATE, _LAST_RATE = 4e-3, 1e-4
_DECAY = 1e-4  # of weights, decoupled from the gradient (Loshchilov and Hutter, ICLR 2019)
_MOMENTA = (0.9, 0.999)


class SmallNetwork:
    """Two linear heads with a rectifier, joined to a linear layer with softplus.

    Parameters
    ----------
    arrays : mapping of str to array
        In single precision; see `shapes`. Inputs are clipped to the range of training, then scaled by ``mean*`` and
        ``scale*``.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = {name: np.asarray(arrays[name], np.float32) for name in sorted(arrays)}
        self._wide = {name: a.astype(float) for name, a in self.arrays.items()}
        if any((self.arrays[f"scale{i}"] <= 0).any() for i in (0, 1)):
            raise ValueError("a scale is not positive")

    @staticmethod
    def shapes(columns: tuple[int, int], heads: tuple[int, int], outputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array."""
        found: dict[str, tuple[int, ...]] = {}
        for i, (n, size) in enumerate(zip(columns, heads, strict=True)):
            found |= {f"{name}{i}": (n,) for name in ("mean", "scale", "low", "high")}
            found |= {f"head{i}": (n, size), f"bias{i}": (size,)}
        return found | {"last": (sum(heads), outputs), "bias": (outputs,)}

    def coefficients(self, inputs: Inputs) -> np.ndarray:
        """Return the coefficients, shape (n, outputs)."""
        # einsum, unlike BLAS, computes a row the same wherever it lies
        return _softplus(_forward(self._wide, self.scale(inputs), partial(np.einsum, "ij,jk->ik"))[1])

    def scale(self, inputs: Inputs) -> Inputs:
        """Clip and scale inputs."""
        a = self._wide
        first, second = (
            (np.clip(x, a[f"low{i}"], a[f"high{i}"]) - a[f"mean{i}"]) / a[f"scale{i}"] for i, x in enumerate(inputs)
        )
        return first, second


@on_one_thread
def train(inputs: Inputs, terms: np.ndarray, target: np.ndarray, heads: tuple[int, int], steps: int) -> SmallNetwork:
    """Fit ``sum(coefficients * terms)`` to a positive target by the mean absolute logarithmic error, with Adam.

    Parameters
    ----------
    inputs : (array, array)
        Shape (n, columns) each.
    terms : array, shape (n, outputs)
        Non-negative.
    target : array, shape (n,)
    heads : (int, int)
    steps : int
        The same samples and steps give the same network.
    """
    rng = np.random.default_rng(0)
    ranges: Arrays = {}
    for i, x in enumerate(inputs):
        spread = x.std(axis=0)
        ranges |= {f"mean{i}": x.mean(axis=0), f"scale{i}": np.where(spread > 1e-6, spread, 1.0)}
        ranges |= {f"low{i}": x.min(axis=0), f"high{i}": x.max(axis=0)}
    columns = (inputs[0].shape[1], inputs[1].shape[1])
    weights: Arrays = {}
    for name, shape in SmallNetwork.shapes(columns, heads, terms.shape[1]).items():
        if name not in ranges:
            weights[name] = rng.standard_normal(shape) / np.sqrt(shape[0]) if len(shape) == 2 else np.zeros(shape)
    first, second = SmallNetwork({**ranges, **weights}).scale(inputs)
    logs = np.log(target)
    momenta = [{n: np.zeros_like(a) for n, a in weights.items()} for _ in _MOMENTA]
    for step in progress(range(1, steps + 1), "training", "step"):
        rows = rng.integers(0, len(target), _BATCH)
        gradients = _gradients(weights, (first[rows], second[rows]), terms[rows], logs[rows])
        rate = _LAST_RATE + (_RATE - _LAST_RATE) * (1 + np.cos(np.pi * step / steps)) / 2
        for name, g in gradients.items():
            for momentum, beta, value in zip(momenta, _MOMENTA, (g, g * g), strict=True):
                momentum[name] *= beta
                momentum[name] += (1 - beta) * value
            mean, square = (m[name] / (1 - beta**step) for m, beta in zip(momenta, _MOMENTA, strict=True))
            weights[name] -= rate * (mean / (np.sqrt(square) + 1e-8) + _DECAY * weights[name])
    return SmallNetwork({**ranges, **weights})


def _forward(
    weights: Arrays, inputs: Inputs, multiply: Callable[[np.ndarray, np.ndarray], np.ndarray] = np.matmul
) -> tuple[np.ndarray, np.ndarray]:
    """Return the hidden layer and the outputs before softplus."""
    hidden = np.hstack([multiply(x, weights[f"head{i}"]) + weights[f"bias{i}"] for i, x in enumerate(inputs)])
    hidden = np.maximum(hidden, 0.0)
    return hidden, multiply(hidden, weights["last"]) + weights["bias"]


def _gradients(weights: Arrays, inputs: Inputs, terms: np.ndarray, logs: np.ndarray) -> Arrays:
    hidden, out = _forward(weights, inputs)
    total = np.maximum((_softplus(out) * terms).sum(axis=1), 1e-12)
    missed = np.log(total) - logs
    slope = missed / np.sqrt(missed**2 + 1e-4) / len(logs)  # of the absolute value, smooth within 1 %
    to_out = (slope / total)[:, None] * terms * _sigmoid(out)
    to_hidden = (to_out @ weights["last"].T) * (hidden > 0)
    found = {"last": hidden.T @ to_out, "bias": to_out.sum(axis=0)}
    at = np.cumsum([0, *(weights[f"head{i}"].shape[1] for i in (0, 1))])
    for i, x in enumerate(inputs):
        part = to_hidden[:, at[i] : at[i + 1]]
        found |= {f"head{i}": x.T @ part, f"bias{i}": part.sum(axis=0)}
    return found


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
