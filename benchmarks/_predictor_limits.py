"""What few samples of a new phone can tell: our model, and unrestricted ones that know more than it may.

These are given the true times of every kernel on the other phones, the tested ones included, instead of models of them:
the same process as ours, and boosted trees on these times and all that our models see of a kernel. What they miss with
few samples, no better model of the other phones can find.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks import _common
from benchmarks._predictor_data import KernelSet
from benchmarks._predictor_measures import measure_accuracy, predict_known
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models import AnalyticModel, LatencyModel, Workload
from tvm_coexec.cost_models.features.questions import QUESTIONS
from tvm_coexec.cost_models.features.terms import Parts
from tvm_coexec.cost_models.models.adjust import select_representative
from tvm_coexec.cost_models.models.boosted import require_xgboost
from tvm_coexec.cost_models.models.correction import log_extents, tile_remainders
from tvm_coexec.cost_models.models.moved import MovedModel, choose_informative

COUNTS = (10, 20, 50, 200)
OURS = "ours: process over the other phones' models, chosen samples"
TYPICAL = "the same, samples with typical shapes"
ONE = "the same, one other phone (mean)"
PROCESS = "the process over the other phones' true times, chosen samples"
TREES = "boosted trees that see the other phones' true times, chosen samples"
FULL = "default model, all samples of the phone"
_NUMBERS = ("groups", "ic", "oc", "ih", "iw", "oh", "ow", "kh", "kw", "sh", "sw")
NOTES = (
    "% of kernels of unseen networks within +-10 % on a new phone, mean of the phones of both frameworks; all: with "
    "all samples of the training networks",
    "true times: of each kernel on the other phones of the framework (the median of equal kernels), also the tested",
)


class TrueTimes(LatencyModel):
    """Measured times of a phone, by shape; a fitted model where a shape was not measured on it."""

    name = "true times"

    def __init__(self, kernels: KernelSet, otherwise: LatencyModel):
        self.otherwise = otherwise
        times: dict[tuple, list[float]] = {}
        for w, s in zip(kernels.workloads, kernels.seconds, strict=True):
            times.setdefault(_shapes(w)[0], []).append(float(s))
        self.seconds_ = {shape: float(np.median(found)) for shape, found in times.items()}

    def fit(self, kernels, seconds):
        """Not needed."""
        return self

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`."""
        return self.otherwise.knows(w)

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        found = np.array(self.otherwise.predict(w))
        for i, shape in enumerate(_shapes(w)):
            found[i] = self.seconds_.get(shape, found[i])
        return found

    def state(self) -> dict:
        """Raise `CoExecError`: it has no file."""
        raise CoExecError(f"'{self.name}' is a reference of this benchmark and can't be saved")

    from_state = state


def run(args: _common.Arguments, bed: _common.TestBed, phones: Sequence[Sequence[KernelSet]]) -> None:
    """Print the table, and write it as JSON if requested."""
    found: dict[str, dict[str, list[float]]] = {}
    new_ones = [(sets, new) for sets in phones for new in sets]
    models = {id(k): AnalyticModel().fit(*k.take(k.folds[0][0])) for sets in phones for k in sets}
    for sets, new in _common.progress(new_ones, "new phones"):
        others = [(k, models[id(k)]) for k in sets if k is not new]
        for method, column, within in measure_limits(new, others, models[id(new)], args.quick):
            found.setdefault(method, {}).setdefault(column, []).append(within)
    columns = ("method", *(f"few_{n}" for n in COUNTS), "all")
    rows = [{"method": m, **{c: _mean(values.get(c)) for c in columns[1:]}} for m, values in found.items()]
    notes = list(NOTES) if phones else ["published measurements are missing: give --phones"]
    _common.finish(args, bed, rows, notes, columns)


def _mean(values: list[float] | None) -> float | None:
    return float(np.mean(values)) if values else None


