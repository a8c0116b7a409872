"""Measures of the predictors' bench: accuracy, size and times, learning curves, other devices, splits, networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks._latency_goals import split_quality
from benchmarks._predictor_data import KernelSet, NetworkSet
from tvm_coexec.cost_models import LatencyModel, Workload
from tvm_coexec.cost_models.features.graphs import GraphFeatures
from tvm_coexec.cost_models.features.workload import group_by_class
from tvm_coexec.cost_models.fit_profile import fit_network_correction
from tvm_coexec.cost_models.models.adjust import select_representative
from tvm_coexec.cost_models.models.network_base import NetworkModel
from tvm_coexec.cost_models.models.regression import fit_non_negative

WITHIN = 0.1
FEW = (10, 20, 50)
LEARNING = (50, 100, 200, 400, 800, 1600)
MOST_S = 0.5  # seconds of repeated predictions
_ENOUGH = 0.9
_PRIOR = 3.0  # samples by which a class's factor is drawn to the factor of all

MakeKernelModel = Callable[[str, bool], LatencyModel]  # by kind of device, and whether it has our schedules
FitDevices = Callable[[list[tuple[list[Workload], np.ndarray]]], LatencyModel]
Adapt = Callable[[LatencyModel, list[Workload], np.ndarray], Callable[[list[Workload]], np.ndarray]]
Choose = Callable[[LatencyModel, list[Workload], int], list[int]]  # of kernels to measure on a new device


@dataclass(frozen=True)
class Fitted:
    """A model fitted to the first fold of a set, with its predictions of all folds.

    Attributes
    ----------
    model : LatencyModel
    predicted : array, shape (n,)
        Seconds; only those of `tested` are of kernels that the model was not fitted to.
    tested : array of int
    fit_s : float
        Of the first fold.
    """

    model: LatencyModel
    predicted: np.ndarray
    tested: np.ndarray
    fit_s: float


def fit_folds(make: MakeKernelModel, kernels: KernelSet) -> Fitted:
    """Fit a model to each fold and predict its test kernels."""
    predicted = np.full(len(kernels.seconds), np.nan)
    first: LatencyModel | None = None
    fit_s = 0.0
    for train, test in kernels.folds:
        workloads, seconds = kernels.take(train)
        start = time.perf_counter()
        model = make(kernels.kind, kernels.work_groups).fit(workloads, seconds)
        if first is None:
            first, fit_s = model, time.perf_counter() - start
        predicted[test] = predict_known(model, kernels.take(test)[0], float(np.median(seconds)))
    assert first is not None
    tested = np.concatenate([test for _, test in kernels.folds])
    return Fitted(first, predicted, tested, fit_s)


def predict_known(model: LatencyModel, workloads: list[Workload], otherwise_s: float) -> np.ndarray:
    """Predict; kernels of classes that the model does not know count as the median kernel."""
    found = np.full(len(workloads), otherwise_s)
    known = [i for i, w in enumerate(workloads) if model.knows(w)]
    if known:
        found[known] = model.predict([workloads[i] for i in known])
    return found


def measure_accuracy(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Percent within 10 %, mean relative error in percent, and Kendall's tau."""
    error = np.abs(predicted / truth - 1)
    tau = stats.kendalltau(predicted, truth).statistic
    return {
        "within_10": 100 * float(np.mean(error <= WITHIN)),
        "mape_%": 100 * float(np.mean(error)),
        "tau": float(tau) if np.isfinite(tau) else 0.0,
    }


