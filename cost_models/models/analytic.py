"""The default latency model: a non-negative sum of analytic terms per class, times small polynomial corrections."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from ..features.terms import COMMON, Parts, Term, every_term, terms_of
from ..features.workload import KINDS, Number, Workload, Workloads
from .base import LatencyModel, check_samples, unknown_class
from .correction import Correction, corrections
from .regression import non_negative_sum, rounded

logger = logging.getLogger("tvm_coexec")

LEAST_SAMPLES = 8  # a class with fewer shares the terms of its kind
_LEAST_S = 1e-9
_IDLE_PART = 0.003  # a term that nowhere makes up that part of the time is dropped


@dataclass
class ClassModel:
    """What was learnt of one class: seconds per unit of each term, and a correction."""

    kind: str
    terms: dict[str, float]
    correction: Correction | None = None
    samples: int = 0

    def __post_init__(self) -> None:
        known = every_term(self.kind)
        if unknown := [n for n in self.terms if n not in known]:
            raise ValueError(f"unknown term {unknown[0]!r} of {self.kind}")
        self._parts = [(c, known[n]) for n, c in self.terms.items()]

    def seconds(self, w: Workload) -> Number:
        """Predicted seconds: a number for a workload of numbers, else shape (n,)."""
        total = self.sum_of_terms(w)
        return total if self.correction is None else total * self.correction.factor(w)

    def sum_of_terms(self, w: Workload) -> Number:
        """Seconds without the correction."""
        parts = Parts(w)
        total: Number = 0.0
        for coefficient, term in self._parts:
            total = total + coefficient * term(parts)
        return np.maximum(total, _LEAST_S) if isinstance(total, np.ndarray) else max(total, _LEAST_S)


@dataclass
class _Entry:
    """A class with samples enough for terms of its own."""

    workload: Workload
    seconds: np.ndarray
    model: ClassModel

    def more_bytes(self, offered: Correction) -> int:
        """By how much the file grows with a correction in the place of the present one."""
        present = self.model.correction
        return _json_size(offered) - (_json_size(present) if present else 0)

    def more_gain(self, offered: Correction) -> float:
        """What it saves beyond the present one, over all samples of the class."""
        present = self.model.correction
        return (offered.gain - (present.gain if present else 0.0)) * len(self.seconds)


class AnalyticModel(LatencyModel):
    """Seconds = (sum of non-negative coefficients x analytic terms) x exp(polynomial), for each class and algorithm.

    Fitted on relative error with absolute deviations, on everything that was measured. Polynomials are added where they
    help most per byte in cross-validation, until the file has `max_bytes`.

    Parameters
    ----------
    max_bytes : int
        Largest size of the file.
    corrections : bool
        Whether polynomials may be added.
    fallback : bool
        Predict kernels of a class that was not measured by a roofline over all classes, with a warning, instead of
        raising an error.
    work_groups : bool
        Whether kernels run by our own OpenCL schedules on a device made of CPU cores: then convolutions have terms for
        the tiles that these choose (see `work_groups`).
    """

    name: ClassVar[str] = "analytic"
    _device = ""
    _is_quiet = False

    def __init__(
        self, max_bytes: int = 4096, corrections: bool = True, fallback: bool = False, work_groups: bool = False
    ):
        self.max_bytes, self.corrections, self.fallback = max_bytes, corrections, fallback
        self.work_groups = work_groups

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`."""
        groups, y = check_samples(kernels, seconds)
        self.classes_: dict[str, ClassModel] = {}
        self.roofline_ = _roofline(groups, y)
        self._warned: set[str] = set()
        by_kind: dict[str, list[tuple[Workload, np.ndarray]]] = {}
        for w, where in groups:
            by_kind.setdefault(w.kind, []).append((w, y[where]))
        entries = []
        for kind, members in by_kind.items():
            for w, times in members:
                if len(times) >= LEAST_SAMPLES:
                    self.classes_[w.key] = _fit_terms([(w, times)], self.work_groups)
                    entries.append(_Entry(w, times, self.classes_[w.key]))
            if any(len(times) < LEAST_SAMPLES for _, times in members):
                self.classes_[kind] = _fit_terms(members, self.work_groups)
        if self.corrections:
            self._add_corrections(entries)
        return self

    def _add_corrections(self, entries: list[_Entry]) -> None:
        """The corrections that save most error per byte, within the size."""
        offers = [
            (e, c) for e in entries for c in corrections(e.workload, e.seconds / e.model.sum_of_terms(e.workload))
        ]
        room = self.max_bytes - self.nbytes
        while True:
            fitting = [(e, c) for e, c in offers if e.more_gain(c) > 0 and e.more_bytes(c) <= room]
            if not fitting:
                return
            entry, best = max(fitting, key=lambda o: o[0].more_gain(o[1]) / max(1, o[0].more_bytes(o[1])))
            room -= entry.more_bytes(best)
            entry.model.correction = best

    def predict(self, kernels: Workloads) -> np.ndarray:
        """See `LatencyModel.predict`; one workload is not stacked first, since that takes longer than predicting it."""
        if not isinstance(kernels, Workload) or not hasattr(self, "classes_"):
            return super().predict(kernels)
        seconds = self.class_of(kernels).seconds(kernels)
        return seconds if isinstance(seconds, np.ndarray) else np.full(kernels.size, seconds)

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        return self.class_of(w).seconds(w)

    def for_device(self, device: str) -> Self:
        """See `LatencyModel.for_device`."""
        self._device = device
        return self

    def quiet(self) -> Self:
        """See `LatencyModel.quiet`."""
        self._is_quiet = True
        return self

    def class_of(self, w: Workload) -> ClassModel:
        """What predicts a workload; raises like `predict`."""
        found = self.classes_.get(w.key) or self.classes_.get(w.kind)
        return found or self._stand_in(w)

    def _stand_in(self, w: Workload) -> ClassModel:
        siblings = [m for key, m in self.classes_.items() if key.split("/")[0] == w.kind]
        if siblings:  # the same kind by another algorithm is nearer than any other
            return max(siblings, key=lambda m: m.samples)
        if not self.fallback:
            raise unknown_class(self, w.key, list(self.classes_))
        if w.key not in self._warned and not self._is_quiet:
            self._warned.add(w.key)
            where = f" on the {self._device}" if self._device else ""
            logger.warning("no measured kernels of class %s%s: predicted by a roofline over all classes", w.key, where)
        return self.roofline_

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        options = {"max_bytes": self.max_bytes, "corrections": self.corrections, "fallback": self.fallback}
        options |= {"work_groups": True} if self.work_groups else {}
        classes = {key: _class_json(m) for key, m in self.classes_.items()}
        return {"options": options, "roofline": _class_json(self.roofline_), "classes": classes}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        model = cls(**state["options"])
        model.roofline_ = _class_from_json(state["roofline"], "other")
        model.classes_ = {key: _class_from_json(c, key.split("/")[0]) for key, c in state["classes"].items()}
        model._warned = set()
        return model


