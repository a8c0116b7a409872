"""The cost model of Halide's autoscheduler: hand-designed terms, times coefficients from a small network."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.cost_models.features.terms import Parts, terms_of
from tvm_coexec.cost_models.features.workload import KINDS, Workload, Workloads

from ..base import LatencyModel, check_samples, unknown_class_error
from ..correction import log_extents, tile_remainders
from ..small_network import SmallNetwork, train
from ..state_files import take_array

_MIN_S = 1e-9
# Of the terms that all kernels can have (see `features.terms`); Halide's network has 27 of a schedule's loops.
_CHOSEN = (
    *("one", "in", "out", "weights", "flops", "epilogue", "special", "macs", "depth", "rows", "columns", "accumulate"),
    *("weights.rows", "in.oc32", "oc4.place4", "oc8.ow8", "oc16", "ow8", "place16", "wave256", "vector8", "broadcast"),
    *("vector.register", "far1024k", "weights.far1024k", "winograd4", "tile8x16x4"),
)
TERMS = {n: terms_of("conv", "nchwc.3x3")[n] for n in _CHOSEN}


class Halide(LatencyModel):
    """Seconds = sum of terms x coefficients, which a network computes from the kernel's features; TOG 2019, section 5.

    As there, one head of the network sees what the kernel is (its class and the logarithms of its extents), the other
    how it is computed (the logarithms of the terms, and what tiles leave over); both are joined to a layer whose
    outputs, made positive, are the coefficients. The terms are ours, of an unscheduled kernel. The loss is the absolute
    logarithmic error; the paper's, squared errors of throughput relative to a pipeline's best schedule, has no meaning
    for kernels with one schedule each.

    Parameters
    ----------
    heads : (int, int)
        Sizes of the two heads.
    steps : int
        Of training, in batches of 128.
    """

    name: ClassVar[str] = "halide"

    def __init__(self, heads: tuple[int, int] = (16, 24), steps: int = 4000):
        self.heads, self.steps = (int(heads[0]), int(heads[1])), steps

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`."""
        groups, y = check_samples(kernels, seconds)
        self.keys_ = sorted({w.key for w, _ in groups})
        y = np.concatenate([y[where] for _, where in groups])
        tables = [(self._kernel_features(w), *_term_features(w)) for w, _ in groups]
        what, how, terms = (np.concatenate(column) for column in zip(*tables, strict=True))
        # Coefficients are relative to those by which each term alone would explain the median kernel that has it.
        present = terms > 0
        ratio = np.where(present, y[:, None] / np.where(present, terms, 1.0), np.nan)
        units = [np.median(r[p]) / len(TERMS) if p.any() else 0.0 for r, p in zip(ratio.T, present.T, strict=True)]
        self.units_ = np.array(units, np.float32)
        self.network_ = train((what, how), terms * self.units_.astype(float), y, self.heads, self.steps)
        return self

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`."""
        return w.kind in {key.split("/")[0] for key in self.keys_}

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        if not self.knows(w):
            raise unknown_class_error(self, w.key, self.keys_)
        how, terms = _term_features(w)
        coefficients = self.network_.coefficients((self._kernel_features(w), how))
        return np.maximum((coefficients * terms * self.units_.astype(float)).sum(axis=1), _MIN_S)

    def _kernel_features(self, w: Workload) -> np.ndarray:
        """Class, kind and logarithms of the extents, shape (n, columns)."""
        one_hot = [float(w.key == key) for key in self.keys_] + [float(w.kind == kind) for kind in KINDS]
        extents = np.broadcast_to(log_extents(w), (w.size, 8))
        return np.hstack([extents, np.tile(one_hot, (w.size, 1))])

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        options = {"heads": list(self.heads), "steps": self.steps}
        return {"options": options, "keys": self.keys_, "arrays": {"units": self.units_, **self.network_.arrays}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        model = cls(**state["options"])
        model.keys_ = [str(k) for k in state["keys"]]
        model.units_ = take_array(state, "units", (len(TERMS),))
        if (model.units_ < 0).any():
            raise ValueError("a unit of a term is negative")
        columns = (8 + len(model.keys_) + len(KINDS), len(TERMS) + 13)
        shapes = SmallNetwork.shapes(columns, model.heads, len(TERMS))
        model.network_ = SmallNetwork({name: take_array(state, name, shape) for name, shape in shapes.items()})
        return model


def _term_features(w: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of the terms, and the terms, shape (n, terms)."""
    parts = Parts(w)
    terms = np.stack([np.broadcast_to(np.asarray(t(parts), float), (w.size,)) for t in TERMS.values()], 1)
    remainders = np.broadcast_to(tile_remainders(w), (w.size, 13))
    return np.hstack([np.log1p(terms), remainders]), terms
