"""What benchmarks derive from times and outputs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import _compare, _modules


def test_bound_of_two_devices():
    even = _compare.bounds({"cpu_ms": 10.0, "gpu_ms": 10.0, "speed_up": 1.5})
    assert even == {"bound": pytest.approx(2.0), "of_bound": pytest.approx(0.75)}
    uneven = _compare.bounds({"cpu_ms": 30.0, "gpu_ms": 10.0, "speed_up": 1.0})
    assert uneven["bound"] == pytest.approx(10.0 / 7.5)
    assert _compare.bounds({"cpu_ms": 30.0, "gpu_ms": None, "speed_up": 1.0}) == {"bound": None, "of_bound": None}


def test_promises():
    assert _compare.promised_off(9e-3, {"both_ms": 10.0}) == pytest.approx(-10.0)
    assert _compare.promised_off(12e-3, {"both_ms": 10.0}) == pytest.approx(20.0)
    assert _compare.promised_off(0.0, {"both_ms": 10.0}) is None


def test_speed_up_is_of_turns():
    # the second turn is slow for both
    assert _compare.speed_up([[2.0, 2.0], [9.0, 9.1], [2.0, 2.2]], [[1.0, 1.0], [4.5, 4.5], [1.0, 1.1]]) == 2.0


def test_summary_names_the_worst():
    rows = [
        {"network": "a", "of_bound": 0.9, "promised_off_%": -20.0},
        {"network": "b", "of_bound": 0.4, "promised_off_%": 10.0},
        {"network": "c", "of_bound": None, "promised_off_%": None},
    ]
    reached, promises = _compare.summarise(rows, (0.9, 0.8), (7.0, 15.0))
    assert "geometric mean 0.600" in reached and "worst 0.400 (goal >= 0.8), of b" in reached
    assert "mean of magnitudes 15.0 %" in promises and "worst 20.0 % (goal <= 15 %), of a" in promises
    assert _compare.summarise([], (0.9, 0.8), (7.0, 15.0)) == []


def test_largest_error_of_outputs():
    one, two = np.array([1.0, -4.0], "float32"), np.array([1.0, -3.0], "float32")
    assert _modules.largest_error([one, one], [one, two]) == pytest.approx(1 / 3)
    assert _modules.largest_error([np.array([True, False])], [np.array([True, True])]) == 1.0
    assert _modules.largest_error([np.zeros((0, 3))], [np.zeros((0, 3))]) == 0.0
    assert _modules.largest_error([np.array([1e-3])], [np.array([0.0])]) == pytest.approx(1e-3)
    strange = np.array([np.nan, np.inf, 2.0])
    assert _modules.largest_error([strange], [strange]) == 0.0
    for other in (np.array([0.0, np.inf, 2.0]), np.array([np.nan, 1.0, 2.0])):
        assert _modules.largest_error([other], [strange]) == np.inf
    assert _modules.largest_error([one], [one.reshape(1, 2)]) == np.inf
