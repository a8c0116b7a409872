"""Samples of two devices that follow simple laws, and the command as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tvm_coexec.cost_models.dataset import Sample, SampleWriter
from tvm_coexec.cost_models.features.workload import Workload

HEADER = {
    "devices": {"cpu": {"target": "llvm", "name": "C", "threads": "1"}, "gpu": {"target": "opencl", "name": "G"}},
    "tvm": "0",
    "schedules": "s",
}
RATES = {"cpu": (2e10, 5e9, 2e-6), "gpu": (4e10, 8e9, 2e-5)}  # FLOP/s, bytes/s, seconds a launch


@dataclass
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def coexec(capfd) -> Callable[..., Done]:
    from tvm_coexec.cli import main

    def run(*argv: object) -> Done:
        try:
            code = main([str(a) for a in argv])
        except SystemExit as stop:  # argparse's own errors
            code = int(stop.code or 0)
        return Done(code, *capfd.readouterr())

    return run


def law(device: str, w: Workload) -> float:
    """Seconds of a kernel on a made-up device."""
    flops_per_s, bytes_per_s, launch_s = RATES[device]
    return launch_s + w.flops / flops_per_s + (w.in_bytes + w.out_bytes + w.weight_bytes) / bytes_per_s


def conv(rng: np.random.Generator, device: str) -> Workload:
    ic, oc, size, k = (int(rng.choice(v)) for v in ((16, 32, 64, 96), (16, 32, 64, 128), (7, 14, 28, 56), (1, 3)))
    flops = 2.0 * ic * oc * k * k * size * size
    bytes_ = {"in_bytes": 4 * ic * size * size, "out_bytes": 4 * oc * size * size, "weight_bytes": 4 * ic * oc * k * k}
    algorithm = "nchwc" if device == "cpu" else "direct"
    return Workload("conv", algorithm, 1, 1, ic, oc, size, size, size, size, k, k, **bytes_, flops=flops, fused=1)


def pool(rng: np.random.Generator) -> Workload:
    c, size = int(rng.choice((16, 32, 64, 128))), int(rng.choice((7, 14, 28, 56)))
    n = 4 * c * size * size
    shape = (1, c, c, c, 2 * size, 2 * size, size, size, 2, 2, 2, 2)
    return Workload("pool", "direct", *shape, in_bytes=4 * n, out_bytes=n, flops=float(n))


@pytest.fixture(scope="session")
def samples_file(tmp_path_factory) -> str:
    """160 samples of two networks."""
    path = str(tmp_path_factory.mktemp("samples") / "samples.jsonl")
    rng = np.random.default_rng(0)
    with SampleWriter(path, HEADER) as writer:
        for i in range(80):
            for device in ("cpu", "gpu"):
                w = conv(rng, device) if i % 4 else pool(rng)
                seconds = law(device, w) * float(np.exp(0.01 * rng.standard_normal()))
                share = {"dim": 1, "rows": (0, 8)} if i % 5 == 1 else {}
                writer.write(Sample(device, w, seconds, 0.0, 3, f"net{i % 2}", "k", f"{w.kind}{i}", **share))
        writer.write(Sample("gpu", pool(rng), 0.0, network="net0", kernel="sort", signature="sort", error="crashed"))
    return path


@pytest.fixture(scope="session")
def profile_file(samples_file, tmp_path_factory) -> Path:
    """A profile fitted to the samples by the command."""
    from tvm_coexec.cli import main

    path = tmp_path_factory.mktemp("profile") / "device.json"
    assert main(["fit", samples_file, "-o", str(path), "--description", "two made-up devices"]) == 0
    return path
