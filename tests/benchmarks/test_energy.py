"""The comparison of power models on made-up readings, and on a machine without a gauge."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import energy
from tests.cost_models.kernels import conv, elements, product_of, seconds_of
from tvm_coexec import CoExecError
from tvm_coexec.cost_models.dataset import Sample, SampleWriter, read_samples
from tvm_coexec.cost_models.energy_records import EnergyRecord

pytestmark = pytest.mark.llvm

KERNELS = [
    *(conv(ic=ic, oc=oc, size=size) for ic in (16, 32) for oc in (16, 64) for size in (14, 28, 56)),
    *(product_of(rows=rows, columns=c) for rows in (8, 32, 64) for c in (64, 256)),
    *(elements(1 << n) for n in range(12, 18)),
]
WATTS = {"conv": 30.0, "dense": 24.0, "injective": 16.0}
IDLE_W = 10.0


def write_file(path, watts_of) -> str:
    """Samples of all kernels on both devices, three readings of each, and of the machine at rest."""
    header = {"devices": {"cpu": {"target": "llvm", "name": "C"}, "gpu": {"target": "opencl", "name": "G"}}}
    seconds = seconds_of(KERNELS)
    with SampleWriter(str(path), {**header, "tvm": "0", "schedules": "s"}) as writer:
        for number in range(3):
            writer.write(EnergyRecord(2.0, 2.0 * IDLE_W * (1 + 1e-3 * number), {}, "RAPL (package-0)"))
        for device in ("cpu", "gpu"):
            for i, (w, s) in enumerate(zip(KERNELS, seconds, strict=True)):
                writer.write(Sample(device, w, float(s), kernel=w.kind, signature=f"k{i}", network="n"))
                for number in range(3):
                    joules = 2.0 * watts_of(w) * (1 + 0.01 * (number - 1))
                    busy_s = {f"{device}/{w.kind}": 2.0}
                    writer.write(EnergyRecord(2.0, joules, busy_s, "RAPL (package-0)", device, f"k{i}", w))
    return str(path)


@pytest.mark.slow
def test_watts_by_class_where_classes_differ(tmp_path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(energy._common, "TestBed", type("Bed", (), {"setting": lambda self: {"machine": "made up"}}))
    path, out = write_file(tmp_path / "s.jsonl", lambda w: WATTS[w.kind]), tmp_path / "e.json"
    energy.main(["--samples", path, "--json", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [r["device"] for r in rows] == ["cpu"] * 3 + ["gpu"] * 3 and {r["kernels"] for r in rows} == {len(KERNELS)}
    ours, neural, one = rows[:3]
    assert ours["power_mape_%"] < 1.0 and ours["power_within_10"] == 100.0
    assert neural["power_mape_%"] < 2.0 and one["power_mape_%"] > 10.0
    assert all(0 < r["energy_mape_%"] < 200 for r in rows)
    assert "watts by class" in capsys.readouterr().out


def test_kernels_are_predicted_by_models_fitted_to_others(tmp_path, monkeypatch):
    """What a model was fitted to it could know by heart."""
    samples = read_samples(write_file(tmp_path / "s.jsonl", lambda w: WATTS[w.kind]))
    asked, hidden = [], []

    def fit(records, _idle):
        known = {r.signature for r in records}
        hidden.append(len(KERNELS) - len(known))
        return lambda r: asked.append(r.signature in known) or 1.0

    monkeypatch.setattr(energy, "MODELS", {"spy": (fit, "analytic")})
    monkeypatch.setattr(energy, "LATENCY", {"analytic": energy.LATENCY["analytic"]})
    energy.compare(samples)
    assert len(asked) == 2 * len(KERNELS) and not any(asked) and min(hidden) >= len(KERNELS) // energy.FOLDS


def test_files_that_do_not_serve(tmp_path, capsys):
    path = write_file(tmp_path / "s.jsonl", lambda _: IDLE_W)
    with pytest.raises(SystemExit) as stop:
        energy.main(["--samples", path])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and "shows no more power while the cpu works" in err and err.count("\n") == 1
    samples = read_samples(path)
    samples.energy.clear()
    with pytest.raises(CoExecError, match="have no energy"):
        energy.compare(samples)


def test_a_machine_without_a_gauge(monkeypatch, capsys, tmp_path):
    from tvm_coexec.measuring.energy import gauges

    find = gauges.find_gauge
    monkeypatch.setattr(gauges, "find_gauge", lambda files: find(files, str(tmp_path)))
    energy.main([])
    out = capsys.readouterr().out
    assert re.fullmatch(r"energy: this machine has no gauge of its energy: .*\n", out)
