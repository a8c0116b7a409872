"""Small boosted trees for what a sum of terms misses: where a library changes its kernel or tile, or a cache is full.

The trees are oblivious (Prokhorenkova et al., NeurIPS 2018): all branches of a level ask the same question, so that a
tree of four levels is four questions and sixteen leaves. A question compares a number of `features.questions` with a
threshold. Questions and leaves take one character each, and few questions serve all trees, so that a hundred trees fit
into 3 kB. Their sum is bounded, within the samples and outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..features.questions import QUESTIONS
from ..features.terms import Parts
from ..features.workload import Number, Workload
from .base import assign_folds
from .packed import BASE, pack_digits, unpack_digits
from .regression import round_digits

DEPTH = 4
MAX_TREES = 150
LIMIT = 0.7  # of the sum: a factor between 0.5 and 2
_CLIP = 0.1  # larger residuals count as this
# Part of the mean residual in a leaf that a tree takes: the more samples the more, because trees are few.
_RATES, _FULL_RATE_SAMPLES = (0.1, 0.5), 3000
_MIDDLE = BASE // 2  # the character of a leaf of 0
_UNIT = 0.03 / (_MIDDLE - 1)  # of files that state none
_RESTRAINT = 1.0  # samples without residual that each leaf has in addition
_BINS = 16  # thresholds of a number are chosen among one less
_ROWS, _FOLD_ROWS = 2048, 1024  # samples by which the questions of one tree are chosen, and in cross-validation
# Of the loss that cross-validation saves: too little is chance; a part is given for more trees, which agree better.
_LEAST_GAIN, _GIVEN = 0.02, 0.2
_CHUNK = 2048  # kernels that are predicted at once, so that what is computed stays in a cache
_EQUAL = 1e-9  # relative difference of scores by rounding
_FOLDS, _FEW_FOLDS, _MANY = 3, 2, 1000  # the latter for at least so many samples
_BITS = 1 << np.arange(DEPTH)[::-1]  # what the answer at each level adds to the index of the leaf
_CLASS = "="  # before a class: whether a kernel is of it
_MIN_CLASS = 16  # a smaller class is no question
_MIN_SAMPLES = 24


@dataclass(frozen=True)
class ResidualTrees:
    """Fitted trees.

    Attributes
    ----------
    questions : tuple of (str, float)
        Name of a number, or a class after ``=``, and the threshold that it has to exceed. Those of one number are
        neighbours.
    nodes : array of int, shape (trees, DEPTH)
        Question of each level.
    leaves : array of int, shape (trees, 2 ** DEPTH)
        Logarithms in `unit`; the first question's answer is the highest bit of the index.
    unit : float
    """

    questions: tuple[tuple[str, float], ...]
    nodes: np.ndarray
    leaves: np.ndarray
    unit: float

    def factor(self, w: Workload) -> Number:
        """Return the factor of the sum of terms: a number for a workload of numbers, else shape (n,)."""
        columns, thresholds, at_question, weights, offsets, leaves = self._parts
        parts = Parts(w)
        values = [float(w.key == name[1:]) if ask is None else ask(parts) for name, ask in columns]
        if np.ndarray not in set(map(type, values)):
            answers = np.array(values, float)[at_question] > thresholds
            total = leaves[answers[self.nodes] @ _BITS + offsets].sum()
            return math.exp(min(LIMIT, max(-LIMIT, self.unit * int(total))))
        total = np.empty(w.size, np.int64)
        for start in range(0, w.size, _CHUNK):
            rows = slice(start, min(start + _CHUNK, w.size))
            answers = np.empty((len(thresholds), rows.stop - start), np.float32)
            for v, (first, last) in zip(values, self._slices, strict=True):
                part = v[rows] if isinstance(v, np.ndarray) and v.size > 1 else v
                np.greater(part, thresholds[first:last, None], out=answers[first:last])
            # Products of small integers are exact in single precision, however BLAS orders them.
            at = (weights @ answers).astype(np.int32)
            at += offsets[:, None]
            total[rows] = leaves.take(at).sum(axis=0, dtype=np.int64)
        return np.exp(np.clip(self.unit * total, -LIMIT, LIMIT))

    @cached_property
    def _parts(self) -> tuple:
        names = list(dict.fromkeys(name for name, _ in self.questions))
        columns = [(n, None if n.startswith(_CLASS) else QUESTIONS[n]) for n in names]
        at_question = np.array([names.index(n) for n, _ in self.questions], np.intp)
        thresholds = np.array([t for _, t in self.questions])
        trees = len(self.nodes)
        weights = np.zeros((trees, len(self.questions)), np.float32)
        for level in range(DEPTH):
            weights[np.arange(trees), self.nodes[:, level]] += _BITS[level]
        offsets = (np.arange(trees) << DEPTH).astype(np.int32)
        return columns, thresholds, at_question, weights, offsets, self.leaves.ravel().astype(np.int32)

    @cached_property
    def _slices(self) -> list[tuple[int, int]]:
        """Return where the questions of each number are."""
        names = [name for name, _ in self.questions]
        return [(names.index(n), names.index(n) + names.count(n)) for n in dict.fromkeys(names)]

    def first(self, count: int) -> ResidualTrees | None:
        """Return the first trees with the questions that they ask; `None` for no tree."""
        if not count:
            return None
        nodes = self.nodes[:count]
        used = sorted(set(nodes.ravel().tolist()))
        at = {q: i for i, q in enumerate(used)}
        renamed = np.array([[at[q] for q in tree] for tree in nodes.tolist()])
        return replace(
            self, questions=tuple(self.questions[q] for q in used), nodes=renamed, leaves=self.leaves[:count]
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        asked: dict[str, list[float]] = {}
        for name, threshold in self.questions:
            asked.setdefault(name, []).append(int(threshold) if threshold == int(threshold) else threshold)
        trees = zip(self.nodes.tolist(), (self.leaves + _MIDDLE).tolist(), strict=True)
        return {
            "questions": asked,
            **({"unit": self.unit} if self.unit != _UNIT else {}),
            "nodes": "".join(pack_digits(n) + pack_digits(v) for n, v in trees),
        }

    @staticmethod
    def from_json(d: dict[str, Any]) -> ResidualTrees:
        """Read the values of `to_json`; `ValueError` or another error if they are damaged."""
        questions = tuple((str(n), float(t)) for n, asked in d["questions"].items() for t in asked)
        if unknown := [n for n, _ in questions if not n.startswith(_CLASS) and n not in QUESTIONS]:
            raise ValueError(f"unknown question {unknown[0]!r}")
        size = DEPTH + (1 << DEPTH)
        text = str(d["nodes"])
        if not text or len(text) % size:
            raise ValueError("the last tree is not whole")
        table = np.array(unpack_digits(text)).reshape(-1, size)
        if table[:, :DEPTH].max() >= len(questions):
            raise ValueError("a tree asks an unknown question")
        unit = float(d.get("unit", _UNIT))
        if not 0 < unit < 1:
            raise ValueError(f"unit {unit}")
        return ResidualTrees(questions, table[:, :DEPTH], table[:, DEPTH:] - _MIDDLE, unit)


def fit_residual_trees(groups: Sequence[tuple[Workload, np.ndarray]], most: int = MAX_TREES) -> ResidualTrees | None:
    """Fit trees to residuals, as many as save error in cross-validation by shape.

    Parameters
    ----------
    groups : sequence of (Workload, array)
        Stacked samples of each class, and the logarithms of measured seconds over the sum of terms.
    most : int
        Maximum number of trees.

    Returns
    -------
    ResidualTrees or None
        `None` if trees save no error.
    """
    target = np.concatenate([residuals for _, residuals in groups])
    if len(target) < _MIN_SAMPLES:
        return None
    rate = min(_RATES[1], max(_RATES[0], _RATES[1] * len(target) / _FULL_RATE_SAMPLES))
    unit = round_digits(np.array([_CLIP * rate / (_MIDDLE - 1)]), 3)[0]
    names, table = _make_table(groups)
    bins = _Bins(table)
    if not bins.usable.any():  # all kernels are equal
        return None
    shapes = np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)
    fold = assign_folds(shapes, _FOLDS if len(target) < _MANY else _FEW_FOLDS)
    loss = np.zeros(most + 1)
    for k in range(fold.max() + 1):
        out = fold == k
        missed = target[out]
        curve = [np.abs(np.clip(missed, -LIMIT, LIMIT)).sum()]
        for nodes, leaves in _grow(bins, ~out, target, most, _FOLD_ROWS, rate, unit):
            missed = missed - unit * leaves[_leaf_of(bins.table[out], nodes)]
            curve.append(np.abs(np.clip(missed, -LIMIT, LIMIT)).sum())
        loss += curve
    gain = loss[0] - loss.min()
    if gain <= _LEAST_GAIN * loss[0]:
        return None
    count = int(np.flatnonzero(loss <= loss.min() + _GIVEN * gain).max())
    trees = list(_grow(bins, np.ones(len(target), bool), target, count, _ROWS, rate, unit))
    found = sorted({q for nodes, _ in trees for q in nodes})
    at = {q: i for i, q in enumerate(found)}
    asked = np.array([[at[q] for q in nodes] for nodes, _ in trees])
    questions = tuple((names[f], float(bins.thresholds[f, j])) for f, j in found)
    return ResidualTrees(questions, asked, np.array([leaves for _, leaves in trees]), unit)


def _make_table(groups: Sequence[tuple[Workload, np.ndarray]]) -> tuple[list[str], np.ndarray]:
    """Return the names of all numbers, and the numbers of the samples, shape (n, numbers)."""
    classes = [w.key for w, residuals in groups if len(residuals) >= _MIN_CLASS] if len(groups) > 1 else []
    tables = []
    for w, residuals in groups:
        parts = Parts(w)
        values = [ask(parts) for ask in QUESTIONS.values()] + [float(w.key == key) for key in classes]
        tables.append(np.stack([np.broadcast_to(np.asarray(v, float), residuals.shape) for v in values], 1))
    return [*QUESTIONS, *(_CLASS + key for key in classes)], np.concatenate(tables)


class _Bins:
    """Numbers in bins: bin j of a number lies above j thresholds."""

    def __init__(self, table: np.ndarray):
        self.thresholds = np.full((table.shape[1], _BINS - 1), np.inf)
        self.table = np.empty(table.shape, np.int64)
        for f, column in enumerate(table.T):
            values = np.unique(column)
            between = np.arange(len(values) - 1)
            if len(between) >= _BINS:
                parts = np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1])
                between = np.unique(np.clip(np.searchsorted(values, parts) - 1, 0, len(values) - 2))
            thresholds = [_short_between(values[i], values[i + 1]) for i in between]
            self.thresholds[f, : len(thresholds)] = thresholds
            self.table[:, f] = np.searchsorted(thresholds, column)
        self.usable = np.isfinite(self.thresholds)


def _short_between(low: float, high: float) -> float:
    """Return a number with few digits, at least `low` and less than `high`."""
    middle = (low + high) / 2
    for digits in range(17):
        short = float(f"{middle:.{digits}e}")
        if low < short < high:
            return short
    return low


def _grow(
    bins: _Bins, inside: np.ndarray, target: np.ndarray, count: int, most_rows: int, rate: float, unit: float
) -> Iterator[tuple[list[tuple[int, int]], np.ndarray]]:
    """Boost trees on some of the samples: yield the questions (number, threshold) and leaves of each."""
    rng = np.random.default_rng(0)
    table, left = bins.table[inside], target[inside]
    numbers = table.shape[1]
    size = numbers * _BINS
    asked: set[tuple[int, int]] = set()
    usable = bins.usable.copy()
    for _ in range(count):
        pull = np.clip(left, -_CLIP, _CLIP)
        rows = rng.permutation(len(left))[: min(most_rows, max(8, int(0.8 * len(left))))]
        binned, weights = table[rows], np.repeat(pull[rows], numbers)
        columns = binned + _BINS * np.arange(numbers)
        leaf = np.zeros(len(rows), np.int64)
        nodes: list[tuple[int, int]] = []
        for level in range(DEPTH):
            shape = (1 << level, numbers, _BINS)
            where = (columns + (leaf * size)[:, None]).ravel()
            pulls = np.bincount(where, weights, size << level).reshape(shape).cumsum(axis=2)
            counts = np.bincount(where, minlength=size << level).reshape(shape).cumsum(axis=2)
            low, high = pulls[..., :-1], pulls[..., -1:] - pulls[..., :-1]
            score = low**2 / (counts[..., :-1] + _RESTRAINT)
            score += high**2 / (counts[..., -1:] - counts[..., :-1] + _RESTRAINT)
            total = np.where(usable, score.sum(axis=0), -1.0).ravel()
            best = int(np.flatnonzero(total >= total.max() * (1 - _EQUAL))[0])  # of equal ones the simplest: an extent
            question = divmod(best, _BINS - 1)
            nodes.append(question)
            leaf = 2 * leaf + (binned[:, question[0]] > question[1])
            asked.add(question)
            if len(asked) == BASE:  # one character each
                usable[:] = False
                for f, j in asked:
                    usable[f, j] = True
        leaf = _leaf_of(table, nodes)
        means = np.bincount(leaf, pull, 1 << DEPTH) / (np.bincount(leaf, minlength=1 << DEPTH) + _RESTRAINT)
        leaves = np.clip(np.rint(rate * means / unit), -_MIDDLE, _MIDDLE - 1).astype(int)
        left = left - unit * leaves[leaf]
        yield nodes, leaves


def _leaf_of(table: np.ndarray, nodes: list[tuple[int, int]]) -> np.ndarray:
    leaf = np.zeros(len(table), np.int64)
    for f, j in nodes:
        leaf = 2 * leaf + (table[:, f] > j)
    return leaf
