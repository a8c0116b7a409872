"""Forests: the same predictions as the library that fitted them, and checks of what a file holds."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_coexec.cost_models.models.forest import Forest, divide_forests, merge_forests


def fit(rows: int = 300, trees: int = 12, seed: int = 0):
    ensemble = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(seed)
    # integers far apart and close together: thresholds between neighbours of single precision matter
    x = np.stack([rng.integers(1, 40, rows), 2.0**24 + rng.integers(0, 60, rows) * 2, rng.random(rows)], 1)
    x = x.astype(np.float32)
    y = x[:, 0] * (x[:, 1] - 2**24 + 1) + rng.random(rows)
    return ensemble.RandomForestRegressor(trees, random_state=0).fit(x, y), x


def test_predicts_what_scikit_learn_predicts():
    fitted, x = fit()
    forest = Forest.of_scikit_learn(fitted)
    np.testing.assert_allclose(forest.mean(x), fitted.predict(x), rtol=1e-5)
    other = fit(seed=1)[1]
    np.testing.assert_allclose(forest.mean(other), fitted.predict(other), rtol=1e-5)
    assert forest.mean(x[:0]).shape == (0,)


def test_many_rows_are_the_same_in_parts(monkeypatch):
    fitted, x = fit()
    forest = Forest.of_scikit_learn(fitted)
    whole = forest.mean(x)
    monkeypatch.setattr("tvm_coexec.cost_models.models.forest._CHUNK", 30)
    np.testing.assert_array_equal(forest.mean(x), whole)


def test_several_forests_in_one_file():
    forests = [Forest.of_scikit_learn(fit(trees=n, seed=n)[0]) for n in (1, 5)]
    arrays, counts = merge_forests(forests)
    x = fit()[1]
    for before, after in zip(forests, divide_forests(arrays, counts), strict=True):
        np.testing.assert_array_equal(before.mean(x), after.mean(x))
    for wrong in ([counts[0]], [counts[0], [counts[1][0] - 1, counts[1][1]]], [[0, 0], *counts]):
        with pytest.raises(ValueError, match="forest"):
            divide_forests(arrays, wrong)


LEAF = dict(feature=[-1], value=[1.0], right=[0], roots=[0])


@pytest.mark.parametrize(
    "change",
    [
        {"feature": [], "value": [], "right": []},  # no nodes
        {"value": [1.0, 2.0]},  # of another length
        {"roots": [1]},  # the first tree is missing
        {"feature": [0], "right": [0]},  # a loop
        {"feature": [0, -1, -1], "value": [0, 1, 2], "right": [1, 0, 0]},  # both children are the left one
        {"feature": [0, -1, -1], "value": [0, 1, 2], "right": [2, 0, 0], "roots": [0, 2]},  # a child of another tree
        {"feature": [0, -1, -1], "value": [0, 1, 2], "right": [9, 0, 0]},  # a child outside
    ],
)
def test_damaged_forests_are_refused(change):
    assert Forest(**LEAF).mean(np.zeros((2, 1))).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"forest"):
        Forest(**{**LEAF, **change})
