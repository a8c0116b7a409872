"""Files with arrays: one state as JSON and as npz, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tvm_coexec import CoExecError
from tvm_coexec.cost_models.models import state_files

ARRAYS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "empty": np.empty((0, 4)),
    "scalar": np.array(3, np.int8),
    "turned": np.arange(6.0).reshape(2, 3).T,
}
STATE = {"version": 1, "kind": "latency", "model": "m", "options": {"a": [1, None, "ä"]}, "arrays": ARRAYS}


def assert_same(found, wanted):
    assert {k: v for k, v in found.items() if k != "arrays"} == {k: v for k, v in wanted.items() if k != "arrays"}
    assert list(found["arrays"]) == list(wanted["arrays"])
    for name, a in wanted["arrays"].items():
        assert found["arrays"][name].dtype == a.dtype and found["arrays"][name].shape == a.shape
        np.testing.assert_array_equal(found["arrays"][name], a)


@pytest.mark.parametrize("write", [lambda s: state_files.to_json(s).encode(), state_files.to_npz])
def test_round_trip(write, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(write(STATE))
    assert write(STATE) == write({**STATE, "arrays": dict(ARRAYS)})
    assert_same(state_files.read_state(path, "latency", "latency model"), STATE)


def test_others_can_read_an_npz(tmp_path):
    (tmp_path / "m.npz").write_bytes(state_files.to_npz(STATE))
    with np.load(tmp_path / "m.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["arrays/w"], ARRAYS["w"])
        assert json.loads(found["header"].tobytes())["arrays"]["w"] == ["float32", [2, 3]]


def test_arrays_that_no_file_has():
    for a in (np.array([np.nan]), np.array([np.inf], np.float32), np.array(["a"]), np.array([{}]), np.array([1j])):
        with pytest.raises((ValueError, TypeError), match="array 'w'"):
            state_files.to_npz({**STATE, "arrays": {"w": a}})


@pytest.mark.parametrize(
    "array,says",
    [
        ({"dtype": "object", "shape": [1], "base64": ""}, "type 'object'"),
        ({"dtype": "float32", "shape": [2], "base64": "AAAA"}, "damaged"),
        ({"dtype": "float32", "shape": [3], "base64": "AACAPw=="}, "damaged"),
        ({"dtype": "float32", "shape": [1], "base64": "AADAfw=="}, "not a finite number"),
        ({"dtype": "float32", "shape": [1], "base64": "?"}, "damaged"),
        ({"dtype": "float32", "shape": [1]}, "it lacks 'base64'"),
        ([1.0], "damaged"),
    ],
)
def test_damaged_arrays_in_json(array, says, tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({**STATE, "arrays": {"w": array}}))
    with pytest.raises(CoExecError, match=f"m.json is damaged.*{says}|m.json.*{says}"):
        state_files.read_state(path, "latency", "latency model")


def test_numbers_that_json_does_not_have(tmp_path):
    path = tmp_path / "m.json"
    path.write_text('{"version": 1, "kind": "latency", "mean": NaN}')
    with pytest.raises(CoExecError, match=r"m\.json is not JSON \(NaN is no JSON number\)"):
        state_files.read_state(path, "latency", "latency model")


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, header=np.array([{"version": 1}], object))
    with pytest.raises(CoExecError, match=r"m\.npz is damaged"):
        state_files.read_state(path, "latency", "latency model")
