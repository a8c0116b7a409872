"""Data of the predictors' bench: kernels by device and networks with their kernels, divided the same for all models."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import _latency_data
from benchmarks._latency_data import Measured
from benchmarks._latency_goals import TEST_NETWORKS
from tvm_coexec.cost_models import Workload, read_samples
from tvm_coexec.cost_models.features.graphs import GraphFeatures, make_features
from tvm_coexec.cost_models.features.nasbench201 import describe_nasbench201

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SAMPLES = Path(__file__).parent / "results" / "test_bed_samples.jsonl"
_FOLDS = 5
_HELD_OUT = 5  # one in so many networks is for the test


@dataclass(frozen=True)
class KernelSet:
    """Kernels of one device, divided into training and test sets.

    Attributes
    ----------
    data : str
        Name of the data set; its devices have the same kernels, or kernels of the same networks.
    device : str
    kind : {"cpu", "gpu"}
        Of the device.
    work_groups : bool
        Whether kernels have this package's OpenCL schedules (see `AnalyticModel`).
    workloads : list of Workload
    seconds : array, shape (n,)
    folds : list of (array, array)
        Positions for training and for the test. A shape (RK3399) or network (others) is in one of both only.
    whole : list of str
        Of each kernel an identity that its other devices share, if it is a whole kernel; else "".
    """

    data: str
    device: str
    kind: str
    work_groups: bool
    workloads: list[Workload]
    seconds: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]
    whole: list[str]

    def take(self, rows: Sequence[int] | np.ndarray) -> tuple[list[Workload], np.ndarray]:
        """Return some workloads and their seconds."""
        return [self.workloads[int(i)] for i in rows], self.seconds[np.asarray(rows, int)]


@dataclass(frozen=True)
class NetworkSet:
    """Networks of one device with their kernels.

    Attributes
    ----------
    data, device, kind : str
        As `KernelSet`.
    graphs : list of GraphFeatures
    seconds : array, shape (n,)
        End to end.
    train, test : array of int
    kernel_sums : dict of str to array, shape (n,)
        Sums over the kernels of each network: by ``measured`` times where they are known, and by models that were
        fitted to kernels of other networks.
    """

    data: str
    device: str
    kind: str
    graphs: list[GraphFeatures]
    seconds: np.ndarray
    train: np.ndarray
    test: np.ndarray
    kernel_sums: dict[str, np.ndarray] = field(default_factory=dict)


def rk3399_sets(files: Sequence[Path], quick: bool) -> list[KernelSet]:
    """Convolutions of the RK3399, by shape: five folds, or training and test files."""
    data = _latency_data.read_rk3399(files[0])
    test = _latency_data.read_rk3399(files[1]) if len(files) > 1 else None
    return [
        _kernel_set("RK3399", d, "cpu" if d == "cpu" else "gpu", m, test and test[d], _FOLDS, 1 if quick else _FOLDS)
        for d, m in data.items()
    ]


def phone_sets(files: Sequence[Path], quick: bool) -> list[KernelSet]:
    """Convolutions of phones' GPUs, a fifth of the networks (or the file of test rows) held out."""
    data = _latency_data.read_phones(files[0])
    test = _latency_data.read_phones(files[1]) if len(files) > 1 else {}
    name = f"phones, {files[0].stem.split('_')[0]}"
    phones = list(data.items())[: 2 if quick else None]
    return [_kernel_set(name, phone, "gpu", m, test.get(phone), _HELD_OUT, 1) for phone, m in phones]


def _kernel_set(
    data: str, device: str, kind: str, m: Measured, test: Measured | None, parts: int, folds: int
) -> KernelSet:
    workloads, seconds, divided = m.workloads, m.seconds, divide(m.groups, parts)[:folds]
    if test is not None:
        n = len(workloads)
        workloads, seconds = [*workloads, *test.workloads], np.concatenate([seconds, test.seconds])
        divided = [(np.arange(n), np.arange(n, len(workloads)))]
    whole = [str(i) for i in range(len(workloads))]
    return KernelSet(data, device, kind, False, workloads, seconds, divided, whole)


