"""Moving a fitted model to other measurements: to another device with few of them, or to newer ones of the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.cluster.vq import kmeans2

from ..features.terms import Parts, terms_of
from ..features.workload import Workload, Workloads, groups_of
from .analytic import AnalyticModel, ClassModel
from .base import check_samples
from .correction import logarithms
from .regression import non_negative_sum, rounded

Groups = list[tuple[Workload, np.ndarray]]

# New terms must save error to be used beside what the other device's model says...
_RESTRAINT = 1.0
# ... and a class moves by its own measurements only against so many that say it does not.
_PRIOR = 3.0
_MOST_PRIOR = 50.0


def transfer_model(model: AnalyticModel, kernels: Workloads, seconds: np.ndarray) -> AnalyticModel:
    """The model of a new device from that of another and a few kernels measured on the new one.

    For each kind of kernel: seconds = g x what the other device's model says + a sum of terms, all coefficients not
    negative and those of the terms held back, so that few measurements change little. Polynomial corrections stay. Then
    each class is multiplied by what its own measurements ask for, as far as their number justifies it.

    Parameters
    ----------
    model : AnalyticModel
        Fitted on another device.
    kernels : Workload or sequence of Workload
        10 to 50 are enough (see `representative`).
    seconds : array, shape (n,)

    Returns
    -------
    AnalyticModel
        A new one; `model` stays as it is.
    """
    groups, y = check_samples(kernels, seconds)
    general = float(np.exp(np.median(np.concatenate([np.log(y[i] / model.predict(w)) for w, i in groups]))))
    by_kind: dict[str, Groups] = {}
    for w, where in groups:
        by_kind.setdefault(w.kind, []).append((w, where))
    parts = {kind: _beside_the_other(model, members, y, general) for kind, members in by_kind.items()}

    def change(_key: str, c: ClassModel) -> ClassModel:
        scale, terms = parts.get(c.kind, (general, {}))
        mixed = {n: scale * v for n, v in c.terms.items()}
        for name, coefficient in terms.items():
            mixed[name] = mixed.get(name, 0.0) + coefficient
        return replace(c, terms=dict(zip(mixed, rounded(np.array(list(mixed.values()))), strict=True)))

    return _by_class(_mapped(model, change), groups, y, lambda _c: _PRIOR)


def _beside_the_other(
    model: AnalyticModel, members: Groups, y: np.ndarray, general: float
) -> tuple[float, dict[str, float]]:
    """What a kind's predictions are multiplied by, and the terms that are added to them."""
    tables = [terms_of(w.kind, w.algorithm, model.work_groups) for w, _ in members]
    names = [n for n in tables[0] if all(n in t for t in tables)]
    rows, times = [], []
    for (w, where), terms in zip(members, tables, strict=True):
        c, parts = model.class_of(w), Parts(w)
        factor = c.correction.factor(w) if c.correction else np.ones(w.size)
        columns = [general * c.sum_of_terms(w), *(terms[n](parts) for n in names)]
        rows.append(np.stack([np.broadcast_to(np.asarray(v, float), (w.size,)) for v in columns], 1))
        times.append(y[where] / factor)
    restraint = np.array([0.0] + [_RESTRAINT] * len(names))
    scale, *added = non_negative_sum(np.concatenate(rows), np.concatenate(times), restraint)
    return general * scale, {n: v for n, v in zip(names, added, strict=True) if v > 0}


def refine_model(model: AnalyticModel, kernels: Workloads, seconds: np.ndarray) -> AnalyticModel:
    """The model with new measurements of the same device taken in, without those it was fitted on.

    A class moves towards its new measurements by their number against those that it was fitted on, of which at most
    50 are counted, so that a profile follows a device that changes.

    Parameters
    ----------
    model : AnalyticModel
    kernels : Workload or sequence of Workload
        Kernels of new classes are fitted on their own.
    seconds : array, shape (n,)

    Returns
    -------
    AnalyticModel
        A new one.
    """
    groups, y = check_samples(kernels, seconds)
    kinds = {c.kind for c in model.classes_.values()}
    known = [(w, where) for w, where in groups if w.kind in kinds]
    new = [(w, where) for w, where in groups if w.kind not in kinds]
    changed = _by_class(model, known, y, lambda c: min(c.samples, _MOST_PRIOR))
    if new:
        added = AnalyticModel(corrections=False, work_groups=model.work_groups)
        added.fit([w for w, _ in new], np.concatenate([y[i] for _, i in new]))
        changed.classes_ |= added.classes_
    return changed


def representative(kernels: Workloads, count: int) -> list[int]:
    """Which kernels to measure where only some can be: the middles of as many clusters of their shapes.

    Parameters
    ----------
    kernels : Workload or sequence of Workload
    count : int

    Returns
    -------
    list of int
        At most `count` positions, the same for the same kernels.
    """
    groups, total = groups_of(kernels)
    count = min(count, total)
    sizes = np.array([len(where) for _, where in groups], float)
    quota = np.zeros(len(groups), int)
    for _ in range(count):  # large classes get more, but not as many more as they are larger
        quota[np.argmax(np.where(quota < sizes, sizes**0.7 / (quota + 1), -1.0))] += 1
    return sorted(int(where[i]) for (w, where), k in zip(groups, quota, strict=True) for i in _middles(w, k))


def _middles(w: Workload, count: int) -> list[int]:
    """The kernels nearest to the centres of so many clusters (k-means in the logarithms of the extents)."""
    if not count:
        return []
    logs = logarithms(w)
    z = (logs - logs.mean(axis=0)) / (logs.std(axis=0) + 1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # many kernels are the same: a cluster may stay empty
        centres, _ = kmeans2(z, count, iter=20, minit="++", seed=0)
    distances = ((z[:, None] - centres[None]) ** 2).sum(axis=2)
    return sorted(set(distances.argmin(axis=0).tolist()))


def _by_class(
    model: AnalyticModel, groups: Groups, y: np.ndarray, prior: Callable[[ClassModel], float]
) -> AnalyticModel:
    """Each class multiplied by what its measurements ask for, held back by a prior that counts as so many of them."""
    ratios: dict[str, list[float]] = {}
    for w, where in groups:
        c = model.class_of(w)
        key = next(k for k, m in model.classes_.items() if m is c)
        ratios.setdefault(key, []).extend(np.log(y[where] / c.seconds(w)))

    def change(key: str, c: ClassModel) -> ClassModel:
        found = ratios.get(key)
        if not found:
            return c
        factor = np.exp(np.median(found) * len(found) / (len(found) + prior(c)))
        terms = dict(zip(c.terms, rounded(factor * np.array(list(c.terms.values()))), strict=True))
        return replace(c, terms=terms, samples=c.samples + len(found))

    return _mapped(model, change)


def _mapped(model: AnalyticModel, change: Callable[[str, ClassModel], ClassModel]) -> AnalyticModel:
    made = type(model).from_state(model.state())
    made.classes_ = {key: change(key, c) for key, c in made.classes_.items()}
    made.roofline_ = change("", made.roofline_)
    return made
