"""Halide's model: coefficients of a network, outside its data bounded, and scaling with the work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.cost_models.kernels import conv, many, seconds_of
from tvm_coexec.cost_models.models.baselines.halide import TERMS, Halide
from tvm_coexec.cost_models.models.small_network import SmallNetwork, train

KERNELS = many()
SECONDS = seconds_of(KERNELS)


@pytest.fixture(scope="module")
def fitted():
    return Halide(steps=1500).fit(KERNELS, SECONDS)


@pytest.mark.slow
def test_coefficients_are_positive_and_the_sum_follows_the_samples(fitted):
    assert np.median(np.abs(fitted.predict(KERNELS) / SECONDS - 1)) < 0.08
    w = conv(64, 96, 28, 3)
    found = fitted.network_.coefficients((np.zeros((1, 8 + len(fitted.keys_) + 10)), np.zeros((1, len(TERMS) + 13))))
    assert found.shape == (1, len(TERMS)) and (found > 0).all() and fitted.predict(w)[0] > 0


def test_outside_its_data_the_terms_still_grow(fitted):
    sizes = [conv(96, 96, size, 3) for size in (56, 112, 224, 448)]
    seconds = fitted.predict(sizes)
    assert (seconds[1:] / seconds[:-1] > 2).all() and (seconds[1:] / seconds[:-1] < 8).all()


def test_another_algorithm_of_a_known_kind_is_predicted(fitted):
    other = replace(conv(64, 96, 28, 3), algorithm="winograd.3x3")
    assert fitted.knows(other) and fitted.predict(other)[0] > 0


def test_a_network_learns_coefficients_that_depend_on_the_input():
    rng = np.random.default_rng(3)
    inputs = (rng.random((400, 2)), rng.random((400, 3)))
    terms = rng.random((400, 2)) + 0.1
    true = np.stack([1 + 2 * inputs[0][:, 0], 3 - 2 * inputs[1][:, 1]], 1)
    target = (true * terms).sum(axis=1)
    network = train(inputs, terms, target, (8, 8), 1500)
    found = (network.coefficients(inputs) * terms).sum(axis=1)
    assert np.mean(np.abs(found / target - 1)) < 0.03
    shapes = SmallNetwork.shapes((2, 3), (8, 8), 2)
    assert {n: a.shape for n, a in network.arrays.items()} == shapes
    with pytest.raises(ValueError, match="scale"):
        SmallNetwork({**network.arrays, "scale1": np.zeros(3)})
