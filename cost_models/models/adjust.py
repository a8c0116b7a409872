"""Transfer a fitted model to another device with few measurements, or refine it with new ones of the same device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.cluster.vq import kmeans2

from ..features.terms import Parts, terms_of
from ..features.workload import Workload, Workloads, group_by_class
from .analytic import AnalyticModel, ClassModel
from .base import check_samples
from .correction import log_extents
from .regression import fit_non_negative, round_digits

Groups = list[tuple[Workload, np.ndarray]]

# Penalty on new terms next to the other device's prediction, in samples (see `fit_non_negative`).
_RESTRAINT = 1.0
# Weight, in samples, of the prior that a class is not scaled by its own measurements.
_PRIOR = 3.0
_MOST_PRIOR = 50.0


def transfer_model(model: AnalyticModel, kernels: Workloads, seconds: np.ndarray) -> AnalyticModel:
    """Make a model of a new device from that of another one and a few kernels measured on the new one.

    For each kind of kernel: seconds = g x prediction of the other model + a sum of terms, with non-negative
    coefficients and a penalty on the terms, so that few measurements change little. Polynomial corrections are kept.
    Then each class is scaled by its own measurements, shrunk towards 1 by their number.

    Parameters
    ----------
    model : AnalyticModel
        Fitted on another device.
    kernels : Workload or sequence of Workload
        10 to 50 are enough (see `select_representative`).
    seconds : array, shape (n,)

    Returns
    -------
    AnalyticModel
        A new model; `model` is not changed.
    """
    groups, y = check_samples(kernels, seconds)
    general = float(np.exp(np.median(np.concatenate([np.log(y[i] / model.predict(w)) for w, i in groups]))))
    by_kind: dict[str, Groups] = {}
    for w, where in groups:
        by_kind.setdefault(w.kind, []).append((w, where))
    parts = {kind: _fit_scale_and_terms(model, members, y, general) for kind, members in by_kind.items()}

    def change(_key: str, c: ClassModel) -> ClassModel:
        scale, terms = parts.get(c.kind, (general, {}))
        mixed = {n: scale * v for n, v in c.terms.items()}
        for name, coefficient in terms.items():
            mixed[name] = mixed.get(name, 0.0) + coefficient
        return replace(c, terms=dict(zip(mixed, round_digits(np.array(list(mixed.values()))), strict=True)))

    return _scale_classes(_map_classes(model, change), groups, y, lambda _c: _PRIOR)


def _fit_scale_and_terms(
    model: AnalyticModel, members: Groups, y: np.ndarray, general: float
) -> tuple[float, dict[str, float]]:
    """Fit the factor of a kind's predictions, and the terms that are added to them."""
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
    scale, *added = fit_non_negative(np.concatenate(rows), np.concatenate(times), restraint)
    return general * scale, {n: v for n, v in zip(names, added, strict=True) if v > 0}


def refine_model(model: AnalyticModel, kernels: Workloads, seconds: np.ndarray) -> AnalyticModel:
    """Refine a model with new measurements of the same device, without the old ones.

    A class is weighted between its new measurements and those that it was fitted to, by their numbers. Of the old ones
    at most 50 count, so that a profile follows a device that changes.

    Parameters
    ----------
    model : AnalyticModel
    kernels : Workload or sequence of Workload
        Kernels of new kinds are fitted separately.
    seconds : array, shape (n,)

    Returns
    -------
    AnalyticModel
        A new model.
    """
    groups, y = check_samples(kernels, seconds)
    kinds = {c.kind for c in model.classes_.values()}
    known = [(w, where) for w, where in groups if w.kind in kinds]
    new = [(w, where) for w, where in groups if w.kind not in kinds]
    changed = _scale_classes(model, known, y, lambda c: min(c.samples, _MOST_PRIOR))
    if new:
        added = AnalyticModel(corrections=False, work_groups=model.work_groups)
        added.fit([w for w, _ in new], np.concatenate([y[i] for _, i in new]))
        changed.classes_ |= added.classes_
    return changed


def select_representative(kernels: Workloads, count: int) -> list[int]:
    """Select kernels to measure if not all can be: those nearest to the centres of clusters of their shapes.

    Parameters
    ----------
    kernels : Workload or sequence of Workload
    count : int

    Returns
    -------
    list of int
        At most `count` positions; deterministic.
    """
    groups, total = group_by_class(kernels)
    count = min(count, total)
    sizes = np.array([len(where) for _, where in groups], float)
    quota = np.zeros(len(groups), int)
    for _ in range(count):  # larger classes get more kernels, less than in proportion
        quota[np.argmax(np.where(quota < sizes, sizes**0.7 / (quota + 1), -1.0))] += 1
    return sorted(int(where[i]) for (w, where), k in zip(groups, quota, strict=True) for i in _nearest_to_centres(w, k))


def _nearest_to_centres(w: Workload, count: int) -> list[int]:
    """Return the kernels nearest to the centres of `count` clusters (k-means in the logarithms of the extents)."""
    if not count:
        return []
    logs = log_extents(w)
    z = (logs - logs.mean(axis=0)) / (logs.std(axis=0) + 1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # with many equal kernels a cluster may be empty
        centres, _ = kmeans2(z, count, iter=20, minit="++", seed=0)
    distances = ((z[:, None] - centres[None]) ** 2).sum(axis=2)
    return sorted(set(distances.argmin(axis=0).tolist()))


def _scale_classes(
    model: AnalyticModel, groups: Groups, y: np.ndarray, prior: Callable[[ClassModel], float]
) -> AnalyticModel:
    """Scale each class by the median ratio of its measurements, shrunk towards 1 by a prior that counts as samples."""
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
        terms = dict(zip(c.terms, round_digits(factor * np.array(list(c.terms.values()))), strict=True))
        return replace(c, terms=terms, samples=c.samples + len(found))

    return _map_classes(model, change)


def _map_classes(model: AnalyticModel, change: Callable[[str, ClassModel], ClassModel]) -> AnalyticModel:
    made = type(model).from_state(model.state())
    made.classes_ = {key: change(key, c) for key, c in made.classes_.items()}
    made.roofline_ = change("", made.roofline_)
    return made
