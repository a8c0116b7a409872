"""Measuring energy with real kernels and a counter whose power follows what the measuring processes compute."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("tvm.relay")

from tests import models
from tests.measuring.energy.sysfs import zone
from tests.remote.conftest import address  # noqa: F401 (a fixture)
from tvm_coexec import CoExecError
from tvm_coexec.cost_models.dataset import read_samples
from tvm_coexec.cost_models.energy_records import find_spreads, fit_power
from tvm_coexec.measuring import reference
from tvm_coexec.measuring.collect.collector import Options, collect
from tvm_coexec.measuring.device_worker import DeviceWorker
from tvm_coexec.measuring.protocol import EnergyRequest, GaugeRequest, Setting
from tvm_coexec.measuring.read_model import Model
from tvm_coexec.measuring.worker import ChildError
from tvm_coexec.remote import Server

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow]

QUICK = Options(
    cuts=0, repeats=2, min_repeat_ms=1, patience_s=0.0, settle_s=0.0, processes=1, contention=False, networks=False
)
IDLE_W, CORE_W = 5.0, 20.0


def cpu_ns() -> int:
    """CPU time of this process's children, and of theirs."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            for task in os.listdir(f"/proc/{child.pid}/task"):
                total += int(Path(f"/proc/{child.pid}/task/{task}/schedstat").read_text().split()[0])
        except (OSError, IndexError):  # it has ended
            continue
    return total


@pytest.fixture
def root(tmp_path) -> Iterator[Path]:
    """A made-up machine whose counter goes on while the test runs."""
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0) / "energy_uj"
    stop = threading.Event()

    def feed() -> None:
        last_s, last_ns, joules = time.perf_counter(), cpu_ns(), 0.0
        while not stop.wait(0.02):
            now_s, now_ns = time.perf_counter(), cpu_ns()
            joules += IDLE_W * (now_s - last_s) + CORE_W * 1e-9 * max(0, now_ns - last_ns)
            last_s, last_ns = now_s, now_ns
            new = counter.with_suffix(".new")
            new.write_text(f"{round(1e6 * joules)}\n")
            os.replace(new, counter)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    yield tmp_path
    stop.set()
    thread.join()


def test_energy_of_a_model(root, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "MAX_SPEED_RATIO", 50.0)
    path = str(tmp_path / "s.jsonl")
    options = Options(**{**vars(QUICK), "energy": 2, "energy_s": 0.3, "gauge_root": str(root)})
    done = collect([Model("chain", models.conv_chain(2), {})], path, options)
    samples = read_samples(path)
    keys = {(r.device, bool(r.signature)) for r in samples.energy}
    assert keys == {("", False), ("cpu", True), ("gpu", True), ("", True)}  # at rest, each device, both
    counts = [sum(r.key == key for r in samples.energy) for key in find_spreads(samples.energy)]
    assert len(counts) == 4 and min(counts) >= 3 and max(counts) <= 5
    for r in samples.energy:
        assert set(r.busy_s) == {f"{d}/conv" for d in ("cpu", "gpu") if d == r.device or (r.signature and not r.device)}
        assert r.gauge == "RAPL (package-0)" and all(0 < s <= 1.2 * r.seconds for s in r.busy_s.values())
    assert done.energy[0].startswith("energy by RAPL (package-0): ") and "W more while the gpu works" in done.energy[0]
    power = fit_power(samples.energy)
    assert power.idle_w == pytest.approx(IDLE_W, rel=0.5)
    assert min(power.watts(f"{d}/conv") for d in ("cpu", "gpu")) > 0.1 * CORE_W
    assert power.watts("cpu/pool") > 0
    again = collect([Model("chain", models.conv_chain(2), {})], path, options)
    more = read_samples(path).energy[len(samples.energy) :]
    noisy = {key for key, spread in find_spreads(samples.energy).items() if spread > 0.1}
    assert {r.key for r in more} <= noisy and again.measured == 0  # what is in the file is not measured again


def test_no_gauge_is_known_before_anything_is_measured(tmp_path):
    path = tmp_path / "s.jsonl"
    options = Options(**{**vars(QUICK), "energy": 2, "gauge_root": str(tmp_path)})
    with pytest.raises(CoExecError, match=r"^this machine has no gauge of its energy: "):
        collect([Model("chain", models.conv_chain(2), {})], str(path), options)
    assert not path.exists()


@pytest.mark.remote
def test_a_gauge_of_an_rpc_server(root, address, tmp_path):  # noqa: F811
    """The server has no code of this package but its C++ runtime, which is uploaded."""
    worker = DeviceWorker(Setting(4, server=Server(address)))
    try:
        assert worker.call(GaugeRequest(str(root)), 120) == "RAPL (package-0)"
        found = worker.call(EnergyRequest(None, str(root), 0.5), 60)
        assert found.busy_s == 0.0 and found.seconds >= 0.5 and found.watts == pytest.approx(IDLE_W, rel=0.5)
        with pytest.raises(ChildError, match=f"the RPC server {address} has no gauge of its energy: there is neither"):
            worker.call(GaugeRequest(str(tmp_path / "none")), 60)
        (root / "sys/class/powercap/intel-rapl:0/name").unlink()
        (root / "sys/class/powercap/intel-rapl:0/name").mkdir()  # opens, and can't be read
        with pytest.raises(ChildError, match="has no gauge of its energy"):
            worker.call(GaugeRequest(str(root)), 60)
    finally:
        worker.stop()
