"""Power from meter readings, and energy from power."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_coexec import CoExecError
from tvm_coexec.cost_models import Power, Reading
from tvm_coexec.cost_models.power import read_readings

TRUE = Power(0.8, {"cpu": 2.0, "gpu": 3.0, "gpu/conv": 4.0})


def readings(noise: float = 0.0) -> list[Reading]:
    rng = np.random.default_rng(0)
    found = []
    for busy in ({}, {"cpu": 1.0}, {"gpu/conv": 0.7}, {"gpu/dense": 0.9}, {"cpu": 0.8, "gpu/conv": 0.9}):
        for seconds in (1.0, 1.7):
            scaled = {n: s * seconds for n, s in busy.items()}
            found.append(Reading(seconds, TRUE.energy_j(seconds, scaled) * (1 + noise * rng.standard_normal()), scaled))
    return found


def test_watts_are_found_again():
    found = Power.fit(readings())
    assert found.idle_w == pytest.approx(0.8, rel=0.02)
    assert found.watts("cpu") == pytest.approx(2.0, rel=0.02)
    assert found.watts("gpu/conv") == pytest.approx(4.0, rel=0.02)
    assert found.watts("gpu/dense") == pytest.approx(3.0, rel=0.02)
    for r in readings():
        assert found.energy_j(r.seconds, r.busy_s) == pytest.approx(r.joules, rel=0.02)
    noisy = Power.fit(readings(0.03))
    assert noisy.energy_j(1.0, {"cpu": 0.5, "gpu/conv": 0.5}) == pytest.approx(3.8, rel=0.1)


def test_both_devices_at_once_cost_both():
    assert TRUE.energy_j(2.0, {"cpu": 1.0, "gpu": 1.0}) == pytest.approx(1.6 + 2.0 + 3.0)


def test_round_trip():
    assert Power.from_json(TRUE.to_json()) == TRUE


def test_readings_that_tell_nothing():
    with pytest.raises(CoExecError, match="at least two"):
        Power.fit(readings()[:1])
    same = [Reading(1.0, 2.0, {"cpu": 1.0}), Reading(2.0, 4.0, {"cpu": 2.0})]
    with pytest.raises(CoExecError, match="add readings with the device idle"):
        Power.fit(same)
    with pytest.raises(CoExecError, match="no power for 'gpu'"):
        Power(1.0, {"cpu": 1.0}).watts("gpu/conv")


def test_readings_come_from_a_table(tmp_path):
    path = tmp_path / "meter.csv"
    path.write_text("seconds,joules,cpu,gpu/conv\n2,1.6,,\n1.0,2.8,1.0,\n1.0,4.8,,1\n1.5,9.2,1.5,1.5\n")
    found = read_readings(path)
    assert found[0] == Reading(2.0, 1.6, {}) and found[3] == Reading(1.5, 9.2, {"cpu": 1.5, "gpu/conv": 1.5})
    assert Power.fit(found).idle_w == pytest.approx(0.8, rel=0.05)
    path.write_text("seconds,joules,cpu\n1,2,3\n1,two,3\n")
    with pytest.raises(CoExecError, match=r"line 3 of .*meter\.csv is not a meter reading; it needs columns seconds"):
        read_readings(path)
    with pytest.raises(CoExecError, match=r"can't read meter readings .*none\.csv"):
        read_readings(tmp_path / "none.csv")