def _fit_terms(members: list[tuple[Workload, np.ndarray]], work_groups: bool) -> ClassModel:
    """One sum of terms for all members, classes of one kind, of the terms that all have."""
    tables = [terms_of(w.kind, w.algorithm, work_groups) for w, _ in members]
    names = [n for n in tables[0] if all(n in t for t in tables)]
    x = np.concatenate([_table(w, {n: t[n] for n in names}) for (w, _), t in zip(members, tables, strict=True)])
    y = np.concatenate([seconds for _, seconds in members])
    coefficients = non_negative_sum(x, y)
    share = (x * coefficients / y[:, None]).max(axis=0)
    kept = np.flatnonzero(share > _IDLE_PART)
    if len(kept):
        coefficients[kept] = non_negative_sum(x[:, kept], y)
    found = {names[i]: c for i, c in zip(kept, rounded(coefficients[kept]), strict=True) if c > 0}
    return ClassModel(members[0][0].kind, found, None, len(y))


def _table(w: Workload, terms: dict[str, Term]) -> np.ndarray:
    """Values of terms, shape (n, terms)."""
    parts = Parts(w)
    return np.stack([np.broadcast_to(np.asarray(term(parts), float), (w.size,)) for term in terms.values()], 1)


_GENERAL = ("one", "in", "out", "weights", "flops")


def _roofline(groups: list[tuple[Workload, np.ndarray]], y: np.ndarray) -> ClassModel:
    """Launch, bytes and FLOPs over all classes: what an unknown class is predicted by, if anything."""
    terms = {n: COMMON[n] for n in _GENERAL}
    x = np.concatenate([_table(w, terms) for w, _ in groups])
    found = rounded(non_negative_sum(x, np.concatenate([y[where] for _, where in groups])))
    return ClassModel("other", {n: c for n, c in zip(_GENERAL, found, strict=True) if c > 0}, None, len(y))


def _class_json(model: ClassModel) -> dict[str, Any]:
    d: dict[str, Any] = {"terms": model.terms, "samples": model.samples}
    return d if model.correction is None else {**d, "correction": model.correction.to_json()}


def _class_from_json(d: dict[str, Any], kind: str) -> ClassModel:
    if kind not in KINDS:
        raise ValueError(f"unknown kernel class {kind!r}")
    terms = {str(n): float(c) for n, c in d["terms"].items()}
    correction = Correction.from_json(d["correction"]) if "correction" in d else None
    return ClassModel(kind, terms, correction, int(d["samples"]))


def _json_size(correction: Correction) -> int:
    return len(json.dumps(correction.to_json(), separators=(",", ":"))) + len(',"correction":')
