"""Layers that several models have."""

from __future__ import annotations

import numpy as np

from .ops import Array, Ops, Parameters, add_dense, dense


def add_sage(parameters: Parameters, rng: np.random.Generator, name: str, inputs: int, outputs: int) -> None:
    """Add the parameters of a GraphSAGE layer."""
    add_dense(parameters, rng, name, 2 * inputs, outputs)


def sage(
    ops: Ops, parameters: Parameters, name: str, x: Array, source: np.ndarray, target: np.ndarray, both: bool = False
) -> Array:
    """Apply a GraphSAGE layer (Hamilton et al., NeurIPS 2017) with mean aggregation.

    Parameters
    ----------
    x : array, shape (n, f)
    source, target : array of int, shape (m,)
    both : bool
        Whether messages go against the edges, too.
    """
    count = x.shape[0]
    if both:
        source, target = np.concatenate([source, target]), np.concatenate([target, source])
    degree = np.maximum(np.bincount(target, minlength=count), 1)[:, None]
    mean = ops.segment_sum(x[source], target, count) * ops.array(1.0 / degree)
    return ops.relu(dense(parameters, name, ops.concat([x, mean])))


def add_perceptron(parameters: Parameters, rng: np.random.Generator, name: str, sizes: list[int]) -> None:
    """Add the parameters of a multilayer perceptron."""
    for i in range(len(sizes) - 1):
        add_dense(parameters, rng, f"{name}{i}", sizes[i], sizes[i + 1])


def perceptron(ops: Ops, parameters: Parameters, name: str, x: Array, layers: int) -> Array:
    """Apply a multilayer perceptron; the last layer has no activation."""
    for i in range(layers):
        x = dense(parameters, f"{name}{i}", x)
        if i < layers - 1:
            x = ops.relu(x)
    return x
