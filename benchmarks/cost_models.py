"""Compare latency models: accuracy, size, speed, and the plans that they lead to.

Models are fitted and tested on different shapes (RK3399), networks (phones, own test-bed): no shape or network of a
test set is in its training set, nothing is filtered. Own samples come from ``coexec profile``. Missing files of
published measurements are skipped, with a note.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import _common, _latency_data, _latency_goals
from benchmarks._latency_data import Measured
from tvm_coexec.cost_models import AnalyticModel, BoostedModel, LatencyModel
from tvm_coexec.cost_models.models.baselines import (
    AutoTVM,
    CoDL,
    LinearFlops,
    LookupTable,
    NeuralPower,
    Neurosurgeon,
)

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
FOLDS = 10
Make = Callable[[str], LatencyModel]  # by device


def _codl(device: str) -> LatencyModel:
    return CoDL("cpu") if device == "cpu" else CoDL("gpu")


def _is_pocl(device: str) -> bool:
    """Whether samples are from the own test-bed, whose devices are ``cpu`` and ``gpu`` (pocl); others have names."""
    return device == "gpu"


# In the order of the table: ours, then the others by age.
MODELS: dict[str, Make] = {
    "analytic": lambda device: AnalyticModel(work_groups=_is_pocl(device)),
    "analytic, terms only": lambda device: AnalyticModel(corrections=False, work_groups=_is_pocl(device)),
    "boosted": lambda device: BoostedModel(work_groups=_is_pocl(device)),
    "linear FLOPs": lambda device: LinearFlops(),
    "look-up table": lambda device: LookupTable(),
    "Neurosurgeon, muLayer": lambda device: Neurosurgeon(),
    "NeuralPower": lambda device: NeuralPower(),
    "CoDL": _codl,
    "AutoTVM": lambda device: AutoTVM(),
}
QUICK = ("analytic", "boosted", "linear FLOPs", "CoDL")


def main() -> None:
    """Print all tables."""
    args = _common.parse("cost_models", __doc__, own=_own_arguments)
    bed = _common.TestBed()
    details: list[dict] = []
    notes = ["within_10: % of kernels predicted within +-10 %; mape_%: mean relative error; bytes: of the model's file"]
    if args.own.rk3399:
        rows = list(_rk3399(args, [Path(p) for p in args.own.rk3399]))
        details += rows
        notes.append("RK3399: speedup of splits by predicted times over the best single device, over all kernels")
    for files in args.own.phones or []:
        details += _phones(args, [Path(p) for p in files])
    if args.own.samples:
        details += _latency_goals.own_samples(Path(args.own.samples), MODELS, QUICK if args.quick else None)
    goals = _latency_goals.goals(args, details)
    if not args.own.rk3399 or not args.own.phones:
        notes.append("published measurements are missing: give --rk3399 and --phones")
    _common.finish(args, bed, goals, notes, details=details)


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    here = DATA.is_dir()
    rk3399, phones = DATA / "rk3399_conv2d/conv2d_cpu_gpu.csv", DATA / "phones"
    parser.add_argument(
        "--rk3399", nargs="+", metavar="CSV", default=[rk3399] if here else None, help="training rows, then test rows"
    )
    parser.add_argument(
        "--phones",
        nargs="+",
        action="append",
        metavar="CSV",
        help="operators of phones: training rows, then test rows; may be given again for another framework",
    )
    parser.add_argument("--networks", nargs=2, action="append", metavar=("OPS", "E2E"), help="operators and whole nets")
    samples = Path(__file__).parent / "results" / "test_bed_samples.jsonl"
    parser.add_argument("--samples", metavar="FILE", default=samples if samples.exists() else None, help="own samples")
    both = ("tflite", "torch")
    parser.set_defaults(
        phones=None if not here else [[phones / f"{n}_cnn_ops_gpu.csv"] for n in both],
        networks=None if not here else [[phones / f"{n}_cnn_ops_gpu.csv", phones / f"{n}_cnn_e2e.csv"] for n in both],
    )


def _chosen(args: _common.Arguments) -> dict[str, Make]:
    return {n: m for n, m in MODELS.items() if not args.quick or n in QUICK}


def _rk3399(args: _common.Arguments, files: list[Path]) -> Iterator[dict]:
    data = _latency_data.read_rk3399(files[0])
    test = _latency_data.read_rk3399(files[1]) if len(files) > 1 else None
    for name, make in _common.progress(list(_chosen(args).items()), "RK3399"):
        found = {d: _predictions(m, make, test and test[d]) for d, m in data.items()}
        truth = {d: (test or data)[d].seconds for d in data}
        split = _latency_goals.split_quality(*(found[d][0] for d in data), *(truth[d] for d in data))
        for d in data:
            yield {"data": "RK3399", "device": d, "model": name, **_accuracy(found[d], truth[d]), **split}


def _phones(args: _common.Arguments, files: list[Path]) -> list[dict]:
    data = _latency_data.read_phones(files[0])
    test = _latency_data.read_phones(files[1]) if len(files) > 1 else {}
    framework = files[0].stem.split("_")[0]
    rows = []
    chosen = {n: m for n, m in _chosen(args).items() if n not in ("NeuralPower", "look-up table") or args.quick}
    for name, make in _common.progress(list(chosen.items()), f"phones, {framework}"):
        for phone, m in data.items():
            found = _predictions(m, make, test.get(phone))
            truth = test[phone].seconds if phone in test else m.seconds
            rows.append({"data": f"phones, {framework}", "device": phone, "model": name, **_accuracy(found, truth)})
    return rows


def _predictions(m: Measured, make: Make, test: Measured | None) -> tuple[np.ndarray, int]:
    """Predictions for the test set, or by cross-validation, and the model's bytes."""
    if test is not None:
        model = make(m.device).fit(m.workloads, m.seconds)
        return _known(model, test, m), model.nbytes
    names = np.unique(m.groups)
    fold = (np.random.default_rng(0).permutation(len(names)) % FOLDS)[np.searchsorted(names, m.groups)]
    found, size = np.empty(len(fold)), 0
    for k in range(FOLDS):
        inside, out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        part = Measured(m.device, [m.workloads[i] for i in inside], m.seconds[inside], m.groups[inside])
        model = make(m.device).fit(part.workloads, part.seconds)
        left = Measured(m.device, [m.workloads[i] for i in out], m.seconds[out], m.groups[out])
        found[out] = _known(model, left, part)
        size = max(size, model.nbytes)
    return found, size


def _known(model: LatencyModel, test: Measured, train: Measured) -> np.ndarray:
    """Predictions; kernels of classes that the training set lacks are predicted as the median kernel."""
    known = [i for i, w in enumerate(test.workloads) if model.knows(w)]
    found = np.full(len(test.workloads), float(np.median(train.seconds)))
    if known:
        found[known] = model.predict([test.workloads[i] for i in known])
    return found


def _accuracy(found: tuple[np.ndarray, int], truth: np.ndarray) -> dict:
    error = np.abs(found[0] / truth - 1)
    return {"within_10": 100 * float(np.mean(error <= 0.1)), "mape_%": 100 * float(np.mean(error)), "bytes": found[1]}


if __name__ == "__main__":
    main()
