"""Parameters of devices: as JSON, and by hand."""

from __future__ import annotations

import json

import pytest

from tvm_coexec import CoExecError
from tvm_coexec.cost_models import DeviceParameters
from tvm_coexec.cost_models.device_parameters import merge_parameters, parse_parameters, read_parameters

CPU = DeviceParameters("cpu", 1e11, 2e10, 4, 2e9, 32768, 1 << 20, 1 << 23)


def test_json_is_exact():
    assert DeviceParameters.from_json(json.loads(json.dumps(CPU.to_json()))) == CPU
    assert DeviceParameters("gpu").to_json() == {"kind": "gpu"}
    assert parse_parameters({"gpu": {"cores": 2}})["gpu"] == DeviceParameters("gpu", cores=2)


@pytest.mark.parametrize(
    "values,message",
    [
        ({"kind": "npu"}, "device kind 'npu'; there are: cpu, gpu, cores"),
        ({"cores": -1}, "cores is -1"),
        ({"clock_hz": float("nan")}, "clock_hz is nan"),
        ({"cores": "four"}, "cores is 'four'"),
        ({"cores": True}, "cores is True"),
        ({"wheels": 4}, "unknown device parameter 'wheels'"),
    ],
)
def test_wrong_values(values, message, tmp_path):
    with pytest.raises(CoExecError, match=message):
        DeviceParameters.from_json(values)
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"cpu": values}))
    with pytest.raises(CoExecError, match=r"p\.json"):
        read_parameters(path)


def test_what_is_given_by_hand_replaces_what_was_found():
    found = {"cpu": CPU.to_json(), "gpu": {"kind": "gpu", "cores": 4}}
    merged = merge_parameters(found, {"gpu": {"peak_flops_per_s": 1e11}})
    assert merged == {"cpu": CPU, "gpu": DeviceParameters("gpu", peak_flops_per_s=1e11, cores=4)}
    with pytest.raises(CoExecError, match="the device 'npu'"):
        merge_parameters({}, {"npu": {}})
