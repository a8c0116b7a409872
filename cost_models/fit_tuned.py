"""Teach a profile the kernels that tuning records serve.

A tuned kernel is another program than an untuned one of the same class, so it has a class of its own: that of the
kernel with the variant ``tuned``. Few records scale the class of the untuned kernel; with more of them the class has
terms of its own if these predict left-out records better. Classes of untuned kernels stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from tvm_coexec.core.errors import CoExecError

from .dataset import Sample
from .features.workload import Workload, group_by_class, take
from .models.analytic import AnalyticModel, ClassModel, fit_terms
from .models.base import assign_folds
from .profile import Profile

MIN_OWN_TERMS = 12  # records of a class below which it is a scaled copy
_PRIOR = 0.5  # weight of the untuned class, in records
_FOLDS = 5

Fit = Callable[[Workload, np.ndarray], ClassModel]
Rounding = Callable[[np.ndarray], list[float]]


def add_tuned(profile: Profile, samples: Sequence[Sample]) -> Profile:
    """Return a profile that also predicts tuned kernels.

    Parameters
    ----------
    profile : Profile
        It is not changed.
    samples : sequence of Sample
        Of kernels with the variant ``tuned``.

    Raises
    ------
    CoExecError
        If a device's model is not an analytic one.
    """
    models = dict(profile.devices)
    for device in dict.fromkeys(s.device for s in samples):
        model = models[device]
        if not isinstance(model, AnalyticModel):
            raise CoExecError(f"a profile with a '{model.name}' model can't learn from tuning records; fit one without")
        own = [s for s in samples if s.device == device]
        models[device] = _teach(model, [s.workload for s in own], np.array([s.seconds for s in own]))
        models[device].for_device(device)
    return replace(profile, devices=models)


def _teach(model: AnalyticModel, workloads: Sequence[Workload], seconds: np.ndarray) -> AnalyticModel:
    changed = AnalyticModel.from_state(model.state())
    groups, _ = group_by_class(workloads)
    for w, where in groups:
        base, y = model.class_of(w), seconds[where]  # the tuned class itself, if an earlier fit made it
        fits: list[Fit] = [partial(_scale, base, model.round_coefficients)]
        if len(y) >= MIN_OWN_TERMS:
            fits.append(lambda w, y: fit_terms([(w, y)], model.work_groups, model.round_coefficients))
        changed.classes_[w.key] = min(fits, key=lambda fit: _missed(fit, w, y))(w, y)
    return changed


def _scale(base: ClassModel, rounded: Rounding, w: Workload, seconds: np.ndarray) -> ClassModel:
    """Scale a class by the median ratio of the records, shrunk towards 1 by their number."""
    ratios = np.log(seconds / base.seconds(w))
    factor = float(np.exp(np.median(ratios) * len(ratios) / (len(ratios) + _PRIOR)))
    terms = dict(zip(base.terms, rounded(factor * np.array(list(base.terms.values()))), strict=True))
    return replace(base, kind=w.kind, terms=terms, samples=len(seconds))


def _missed(fit: Fit, w: Workload, seconds: np.ndarray) -> float:
    """Return the mean absolute logarithm of predicted over measured seconds of left-out records."""
    fold = assign_folds([str(i) for i in range(len(seconds))], min(_FOLDS, len(seconds)))
    missed = np.zeros(len(seconds))
    for k in range(fold.max() + 1):
        inside, out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if len(inside) and len(out):
            found = fit(take(w, inside), seconds[inside])
            missed[out] = np.log(found.seconds(take(w, out)) / seconds[out])
    return float(np.mean(np.abs(missed)))
