"""Records of measured energy, and the power fitted to them."""

from __future__ import annotations

import json

import pytest

from tvm_coexec import CoExecError
from tvm_coexec.cost_models import Power
from tvm_coexec.cost_models.dataset import SampleWriter, read_samples
from tvm_coexec.cost_models.energy_records import EnergyRecord, find_spreads, find_unseen_device, fit_power

TRUE = Power(3.0, {"cpu/conv": 6.0, "cpu/pool": 2.0, "gpu/conv": 9.0, "gpu/pool": 4.0})


def records(power: Power = TRUE, noise: float = 0.0) -> list[EnergyRecord]:
    """Three rounds of five states; devices are busy four fifths of the time."""
    made = []
    states = [("", ""), ("cpu", "conv"), ("cpu", "pool"), ("gpu", "conv"), ("gpu", "pool"), ("", "conv | conv")]
    for number in range(3):
        seconds = 2.0 + 0.3 * number
        for device, signature in states:
            names = ("cpu/conv", "gpu/conv") if "|" in signature else (f"{device}/{signature}",) if device else ()
            busy_s = dict.fromkeys(names, 0.8 * seconds)
            joules = power.energy_j(seconds, busy_s) * (1 + noise * (number - 1))
            made.append(EnergyRecord(seconds, joules, busy_s, "RAPL (package-0)", device, signature))
    return made


def test_power_is_found_again():
    """Every class has power of its own; another one has the mean of its device's."""
    found = fit_power(records())
    assert found.idle_w == pytest.approx(3.0, rel=0.01)
    for name, watts in TRUE.busy_w.items():
        assert found.watts(name) == pytest.approx(watts, rel=0.02)
    # convolutions ran twice as long: alone, and with the other device
    assert found.watts("cpu/dense") == pytest.approx((2 * 6.0 + 2.0) / 3, rel=0.02)


def test_a_device_that_the_gauge_does_not_see():
    blind = Power(30.0, {"cpu": 40.0, "gpu": 0.0})
    assert find_unseen_device(records(blind)) == "gpu" and not find_unseen_device(records())
    with pytest.raises(CoExecError, match="shows no more power while the gpu works than at rest"):
        fit_power(records(blind, 0.002))
    faint = Power(30.0, {"cpu": 40.0, "gpu": 2.0})
    assert not find_unseen_device(records(faint)) and find_unseen_device(records(faint, 0.05)) == "gpu"


def test_spreads():
    spreads = find_spreads(records(noise=0.05))
    assert len(spreads) == 6 and all(s == pytest.approx(0.1) for s in spreads.values())


def test_a_file_keeps_them(tmp_path):
    header = {"devices": {"cpu": {}, "gpu": {}}, "tvm": "0", "schedules": "s"}
    path = tmp_path / "s.jsonl"
    made = records()
    with SampleWriter(str(path), header) as writer:
        for record in made:
            writer.write(record)
    assert read_samples(path).energy == made
    for damage in ({"joules": 0}, {"seconds": -1}, {"busy_s": {"cpu": float("inf")}}, {"device": "npu"}, {"busy_s": 3}):
        broken = json.dumps({**made[1].to_json(), **damage})
        path.write_text(json.dumps({"version": 1, "kind": "samples", **header}) + "\n" + broken + "\n")
        with pytest.raises(CoExecError, match=r"s\.jsonl, line 2 is damaged"):
            read_samples(path)
