"""Further measures of latency models: splits, whole networks, few samples, speed and size, own kernels."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import _common, _latency_data
from benchmarks._latency_data import Measured
from tvm_coexec.cost_models import AnalyticModel, LatencyModel, Workload, read_samples
from tvm_coexec.cost_models.dataset import Sample
from tvm_coexec.cost_models.features.workload import group_by_class
from tvm_coexec.cost_models.fit_profile import fit_network_correction
from tvm_coexec.cost_models.models.moved import MovedModel, choose_informative

# Own networks that are in no training set.
TEST_NETWORKS = ("shufflenet", "inception_v1", "alexnet", "nudenet", "magika", "openwakeword")
_MIN_GAIN = 0.05
_FEW = (10, 20, 50)
_WITHIN = 0.1


def split_quality(cpu: np.ndarray, gpu: np.ndarray, true_cpu: np.ndarray, true_gpu: np.ndarray) -> dict:
    """Gain of splits by predicted times over the best single device, and the number of operators that become slower.

    Each operator is split in proportion to the predicted speeds if that promises a gain of 5 %; otherwise it stays on
    the device that is predicted to be faster.
    """
    part = cpu / (cpu + gpu)  # the GPU's
    best = np.minimum(cpu, gpu)
    divides = best / np.maximum(part * gpu, (1 - part) * cpu) >= 1 + _MIN_GAIN
    alone = np.where(cpu <= gpu, true_cpu, true_gpu)
    real = np.where(divides, np.maximum(part * true_gpu, (1 - part) * true_cpu), alone)
    single = np.minimum(true_cpu, true_gpu)
    perfect = 1 / (1 / true_cpu + 1 / true_gpu)
    return {
        "speedup": float(single.sum() / real.sum()),
        "regret_%": 100 * float(real.sum() / perfect.sum() - 1),
        "slower_%": 100 * float(np.mean(real > single * 1.001)),
    }


def goals(args: _common.Arguments, details: list[dict]) -> list[dict]:
    """One row per goal, with the value reached."""
    rows: list[dict] = []

    def add(measure: str, value: float | None, goal: float, at_most: bool = False) -> None:
        met = None if value is None else (value <= goal if at_most else value >= goal)
        rows.append({"measure": measure, "value": value, "goal": f"{'<=' if at_most else '>='} {goal:g}", "met": met})

    def of(data: str, model: str, device: str = "", key: str = "within_10") -> float | None:
        rows = [r for r in details if r["data"].startswith(data) and r["model"] == model and key in r]
        found = [r[key] for r in rows if not device or r["device"] == device]
        return statistics.mean(found) if found else None

    for device, goal, boosted in (("cpu", 82, 87), ("mali", 74, 74)):
        add(f"RK3399 {device}, analytic: within +-10 %", of("RK3399", "analytic", device), goal)
        add(f"RK3399 {device}, analytic: bytes", of("RK3399", "analytic", device, "bytes"), 4096, True)
        add(f"RK3399 {device}, boosted: within +-10 %", of("RK3399", "boosted", device), boosted)
        add(f"RK3399 {device}, boosted: bytes", of("RK3399", "boosted", device, "bytes"), 65536, True)
    add("RK3399, analytic: speedup of splits", of("RK3399", "analytic", "", "speedup"), 1.72)
    add("RK3399, analytic: % of operators made slower", of("RK3399", "analytic", "", "slower_%"), 0.5, True)
    if args.own.phones:
        add("phone GPUs: within +-10 %, mean", of("phones", "analytic"), 82)
        add("phone GPUs: bytes, mean", of("phones", "analytic", "", "bytes"), 4096, True)
    if args.own.networks:
        add("phones, whole networks: MAPE %, mean", whole_networks(args.own.networks), 3, True)
    if args.own.phones:
        for few, full, points in few_samples([Path(f[0]) for f in args.own.phones]):
            add(f"phones, {few} samples of a new phone: points below its full fit ({full:.0f} %)", points, 12, True)
    for device, within, mape in (("cpu", 75, 10), ("gpu", 62, 18)):
        add(f"own test-bed {device}, unseen networks: within +-10 %", of("own", "analytic", device), within)
        add(f"own test-bed {device}, unseen networks: MAPE %", of("own", "analytic", device, "mape_%"), mape, True)
        add(f"own test-bed {device}, unseen networks: bytes", of("own", "analytic", device, "bytes"), 4096, True)
    for measure, value, goal in speeds(args):
        add(measure, value, goal, True)
    return rows


def whole_networks(files: list[list[str | Path]]) -> float:
    """Mean over phones of the error of whole networks from the sums of their operators, each network left out once."""
    found = []
    for ops, ends in files:
        sums: dict[tuple[str, str], list[float]] = {}
        for row in _rows(ops):
            for name, value in row.items():
                if name.endswith("|gpu|float") and value not in ("", "nan"):
                    sums.setdefault((name.split("|")[0], row["model"]), []).append(float(value))
        measured = {row["model"]: row for row in _rows(ends)}
        for phone in dict.fromkeys(p for p, _ in sums):
            key = f"{phone}|gpu|float|mean"
            nets = [
                (len(times), sum(times), float(measured[model][key]))
                for (p, model), times in sums.items()
                if p == phone and measured.get(model, {}).get(key, "") not in ("", "nan")
            ]
            found.append(100 * _left_out_error(np.array(nets)))
    return statistics.mean(found)


def _left_out_error(nets: np.ndarray) -> float:
    missed = []
    for i in range(len(nets)):
        rest = np.delete(nets, i, axis=0)
        fitted = fit_network_correction(rest[:, 0], rest[:, 1], rest[:, 2])
        missed.append(abs(fitted.seconds(nets[i, 0], nets[i, 1]) / nets[i, 2] - 1))
    return float(np.mean(missed))


def few_samples(files: list[Path]) -> list[tuple[int, float, float]]:
    """Number of samples; accuracy of a full fit; loss of the transferred model in points, mean over phones.

    Each phone is predicted from the other phones' models of the same framework and some of its own kernels, from the
    networks of its full fit. The tested networks are in no phone's training set.
    """
    reached: dict[int, list[float]] = {n: [] for n in _FEW}
    full: list[float] = []
    for file in files:
        data = _latency_data.read_phones(file)
        parts = {phone: _divided(m) for phone, m in data.items()}
        models = {p: AnalyticModel().fit(train.workloads, train.seconds) for p, (train, _) in parts.items()}
        for phone, (train, test) in parts.items():
            full.append(_hits(models[phone], test))
            donors = [models[other] for other in models if other != phone]
            for n in _FEW:
                picked = choose_informative(train.workloads, n, donors)
                workloads = [train.workloads[i] for i in picked]
                reached[n].append(_hits(MovedModel(donors).fit(workloads, train.seconds[picked]), test))
    base = statistics.mean(full)
    return [(n, base, base - statistics.mean(found)) for n, found in reached.items()]


def _divided(m: Measured) -> tuple[Measured, Measured]:
    """Training and test rows; a fifth of the networks are for the test."""
    names = np.unique(m.groups)
    test = np.isin(m.groups, np.random.default_rng(0).permutation(names)[: len(names) // 5])
    return _some(m, np.flatnonzero(~test)), _some(m, np.flatnonzero(test))


def _some(m: Measured, rows: np.ndarray) -> Measured:
    return Measured(m.device, [m.workloads[i] for i in rows], m.seconds[rows], m.groups[rows])


def _hits(model: LatencyModel, m: Measured) -> float:
    known = [i for i, w in enumerate(m.workloads) if model.knows(w)]
    error = np.abs(model.predict([m.workloads[i] for i in known]) / m.seconds[known] - 1)
    return 100 * float(np.mean(error <= _WITHIN))


def own_samples(file: Path, models: dict[str, Callable], only: tuple[str, ...] | None) -> list[dict]:
    """Models fitted to our own samples, less those of some networks, on the kernels and shares of those."""
    samples = read_samples(file)
    rows = []
    for device in ("cpu", "gpu"):
        found = samples.of(device)
        test = [s for s in found if s.network.startswith(TEST_NETWORKS)]  # files' names go on
        tested = {s.signature for s in test}
        train = [s for s in found if not s.network.startswith(TEST_NETWORKS) and s.signature not in tested]
        for name, make in _common.progress([i for i in models.items() if not only or i[0] in only], f"own {device}"):
            model = make(device).fit([s.workload for s in train], np.array([s.seconds for s in train]))
            rows.append(_own_row(device, name, model, train, test))
    return rows


def _own_row(device: str, name: str, model, train: list[Sample], test: list[Sample]) -> dict:
    keys = {s.workload.key for s in train}
    known = [s for s in test if s.workload.key in keys]
    error = np.abs(model.predict([s.workload for s in known]) / np.array([s.seconds for s in known]) - 1)
    return {
        "data": f"own, {', '.join(TEST_NETWORKS)}",
        "device": device,
        "model": name,
        "within_10": 100 * float(np.mean(error <= _WITHIN)),
        "mape_%": 100 * float(np.mean(error)),
        "bytes": model.nbytes,
        "kernels": len(known),
    }


def speeds(args: _common.Arguments) -> list[tuple[str, float, float]]:
    """Time of one prediction, of 10,000, and of a fit, of the model itself; on made-up kernels."""
    kernels = _made_up(1000 if args.quick else 6000)
    seconds = 1e-6 + np.array([w.flops for w in kernels]) / 2e10
    seconds *= np.exp(0.1 * np.random.default_rng(0).standard_normal(len(seconds)))
    start = time.perf_counter()
    model = AnalyticModel().fit(kernels, seconds)
    fit_s = time.perf_counter() - start
    # as a planner holds them: one workload a class, whose numbers are arrays
    many = [w for w, _ in group_by_class((kernels * (10000 // len(kernels) + 1))[:10000])[0]]
    one = min(_timed(lambda: model.predict(kernels[0]), 200) for _ in range(5))
    together = min(_timed(lambda: model.predict(many), 1) for _ in range(5))
    return [
        ("one kernel predicted, features included: us", one * 1e6, 20),
        ("10,000 kernels predicted at once: ms", together * 1e3, 10),
        (f"fit to {len(kernels):,} samples: s", fit_s, 1),
    ]


def _timed(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def _made_up(count: int) -> list[Workload]:
    dice = np.random.default_rng(0)
    kernels = []
    for _ in range(count):
        ic, oc, size = (int(v) for v in dice.integers((3, 4, 4), (512, 512, 112)))
        k, groups = ((1, 1), (3, 1), (5, 1), (3, ic))[int(dice.integers(4))]
        oc = ic if groups == ic else oc
        kernels.append(_latency_data.conv("direct", 1, ic, size, size, oc, size, size, k, k, 1, groups))
    return kernels


def _rows(path: str | Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))
