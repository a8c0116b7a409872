"""Forests of regression trees as arrays, evaluated without the library that fitted them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor

_CHUNK = 1 << 20  # rows times trees that are evaluated at once


class Forest:
    """Trees whose nodes lie in preorder: the left child of a node is the next one.

    Parameters
    ----------
    feature : array of int, shape (nodes,)
        Column that a node compares; -1 for a leaf.
    value : array of float, shape (nodes,)
        Threshold of a node, value of a leaf. A row goes left if its feature is at most the threshold.
    right : array of int, shape (nodes,)
        Position of the right child; 0 for a leaf.
    roots : array of int, shape (trees,)
        Ascending; the first is 0.

    Raises
    ------
    ValueError
        Unless every row of features ends in a leaf of its own tree.
    """

    FIELDS = ("feature", "value", "right", "roots")

    def __init__(self, feature: np.ndarray, value: np.ndarray, right: np.ndarray, roots: np.ndarray):
        self.feature = np.asarray(feature, np.int16)
        self.value = np.asarray(value, np.float32)
        self.right, self.roots = (np.asarray(a, np.int32) for a in (right, roots))
        self._check()

    def _check(self) -> None:
        n, at = len(self.feature), np.arange(len(self.feature))
        if not n or self.value.shape != (n,) or self.right.shape != (n,) or not len(self.roots):
            raise ValueError("a forest has no nodes, or arrays of different lengths")
        if self.roots[0] != 0 or (np.diff(self.roots) <= 0).any() or self.roots[-1] >= n:
            raise ValueError("a forest's roots are not in order")
        end = np.append(self.roots[1:], n)[np.searchsorted(self.roots, at, side="right") - 1]
        inner = self.feature >= 0
        if (inner & ((self.right <= at + 1) | (self.right >= end))).any():
            raise ValueError("a node of a forest has a child outside its tree")

    @classmethod
    def of_scikit_learn(cls, fitted: RandomForestRegressor) -> Forest:
        """Take the trees of a fitted forest."""
        parts: list[tuple[np.ndarray, ...]] = []
        start = 0
        for estimator in fitted.estimators_:
            tree = estimator.tree_
            leaf = tree.children_left < 0
            exact = tree.threshold
            threshold = exact.astype(np.float32)
            # the largest number in single precision that is not above: a feature in single precision goes the same way
            threshold = np.where(threshold > exact, np.nextafter(threshold, np.float32(-np.inf)), threshold)
            feature = np.where(leaf, -1, tree.feature)
            value = np.where(leaf, tree.value[:, 0, 0], threshold)
            right = np.where(leaf, 0, tree.children_right + start)
            parts.append((feature, value, right, np.array([start])))
            start += tree.node_count
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def mean(self, features: np.ndarray) -> np.ndarray:
        """Return the mean over trees of the leaf of each row.

        Parameters
        ----------
        features : array, shape (n, columns)

        Returns
        -------
        array, shape (n,)
        """
        rows = np.asarray(features, np.float32)
        step = max(1, _CHUNK // len(self.roots))
        return np.concatenate([self._mean(rows[i : i + step]) for i in range(0, len(rows), step)] or [np.empty(0)])

    def _mean(self, rows: np.ndarray) -> np.ndarray:
        trees = len(self.roots)
        at = np.tile(self.roots, len(rows))
        row = np.repeat(np.arange(len(rows)), trees)
        moving = np.arange(len(at))
        while len(moving := moving[self.feature[at[moving]] >= 0]):
            node = at[moving]
            left = rows[row[moving], self.feature[node]] <= self.value[node]
            at[moving] = np.where(left, node + 1, self.right[node])
        return self.value[at].astype(float).reshape(len(rows), trees).mean(axis=1)


def merge_forests(forests: list[Forest]) -> tuple[dict[str, np.ndarray], list[list[int]]]:
    """Return the arrays of several forests one after the other, and the numbers of nodes and trees of each."""
    counts = [[len(f.feature), len(f.roots)] for f in forests]
    return {n: np.concatenate([getattr(f, n) for f in forests]) for n in Forest.FIELDS}, counts


def divide_forests(arrays: dict[str, np.ndarray], counts: list[list[int]]) -> list[Forest]:
    """Take apart the arrays of `merge_forests`; raise `ValueError` for damaged ones."""
    nodes, trees = (np.cumsum([0, *(int(c[i]) for c in counts)]) for i in (0, 1))
    if len(arrays["feature"]) != nodes[-1] or len(arrays["roots"]) != trees[-1] or min(map(min, counts), default=1) < 1:
        raise ValueError("its forests have other numbers of nodes and trees than its header says")
    found = []
    for i in range(len(counts)):
        of_nodes, of_trees = slice(nodes[i], nodes[i + 1]), slice(trees[i], trees[i + 1])
        feature, value, right = (arrays[n][of_nodes] for n in Forest.FIELDS[:3])
        found.append(Forest(feature, value, right, arrays["roots"][of_trees]))
    return found