def measure_limits(
    new: KernelSet, others: Sequence[tuple[KernelSet, LatencyModel]], full: LatencyModel, quick: bool = False
) -> list[tuple[str, str, float]]:
    """Return method, column and percent within 10 % on one new phone.

    Parameters
    ----------
    new : KernelSet
    others : sequence of (KernelSet, LatencyModel)
        The other phones, each with its fitted model.
    full : LatencyModel
        Fitted to all training samples of the new phone.
    """
    train, test = new.folds[0]
    candidates, seconds = new.take(train)
    wanted, truth = new.take(test)
    found: list[tuple[str, str, float]] = []

    def add(method: str, column: str, model: LatencyModel) -> None:
        predicted = predict_known(model, wanted, float(np.median(seconds)))
        found.append((method, column, measure_accuracy(predicted, truth)["within_10"]))

    def moved(donors: Sequence[LatencyModel], rows: Sequence[int]) -> MovedModel:
        return MovedModel(donors).fit([candidates[i] for i in rows], seconds[np.asarray(rows)])

    fitted = [model for _, model in others]
    true = [TrueTimes(k, model) for k, model in others]
    for n in COUNTS[: 2 if quick else None]:
        column = f"few_{n}"
        add(OURS, column, moved(fitted, choose_informative(candidates, n, fitted)))
        add(TYPICAL, column, moved(fitted, select_representative(candidates, n)))
        ones = [moved([m], choose_informative(candidates, n, [m])) for m in fitted]
        for model in ones:
            found.append((ONE, column, measure_accuracy(model.predict(wanted), truth)["within_10"]))
        rows = choose_informative(candidates, n, true)
        add(PROCESS, column, moved(true, rows))
        add(TREES, column, SeeingTrees(true).fit([candidates[i] for i in rows], seconds[rows]))
    add(TREES, "all", SeeingTrees(true).fit(candidates, seconds))
    add(FULL, "all", full)
    return found


class SeeingTrees(LatencyModel):
    """Boosted trees on the ratio to the other phones' mean; they see the others' times and all features of a kernel."""

    name = "seeing trees"

    def __init__(self, others: Sequence[LatencyModel]):
        self.others = others

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`."""
        return all(o.knows(w) for o in self.others)

    def fit(self, kernels, seconds):
        """See `LatencyModel.fit`."""
        xgboost = require_xgboost()
        self._keys = sorted({w.key for w in kernels})
        table = np.array([self._features(w)[0] for w in kernels])
        ratios = np.log(seconds) - table[:, 0]
        self._middle = float(np.median(ratios))
        options = {
            "objective": "reg:absoluteerror", "max_depth": 4, "eta": 0.08, "subsample": 0.8, "colsample_bytree": 0.5,
            "min_child_weight": 1 if len(kernels) < 100 else 3, "base_score": 0.0, "seed": 0, "nthread": 1,
        }  # fmt: skip
        self.booster_ = xgboost.train(options, xgboost.DMatrix(table, label=ratios - self._middle), num_boost_round=200)
        self._matrix = xgboost.DMatrix
        return self

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        table = self._features(w)
        return np.exp(table[:, 0] + self._middle + self.booster_.predict(self._matrix(table)))

    def _features(self, w: Workload) -> np.ndarray:
        n, parts = w.size, Parts(w)
        times = np.log(np.stack([o.predict(w) for o in self.others], 1))
        mean = times.mean(axis=1, keepdims=True)
        asked = [np.broadcast_to(np.asarray(ask(parts), float), (n,)) for ask in QUESTIONS.values()]
        key = float(self._keys.index(w.key)) if w.key in self._keys else -1.0
        extents, left = (np.broadcast_to(f(w), (n, size)) for f, size in ((log_extents, 8), (tile_remainders, 13)))
        return np.hstack([mean, times, times - mean, extents, left, np.stack(asked, 1), np.full((n, 1), key)])

    def state(self) -> dict:
        """Raise `CoExecError`: it has no file."""
        raise CoExecError(f"'{self.name}' is a reference of this benchmark and can't be saved")

    from_state = state


def _shapes(w: Workload) -> list[tuple]:
    """Return what identifies each kernel on all phones, whatever algorithm a phone chose."""
    columns = [np.broadcast_to(np.asarray(getattr(w, name), float), (w.size,)).tolist() for name in _NUMBERS]
    return [(w.kind, *row) for row in zip(*columns, strict=True)]
