"""Moving a fitted model to other measurements: to another device with few of them, or to newer ones of the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .analytic import AnalyticModel, ClassModel
from .base import check_samples
from .regression import rounded
from .terms import Parts, every_term
from .workload import Workload, Workloads

# A term that is not one of these is work.
_MEMORY = ("in", "out", "weights", "epilogue")
_LAUNCH = ("one", "depth")
_FAMILIES = ("launch", "memory", "work")
_STEPS = 12


def transferred(model: AnalyticModel, kernels: Workloads, seconds: np.ndarray) -> AnalyticModel:
    """The model of a new device from that of another and a few kernels measured on the new one.

    What a kernel's time is made of is kept; how fast the new device launches, moves bytes and computes is fitted
    (three numbers), and how much faster or slower it is at each class, as far as the measurements tell.

    Parameters
    ----------
    model : AnalyticModel
        Fitted on another device.
    kernels : Workload or sequence of Workload
        10 to 50 are enough.
    seconds : array, shape (n,)

    Returns
    -------
    AnalyticModel
        A new one; `model` stays as it is.
    """
    groups, y = check_samples(kernels, seconds)
    own = [(model.class_of(w), w, y[where]) for w, where in groups]
    start = np.exp(np.median(np.concatenate([np.log(t / m.seconds(w)) for m, w, t in own])))
    parts = np.concatenate([_families(m, w) for m, w, _ in own]) * start
    times = np.concatenate([t for *_, t in own])
    speeds = start * _pulled_to_one(parts / times[:, None], strength=3.0)
    moved = _mapped(model, lambda _key, c: _scaled(c, dict(zip(_FAMILIES, speeds, strict=True))))
    return _by_class(moved, groups, y, lambda _m: 3.0)


def refined(model: AnalyticModel, kernels: Workloads, seconds: np.ndarray) -> AnalyticModel:
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
    known = [(w, where) for w, where in groups if _knows(model, w)]
    new = [(w, where) for w, where in groups if not _knows(model, w)]
    changed = _by_class(model, known, y, lambda m: float(min(m.samples, 50)))
    if new:
        added = AnalyticModel(corrections=False).fit([w for w, _ in new], np.concatenate([y[i] for _, i in new]))
        changed.classes_ |= {k: c for k, c in added.classes_.items() if k not in changed.classes_}
    return changed


def _knows(model: AnalyticModel, w: Workload) -> bool:
    return any(key.split("/")[0] == w.kind for key in model.classes_)


def _by_class(model: AnalyticModel, groups, y: np.ndarray, prior: Callable[[ClassModel], float]) -> AnalyticModel:
    """Each class multiplied by what its measurements ask for, held back by a prior that counts as so many of them."""
    ratios: dict[str, list[float]] = {}
    for w, where in groups:
        key = next(k for k, m in model.classes_.items() if m is model.class_of(w))
        ratios.setdefault(key, []).extend(np.log(y[where] / model.classes_[key].seconds(w)))

    def change(key: str, c: ClassModel) -> ClassModel:
        found = ratios.get(key)
        if not found:
            return c
        weight = len(found) / (len(found) + prior(c))
        scaled = _scaled(c, dict.fromkeys(_FAMILIES, float(np.exp(np.median(found) * weight))))
        return replace(scaled, samples=c.samples + len(found))

    return _mapped(model, change)


def _mapped(model: AnalyticModel, change: Callable[[str, ClassModel], ClassModel]) -> AnalyticModel:
    made = type(model).from_state(model.state())
    made.classes_ = {key: change(key, c) for key, c in made.classes_.items()}
    made.roofline_ = change("", made.roofline_)
    return made


def _scaled(c: ClassModel, speeds: dict[str, float]) -> ClassModel:
    values = rounded(np.array([v * speeds[_family(n)] for n, v in c.terms.items()]))
    return replace(c, terms=dict(zip(c.terms, values, strict=True)))


def _family(term: str) -> str:
    return "launch" if term in _LAUNCH else "memory" if term in _MEMORY else "work"


def _families(c: ClassModel, w: Workload) -> np.ndarray:
    """Seconds by family, the correction included, shape (n, 3)."""
    parts, terms = Parts(w), every_term(c.kind)
    factor = c.correction.factor(w) if c.correction else np.ones(w.size)
    table = np.zeros((w.size, len(_FAMILIES)))
    for name, seconds in c.terms.items():
        table[:, _FAMILIES.index(_family(name))] += seconds * terms[name](parts)
    return table * factor[:, None]


def _pulled_to_one(parts: np.ndarray, strength: float) -> np.ndarray:
    """Factors >= 0.05 with ``parts @ factors`` near 1 by absolute error, and themselves near 1."""
    n, k = parts.shape
    weights = np.ones(n)
    found = np.ones(k)
    for _ in range(_STEPS):
        rows = parts * weights[:, None]
        gram = rows.T @ rows + strength * np.eye(k)
        found = np.maximum(np.linalg.solve(gram, rows.T @ weights + strength), 0.05)
        weights = 1 / np.sqrt(np.maximum(np.abs(parts @ found - 1), 0.05))
        weights /= np.sqrt(np.mean(weights**2))
    return found