def own_sets(file: Path, quick: bool) -> list[KernelSet]:
    """Own samples, kernels and shares: networks of `TEST_NETWORKS` are for the test, and their kernels in no other."""
    samples = read_samples(file)
    found = []
    for device in ("cpu", "gpu"):
        of_device = samples.of(device)[:: 4 if quick else 1]
        tested = {s.signature for s in of_device if s.network.startswith(TEST_NETWORKS)}
        is_test = np.array([s.signature in tested for s in of_device])
        fold = (np.flatnonzero(~is_test), np.flatnonzero(is_test))
        whole = [s.signature if s.rows is None else "" for s in of_device]
        seconds = np.array([s.seconds for s in of_device])
        workloads = [s.workload for s in of_device]
        found.append(KernelSet("own test-bed", device, device, device == "gpu", workloads, seconds, [fold], whole))
    return found


def nasbench_sets(files: Sequence[Path], quick: bool) -> list[NetworkSet]:
    """Networks of NAS-Bench-201 on four devices; a fifth (or the file of test rows) held out."""
    rows = [_rows(f) for f in files]
    rows = [part[: 60 if quick else None] for part in rows]
    every = [row for part in rows for row in part]
    # One cell in each stage: the others are the same, and features of a network a fifth as long tell as much.
    graphs = {kind: [describe_nasbench201(row["arch_str"], kind, cells=1) for row in every] for kind in ("cpu", "gpu")}
    is_test = np.zeros(len(every), bool)
    if len(rows) > 1:
        is_test[len(rows[0]) :] = True
    else:
        is_test[divide(np.arange(len(every)), _HELD_OUT)[0][1]] = True
    found = []
    for column in [c for c in every[0] if c not in ("id", "arch_str")][: 1 if quick else None]:
        kind = "cpu" if column == "cpu" else "gpu"
        known = [i for i, row in enumerate(every) if row[column] not in ("", "nan")]  # some were not measured
        seconds = np.array([float(every[i][column]) * 1e-3 for i in known])
        train, test = np.flatnonzero(~is_test[known]), np.flatnonzero(is_test[known])
        found.append(NetworkSet("NAS-Bench-201", column, kind, [graphs[kind][i] for i in known], seconds, train, test))
    return found


def phone_network_sets(ops: Sequence[Path], ends: Path, sets: Sequence[KernelSet]) -> list[NetworkSet]:
    """Networks of phones with their convolutions in sequence; the test networks are those of the kernels' test sets.

    The tables have no edges: each convolution is taken to read its predecessor. Sums are of all measured operators.
    """
    measured = {row["model"]: row for row in _rows(ends)}
    every = [row for file in ops for row in _rows(file)]
    found = []
    for kernels in sets:
        phone = kernels.device
        column = f"{phone}|gpu|float"
        convs = [r for r in every if "conv" in r["operation"].lower() and r[column] not in ("", "nan")]
        names = list(dict.fromkeys(r["model"] for r in convs))
        key = f"{column}|mean"
        names = [n for n in names if measured.get(n, {}).get(key, "") not in ("", "nan")]
        rows_of = {n: [i for i, r in enumerate(convs) if r["model"] == n] for n in names}
        sums = {n: sum(float(r[column]) for r in every if r["model"] == n and r[column] not in ("", "nan"))
                for n in names}  # fmt: skip
        tested = set(kernels.folds[0][1].tolist())
        is_test = np.array([rows_of[n][0] in tested for n in names])
        graphs = [_straight([kernels.workloads[i] for i in rows_of[n]]) for n in names]
        seconds = np.array([float(measured[n][key]) * 1e-6 for n in names])
        whole = NetworkSet(
            f"{kernels.data}, whole networks", phone, "gpu", graphs, seconds, np.flatnonzero(~is_test),
            np.flatnonzero(is_test), {"measured operators": np.array([sums[n] * 1e-6 for n in names])},
        )  # fmt: skip
        found.append(whole)
    return found


def _straight(workloads: list[Workload]) -> GraphFeatures:
    edges = [(i, i + 1) for i in range(len(workloads) - 1)]
    return make_features(workloads, edges, [float(workloads[i].out_bytes) for i, _ in edges], "gpu")


def divide(groups: np.ndarray, parts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide rows into folds by their groups; deterministic, and the same for equal groups.

    Returns
    -------
    list of (array, array)
        Positions for training and for the test.
    """
    names = np.unique(groups)
    fold = (np.random.default_rng(0).permutation(len(names)) % parts)[np.searchsorted(names, groups)]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(min(parts, len(names)))]


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    if not rows:
        raise SystemExit(f"{path} has no rows")
    return rows
