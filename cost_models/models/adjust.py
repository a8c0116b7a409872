"""Select kernels to measure, and refine a fitted model with new measurements of the same device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..features.workload import Workload, Workloads, group_by_class
from .analytic import AnalyticModel, ClassModel
from .base import check_samples
from .correction import log_extents
from .moved import MovedModel

Groups = list[tuple[Workload, np.ndarray]]

_MOST_PRIOR = 50.0


def refine_model(
    model: AnalyticModel | MovedModel, kernels: Workloads, seconds: np.ndarray
) -> AnalyticModel | MovedModel:
    """Refine a model with new measurements of the same device, without the old ones.

    A class is weighted between its new measurements and those that it was fitted to, by their numbers. Of the old ones
    at most 50 count, so that a profile follows a device that changes.

    Parameters
    ----------
    model : AnalyticModel or MovedModel
        To the latter the measurements are added.
    kernels : Workload or sequence of Workload
        Kernels of new kinds are fitted separately.
    seconds : array, shape (n,)

    Returns
    -------
    AnalyticModel or MovedModel
        A new model.
    """
    if isinstance(model, MovedModel):
        return model.refined(kernels, seconds)
    groups, y = check_samples(kernels, seconds)
    kinds = {c.kind for c in model.classes_.values()}
    known = [(w, where) for w, where in groups if w.kind in kinds]
    new = [(w, where) for w, where in groups if w.kind not in kinds]
    changed = _scale_classes(model, known, y)
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
        from scipy.cluster.vq import kmeans2  # large, and most processes fit nothing

        centres, _ = kmeans2(z, count, iter=20, minit="++", seed=0)
    distances = ((z[:, None] - centres[None]) ** 2).sum(axis=2)
    return sorted(set(distances.argmin(axis=0).tolist()))


def _scale_classes(model: AnalyticModel, groups: Groups, y: np.ndarray) -> AnalyticModel:
    """Scale each class by the median ratio of its measurements, shrunk towards 1 by its earlier samples."""
    ratios: dict[str, list[float]] = {}
    for w, where in groups:
        c = model.class_of(w)
        key = next(k for k, m in model.classes_.items() if m is c)
        ratios.setdefault(key, []).extend(np.log(y[where] / c.seconds(w)))

    def change(key: str, c: ClassModel) -> ClassModel:
        found = ratios.get(key)
        if not found:
            return c
        factor = np.exp(np.median(found) * len(found) / (len(found) + min(c.samples, _MOST_PRIOR)))
        scaled = model.round_coefficients(factor * np.array(list(c.terms.values())))
        terms = dict(zip(c.terms, scaled, strict=True))
        return replace(c, terms=terms, samples=c.samples + len(found))

    return _map_classes(model, change)


def _map_classes(model: AnalyticModel, change: Callable[[str, ClassModel], ClassModel]) -> AnalyticModel:
    made = type(model).from_state(model.state())
    made.classes_ = {key: change(key, c) for key, c in made.classes_.items()}
    made.roofline_ = change("", made.roofline_)
    return made
