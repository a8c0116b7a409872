"""Fit every model that PyTorch fits, on small data, in a process of its own; tests read the files.

PyTorch must not be imported where tests fork, and predicting needs none of it: tests of the files show that as well.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.cost_models.kernels import many, seconds_of
from tvm_coexec.cost_models import MODELS, NETWORK_MODELS, DeviceParameters, GraphFeatures, Profile
from tvm_coexec.cost_models.features.nasbench201 import OPERATORS, describe_nasbench201
from tvm_coexec.cost_models.models.graph import (
    GRAPH_KERNEL_MODELS,
    GRAPH_NETWORK_MODELS,
    HELP,
    NNLQP,
    GPUGraph,
    OneKernelModel,
    TPULearned,
)
from tvm_coexec.cost_models.models.registry import make_model

KERNEL_NAMES = sorted(m.name for m in GRAPH_KERNEL_MODELS)
NETWORK_NAMES = sorted(m.name for m in GRAPH_NETWORK_MODELS)
PARAMETERS = DeviceParameters("gpu", peak_flops_per_s=1e12, bandwidth_bytes_per_s=2e10, cores=4, clock_hz=6e8)
# Of these devices the other is so many times slower in arithmetic and in memory.
SLOWER = (3.0, 1.5)


def networks(count: int = 48, seed: int = 0) -> list[GraphFeatures]:
    """Networks of NAS-Bench-201 with one cell in each stage."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        names = iter(rng.choice(OPERATORS, 6))
        arch = "+".join("|" + "".join(f"{next(names)}~{i}|" for i in range(n)) for n in (1, 2, 3))
        found.append(describe_nasbench201(arch, "gpu", PARAMETERS, cells=1))
    return found


def network_seconds(graphs: list[GraphFeatures], flops_factor: float = 1.0, bytes_factor: float = 1.0) -> np.ndarray:
    """Made-up times: a launch, arithmetic and memory of each kernel, with noise of a few per cent."""
    rng = np.random.default_rng(1)
    sums = [
        sum(2e-5 + flops_factor * w.flops / 5e10 + bytes_factor * w.traffic_bytes / 1e10 for w in g.workloads)
        for g in graphs
    ]
    return np.array(sums) * np.exp(0.02 * rng.standard_normal(len(sums)))


def other_device(seconds: np.ndarray) -> np.ndarray:
    """Times of kernels on a device that is slower, the more so the longer they take."""
    return 2.5e-5 + SLOWER[0] * seconds


@contextmanager
def warnings_to(path: Path) -> Iterator[None]:
    """Write the package's warnings to a file."""
    handler = logging.FileHandler(path)
    logging.getLogger("tvm_coexec").addHandler(handler)
    yield
    logging.getLogger("tvm_coexec").removeHandler(handler)
    handler.close()


def fit_all(folder: Path) -> None:
    """Write a file for each model, and for those that were moved to another device."""
    kernels, graphs = many(), networks()
    seconds, whole = seconds_of(kernels), network_seconds(graphs)
    for name in KERNEL_NAMES:
        options = {"epochs": 60}
        model = MODELS[name](options) if issubclass(MODELS[name], OneKernelModel) else MODELS[name](**options)
        model.fit(kernels, seconds).save(folder / f"{name}.kernels")
    for name in NETWORK_NAMES:
        NETWORK_MODELS[name](epochs=60).fit(graphs, whole).save(folder / f"{name}.networks")
    devices = [(kernels, seconds), (kernels, 1e-5 + 2 * seconds), (kernels, 0.5 * seconds)]
    help_ = HELP(epochs=60).fit_devices(devices)
    help_.save(folder / "help.devices")
    few = help_.references_
    where = [kernels.index(w) for w in few]
    help_.adapt([kernels[i] for i in where], other_device(seconds)[where]).save(folder / "help.adapted")
    slow = network_seconds(graphs, *SLOWER)
    both = {"fast": (graphs, whole), "slow": (graphs, 2 * whole)}
    shared = NNLQP(epochs=40).fit_devices(both)
    shared.save(folder / "nnlqp.devices")
    shared.adapt(graphs[:20], slow[:20], "new").save(folder / "nnlqp.adapted")
    known = make_model("nnlqp", "gpu", parameters=PARAMETERS)
    known.model = type(known.model)({"epochs": 60}, known.model.device, known.model.parameters)
    known.fit(kernels, seconds)
    Profile({"cpu": known, "gpu": known}).save(folder / "nnlqp.profile")
    with warnings_to(folder / "limit.log"):
        TPULearned(max_fit_s=0.0).fit(kernels, seconds)
    GPUGraph(epochs=40).fit(graphs, whole).adapt(graphs[:20], slow[:20]).save(folder / "gpu_graph.adapted")


if __name__ == "__main__":
    fit_all(Path(sys.argv[1]))