def measure_speed(model: LatencyModel, workloads: list[Workload], many: int) -> dict[str, float]:
    """Microseconds of one kernel, and milliseconds of `many` at once, as a planner holds them: by class, stacked."""
    known = [w for w in workloads if model.knows(w)]
    stacked = [w for w, _ in group_by_class((known * (many // len(known) + 1))[:many])[0]]
    one = _shortest(lambda: model.predict(known[0]))
    together = _shortest(lambda: model.predict(stacked))
    return {"one_us": one * 1e6, "10000_ms": together * 1e3 * 10000 / many}


def _shortest(call: Callable[[], object]) -> float:
    """Return the shortest of up to 20 calls in half a second; the first, which may initialise, only if it is long."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < 20 and sum(times) < MOST_S):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        if times[0] > MOST_S:
            break
    return min(times)


def measure_learning(make: MakeKernelModel, kernels: KernelSet, sizes: tuple[int, ...], final: float) -> float:
    """Return the number of samples after which 90 % of the final share within 10 % is reached, interpolated.

    The first of `sizes` stands for it and all below. The samples are a random order of the training set, the same for
    all models.
    """
    train, test = kernels.folds[0]
    order = np.random.default_rng(0).permutation(train)
    workloads, truth = kernels.take(test)
    before_n, before = 0, 0.0
    goal = _ENOUGH * final
    for n in (*(s for s in sizes if s < len(train)), len(train)):
        if n == len(train):
            reached = final
        else:
            part, seconds = kernels.take(order[:n])
            model = make(kernels.kind, kernels.work_groups).fit(part, seconds)
            found = predict_known(model, workloads, float(np.median(seconds)))
            reached = measure_accuracy(found, truth)["within_10"]
        if reached >= goal and not before_n:
            return float(n)  # or fewer
        if reached >= goal:
            fraction = (goal - before) / max(reached - before, 1e-9)
            return float(before_n * (n / before_n) ** fraction)
        before_n, before = n, reached
    return float(len(train))


def scale_by_class(model: LatencyModel, workloads: list[Workload], seconds: np.ndarray) -> Callable:
    """Move a fitted model to another device: one factor for each kind of kernel, shrunk to the factor of all.

    Returns
    -------
    callable
        Predicts seconds of workloads on the other device.
    """
    known = [i for i, w in enumerate(workloads) if model.knows(w)]
    ratios = np.log(seconds[known] / model.predict([workloads[i] for i in known])) if known else np.zeros(1)
    general = float(np.median(ratios))
    kinds = np.array([workloads[i].kind for i in known])
    factor: dict[str, float] = {}
    for kind in sorted(set(kinds.tolist())):
        of_kind = ratios[kinds == kind]
        weight = len(of_kind) / (len(of_kind) + _PRIOR)
        factor[kind] = float(np.exp(weight * np.median(of_kind) + (1 - weight) * general))

    def predict(wanted: list[Workload]) -> np.ndarray:
        factors = np.array([factor.get(w.kind, float(np.exp(general))) for w in wanted])
        return factors * predict_known(model, wanted, float(np.median(seconds)))

    return predict


def measure_few_samples(
    fitted: dict[str, Fitted],
    sets: list[KernelSet],
    adapt: Adapt,
    counts: tuple[int, ...] = FEW,
    fit_devices: FitDevices | None = None,
    choose: Choose | None = None,
) -> dict[int, float]:
    """Percent within 10 % on each device, from the model of every other one and some of its own samples; the mean.

    The tested networks are in no training set of either device. With `fit_devices` there is one model of all others.
    Samples are those with typical shapes if there is no `choose`.
    """
    reached: dict[int, list[float]] = {n: [] for n in counts}
    for new in sets:
        donors = [k for k in sets if k.device != new.device]
        models = [fitted[k.device].model for k in donors]
        if fit_devices is not None and donors:
            models = [fit_devices([k.take(k.folds[0][0]) for k in donors])]
        train, test = new.folds[0]
        candidates, measured = new.take(train)
        wanted, truth = new.take(test)
        for n in counts:
            for model in models:
                picked = choose(model, candidates, n) if choose else select_representative(candidates, n)
                workloads = [candidates[i] for i in picked]
                predict = adapt(model, workloads, measured[picked])
                reached[n].append(measure_accuracy(predict(wanted), truth)["within_10"])
    return {n: float(np.mean(found)) for n, found in reached.items() if found}


def measure_splits(cpu: tuple[Fitted, KernelSet], gpu: tuple[Fitted, KernelSet]) -> dict[str, float]:
    """Speed-up, regret and operators made slower, of splits of whole kernels that both devices have in their tests."""
    sides = []
    for fitted, kernels in (cpu, gpu):
        sides.append({kernels.whole[i]: i for i in fitted.tested if kernels.whole[i]})
    common = [k for k in sides[0] if k in sides[1]]
    rows = [[side[k] for k in common] for side in sides]
    (cpu_fit, cpu_set), (gpu_fit, gpu_set) = cpu, gpu
    return split_quality(
        cpu_fit.predicted[rows[0]], gpu_fit.predicted[rows[1]], cpu_set.seconds[rows[0]], gpu_set.seconds[rows[1]]
    )


def measure_sums(networks: NetworkSet, sums: np.ndarray) -> dict[str, dict[str, float]]:
    """Accuracy of whole networks from sums of kernels, plain and by ``a + b * kernels + c * sum``."""
    train, test = networks.train, networks.test
    counts = np.array([len(g.workloads) for g in networks.graphs], float)
    corrected = fit_network_correction(counts[train], sums[train], networks.seconds[train])
    found = np.array([corrected.seconds(counts[i], sums[i]) for i in test])
    return {
        "sum": measure_accuracy(sums[test], networks.seconds[test]),
        "corrected sum": measure_accuracy(found, networks.seconds[test]),
    }


def sum_of_table(networks: NetworkSet) -> np.ndarray:
    """Sums of a look-up table whose times are solved from the training networks' totals, for networks without kernels.

    Least squares of relative errors with non-negative times of each distinct kernel.
    """
    names: dict[Workload, int] = {}
    for g in networks.graphs:
        for w in g.workloads:
            names.setdefault(w, len(names))
    counts = np.zeros((len(networks.graphs), len(names)))
    for row, g in zip(counts, networks.graphs, strict=True):
        for w in g.workloads:
            row[names[w]] += 1
    found = fit_non_negative(counts[networks.train], networks.seconds[networks.train])
    return counts @ found


def sum_of_kernels(model: LatencyModel, graphs: list[GraphFeatures], otherwise_s: float) -> np.ndarray:
    """Sums of a model's predictions over the kernels of each network."""
    every = [w for g in graphs for w in g.workloads]
    found = predict_known(model, every, otherwise_s)
    ends = np.cumsum([len(g.workloads) for g in graphs])
    return np.array([part.sum() for part in np.split(found, ends[:-1])])


def measure_network_model(make: Callable[[], NetworkModel], networks: NetworkSet) -> dict[str, float]:
    """Accuracy, size and times of a model of whole networks."""
    train = [networks.graphs[i] for i in networks.train]
    test = [networks.graphs[i] for i in networks.test]
    start = time.perf_counter()
    model = make().fit(train, networks.seconds[networks.train])
    fit_s = time.perf_counter() - start
    found = measure_accuracy(model.predict(test), networks.seconds[networks.test])
    one_s = _shortest(lambda: model.predict(test[:1]))
    return {**found, "bytes": model.nbytes, "fit_s": fit_s, "one_us": one_s * 1e6}
