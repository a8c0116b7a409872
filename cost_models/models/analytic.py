"""The default latency model: a non-negative sum of analytic terms per class, times small trees of all classes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from ..features.terms import COMMON, ROOFLINE, Parts, Term, all_terms, terms_of
from ..features.workload import KINDS, TUNED, Number, Workload, Workloads
from ..one_thread import on_one_thread
from .base import LatencyModel, check_samples, unknown_class_error
from .correction import Correction
from .packed import index_width, pack_index, pack_number, round_packed, unpack_index, unpack_number
from .regression import fit_non_negative, round_digits
from .residual_trees import MAX_TREES, ResidualTrees, fit_residual_trees

logger = logging.getLogger("tvm_coexec")

TREE_BYTES = 20
MIN_SAMPLES = 8  # a class with fewer shares the terms of its kind
_ELEMENTWISE = "injective/direct"
_MIN_S = 1e-9
_LEAST_REST = 0.1
_MIN_FRACTION = 0.003  # a term that is less than this fraction of every sample's time is dropped


@dataclass
class ClassModel:
    """Fitted state of one class: seconds per unit of each term, and a correction.

    The trees are those of the model. Profiles of earlier releases have a polynomial for each class instead.
    """

    kind: str
    terms: dict[str, float]
    correction: Correction | ResidualTrees | None = None
    samples: int = 0

    def __post_init__(self) -> None:
        known = all_terms(self.kind)
        if unknown := [n for n in self.terms if n not in known]:
            raise ValueError(f"unknown term {unknown[0]!r} of {self.kind}")
        self._parts = [(c, known[n]) for n, c in self.terms.items()]

    def add_terms(self, terms: dict[str, float]) -> None:
        """Add seconds per unit of other terms."""
        known = all_terms(self.kind)
        self.terms |= terms
        self._parts += [(c, known[n]) for n, c in terms.items()]

    def seconds(self, w: Workload) -> Number:
        """Predict seconds: a number for a workload of numbers, else shape (n,)."""
        total = self.sum_of_terms(w)
        return total if self.correction is None else total * self.correction.factor(w)

    def sum_of_terms(self, w: Workload) -> Number:
        """Predict seconds without the correction."""
        parts = Parts(w)
        total: Number = 0.0
        for coefficient, term in self._parts:
            total = total + coefficient * term(parts)
        return np.maximum(total, _MIN_S) if isinstance(total, np.ndarray) else max(total, _MIN_S)


class AnalyticModel(LatencyModel):
    """Seconds = (sum of non-negative coefficients x analytic terms) x exp(trees), with other terms for each class.

    The sums are fitted to all samples, by least absolute relative deviations; the trees to what they miss, as many as
    save error in cross-validation and fit into `max_bytes`.

    Parameters
    ----------
    max_bytes : int
        Maximum size of the file.
    corrections : bool
        Whether trees may be added.
    fallback : bool
        Predict kernels of unknown classes by a roofline over all classes, with a warning, instead of raising an error.
    work_groups : bool
        Whether kernels have this package's OpenCL schedules on a device made of CPU cores: then convolutions have terms
        for the tiles that these choose (see `features.tile_costs`).
    """

    name: ClassVar[str] = "analytic"
    _device = ""
    _is_quiet = False

    def __init__(
        self, max_bytes: int = 4096, corrections: bool = True, fallback: bool = False, work_groups: bool = False
    ):
        self.max_bytes, self.corrections, self.fallback = max_bytes, corrections, fallback
        self.work_groups = work_groups
        self.is_packed = True  # not in the form of earlier releases

    @on_one_thread
    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`."""
        groups, y = check_samples(kernels, seconds)
        self.classes_: dict[str, ClassModel] = {}
        self.roofline_ = _fit_roofline(groups, y, self._work_term)
        self._warned: set[str] = set()
        by_kind: dict[str, list[Member]] = {}
        fitted_to: dict[str, list[Member]] = {}
        for w, where in groups:
            by_kind.setdefault(w.kind, []).append((w, y[where]))
        for kind, members in by_kind.items():
            classes = _join_small_variants(members)
            for key, parts in classes.items():
                if _count(parts) >= MIN_SAMPLES:
                    self.classes_[key] = fit_terms(parts, self.work_groups, round_packed)
                    fitted_to[key] = parts
            if any(_count(parts) < MIN_SAMPLES for parts in classes.values()):
                self.classes_[kind] = fit_terms(members, self.work_groups, round_packed)
                fitted_to[kind] = members
        self._spread_special(fitted_to)
        if self.corrections:
            self._add_trees([(w, np.log(y[where] / self.class_of(w).seconds(w))) for w, where in groups])
        return self

    def _spread_special(self, fitted_to: dict[str, list[Member]]) -> None:
        """Give classes whose samples have few special functions the seconds that these take in elementwise kernels.

        Few samples can't tell: two kernels that are slow for another reason would make a sigmoid take a hundred times
        as long as elsewhere. The other terms are then fitted to what is left of their seconds.
        """
        source = self.classes_.get(_ELEMENTWISE)
        rates = {n: c for n, c in source.terms.items() if n.startswith("special")} if source else {}
        for key, members in fitted_to.items():
            model = self.classes_[key]
            known = {n for n in all_terms(model.kind) if n.startswith("special")}
            seen = sum(int(np.count_nonzero(np.broadcast_to(w.special, (w.size,)))) for w, _ in members)
            own = {n: c for n, c in rates.items() if n in known}
            if seen >= MIN_SAMPLES or not own:
                continue
            if known & set(model.terms):
                self.classes_[key] = fit_terms(members, self.work_groups, round_packed, dict.fromkeys(known, 0.0) | own)
            else:
                model.add_terms(own)

    @property
    def _work_term(self) -> str:
        """Name of the roofline's term of all work."""
        return "flops.special.cores" if self.work_groups else "flops.special"

    def _add_trees(self, residuals: list[tuple[Workload, np.ndarray]]) -> None:
        """Add as many trees as save error and fit into the size."""
        room = (self.max_bytes - self.nbytes) // TREE_BYTES
        trees = fit_residual_trees(residuals, min(MAX_TREES, room)) if room > 0 else None
        while trees is not None:
            for c in self.classes_.values():
                c.correction = trees
            beyond = self.nbytes - self.max_bytes
            if beyond <= 0:
                return
            trees = trees.first(max(0, len(trees.nodes) - -(-beyond // (2 * TREE_BYTES))))
        for c in self.classes_.values():
            c.correction = None

    def predict(self, kernels: Workloads) -> np.ndarray:
        """See `LatencyModel.predict`; a single workload is not stacked, which would take longer than predicting it."""
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

    def silence_warnings(self) -> Self:
        """See `LatencyModel.silence_warnings`."""
        self._is_quiet = True
        return self

    def class_of(self, w: Workload) -> ClassModel:
        """Return the model of a workload's class; raises the errors of `predict`."""
        return self._find_measured(w) or self._find_substitute(w)

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`."""
        return self.fallback or w.kind in {key.split("/")[0] for key in self.classes_}

    def samples_of(self, w: Workload) -> int | None:
        """See `LatencyModel.samples_of`."""
        found = self._find_measured(w)
        return 0 if found is None else found.samples

    def _find_measured(self, w: Workload) -> ClassModel | None:
        """Return the class itself, else the one that it is a variant of, else all small classes of its kind.

        Profiles of earlier releases have no variants: what they know of the base class includes them.
        """
        found = self.classes_.get(w.key)
        if found is None and w.is_tuned:
            found = self.classes_.get(w.untuned_key)
        if found is None and w.base_key != w.key:
            found = self.classes_.get(w.base_key)
        return found or self.classes_.get(w.kind)

    def _find_substitute(self, w: Workload) -> ClassModel:
        siblings = [(key, m) for key, m in self.classes_.items() if key.split("/")[0] == w.kind]
        if siblings:  # the same kind with another algorithm, if possible as much tuned
            return max(siblings, key=lambda s: (is_tuned_key(s[0]) == w.is_tuned, s[1].samples))[1]
        if not self.fallback:
            raise unknown_class_error(self, w.key, list(self.classes_))
        if w.key not in self._warned and not self._is_quiet:
            self._warned.add(w.key)
            where = f" on the {self._device}" if self._device else ""
            logger.warning("no measured kernels of class %s%s: predicted by a roofline over all classes", w.key, where)
        return self.roofline_

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        options = {"max_bytes": self.max_bytes, "corrections": self.corrections, "fallback": self.fallback}
        options |= {"work_groups": True} if self.work_groups else {}
        members = list(self.classes_.values())
        if not self.is_packed:
            classes = {key: _class_json(m) for key, m in self.classes_.items()}
            return {"options": options, "roofline": _class_json(self.roofline_), "classes": classes}
        names = list(dict.fromkeys(n for m in (self.roofline_, *members) for n in m.terms))
        trees = next((m.correction.to_json() for m in members if isinstance(m.correction, ResidualTrees)), None)
        return {
            "options": options,
            "terms": names,
            "roofline": _pack_class(self.roofline_, names),
            "classes": {key: _pack_class(m, names) for key, m in self.classes_.items()},
            **({"trees": trees} if trees else {}),
        }

    def round_coefficients(self, values: np.ndarray) -> list[float]:
        """Round coefficients to those that the model's file can hold."""
        return round_packed(values) if self.is_packed else round_digits(values)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        model = cls(**state["options"])
        model._warned = set()
        if "terms" in state:
            names = [str(n) for n in state["terms"]]
            trees = ResidualTrees.from_json(state["trees"]) if "trees" in state else None
            model.roofline_ = _unpack_class(state["roofline"], "other", names, None)
            packed = state["classes"].items()
            model.classes_ = {key: _unpack_class(text, key.split("/")[0], names, trees) for key, text in packed}
            return model
        model.is_packed = False
        # Rooflines of earlier releases do not count special functions; a FLOP of theirs takes the same time.
        work = {"flops": model._work_term}
        roofline = state["roofline"]
        terms = {work.get(n, n): c for n, c in roofline["terms"].items()}
        model.roofline_ = _class_from_json({**roofline, "terms": terms}, "other")
        model.classes_ = {key: _class_from_json(c, key.split("/")[0]) for key, c in state["classes"].items()}
        return model


Member = tuple[Workload, np.ndarray]  # a class's kernels, stacked, and their seconds


def _count(members: list[Member]) -> int:
    return sum(len(seconds) for _, seconds in members)


def _join_small_variants(members: list[Member]) -> dict[str, list[Member]]:
    """Return the samples to fit each class of a kind to, its own first: small variants are fitted with their base."""
    found = {w.key: [(w, seconds)] for w, seconds in members}
    for w, seconds in members:
        if len(seconds) < MIN_SAMPLES and w.base_key != w.key and w.base_key in found:
            found[w.base_key] += found.pop(w.key)
    return found


def fit_terms(
    members: list[Member],
    work_groups: bool,
    rounded: Callable[[np.ndarray], list[float]] = round_digits,
    given: Mapping[str, float] | None = None,
) -> ClassModel:
    """Fit one sum of terms to classes of one kind, with the terms that all of them have; coefficients are rounded.

    Terms that are `given` have these coefficients, and others are fitted to the rest, a tenth of the seconds at least.
    """
    given = given or {}
    tables = [terms_of(w.kind, w.algorithm, work_groups) for w, _ in members]
    shared = [n for n in tables[0] if all(n in t for t in tables)]
    every = np.concatenate([_table(w, {n: t[n] for n in shared}) for (w, _), t in zip(members, tables, strict=True)])
    y = np.concatenate([seconds for _, seconds in members])
    taken = np.array([n in given for n in shared])
    if taken.any():
        y = np.maximum(y - every[:, taken] @ [given[n] for n in shared if n in given], _LEAST_REST * y)
    names, x = [n for n in shared if n not in given], every[:, ~taken]
    coefficients = fit_non_negative(x, y)
    share = (x * coefficients / y[:, None]).max(axis=0)
    kept = np.flatnonzero(share > _MIN_FRACTION)
    if len(kept):
        coefficients[kept] = fit_non_negative(x[:, kept], y)
    found = {names[i]: c for i, c in zip(kept, rounded(coefficients[kept]), strict=True) if c > 0}
    return ClassModel(members[0][0].kind, found | {n: c for n, c in given.items() if c}, None, len(y))


def _table(w: Workload, terms: dict[str, Term]) -> np.ndarray:
    """Evaluate terms, shape (n, terms)."""
    parts = Parts(w)
    return np.stack([np.broadcast_to(np.asarray(term(parts), float), (w.size,)) for term in terms.values()], 1)


_GENERAL = ("one", "in", "out", "weights")


def _fit_roofline(groups: list[tuple[Workload, np.ndarray]], y: np.ndarray, work: str) -> ClassModel:
    """Fit launch, bytes and FLOPs (special functions in FLOP equivalents) to all classes, for unknown ones."""
    names = (*_GENERAL, work)
    terms = {n: (COMMON | ROOFLINE)[n] for n in names}
    x = np.concatenate([_table(w, terms) for w, _ in groups])
    found = round_packed(fit_non_negative(x, np.concatenate([y[where] for _, where in groups])))
    return ClassModel("other", {n: c for n, c in zip(names, found, strict=True) if c > 0}, None, len(y))


def _class_json(model: ClassModel) -> dict[str, Any]:
    d: dict[str, Any] = {"terms": model.terms, "samples": model.samples}
    return d if model.correction is None else {**d, "correction": model.correction.to_json()}


_CORRECTED, _PLAIN = "*", " "


def _pack_class(model: ClassModel, names: list[str]) -> str:
    """Return the number of samples, whether the trees correct the class, and three or four characters for each term."""
    mark = _PLAIN if model.correction is None else _CORRECTED
    terms = [pack_index(names.index(n), len(names)) + pack_number(c) for n, c in model.terms.items()]
    return f"{model.samples}{mark}{''.join(terms)}"


def _unpack_class(text: str, kind: str, names: list[str], trees: ResidualTrees | None) -> ClassModel:
    """Read `_pack_class`."""
    size = index_width(len(names)) + 2
    found = re.fullmatch(rf"(\d+)([* ])((?:[^ ]{{{size}}})*)", text)
    if kind not in KINDS or found is None or (found[2] == _CORRECTED and trees is None):
        raise ValueError(f"class {kind} is {text[:20]!r}")
    parts = [found[3][i : i + size] for i in range(0, len(found[3]), size)]
    terms = {names[unpack_index(p[:-2])]: unpack_number(p[-2:]) for p in parts}
    return ClassModel(kind, terms, trees if found[2] == _CORRECTED else None, int(found[1]))


def _class_from_json(d: dict[str, Any], kind: str) -> ClassModel:
    if kind not in KINDS:
        raise ValueError(f"unknown kernel class {kind!r}")
    terms = {str(n): float(c) for n, c in d["terms"].items()}
    correction = Correction.from_json(d["correction"]) if "correction" in d else None
    return ClassModel(kind, terms, correction, int(d["samples"]))


def is_tuned_key(key: str) -> bool:
    """Return whether a class is one of tuned kernels."""
    return TUNED in key.split("/")[-1].split(".")
