"""Damaged logs of both of TVM's tuners are named, with the line; a log without records tunes nothing."""

from __future__ import annotations

import json
import logging

import pytest

from tvm_coexec import CoExecError

pytestmark = pytest.mark.llvm

AUTOTVM = json.dumps(
    {
        "input": ["llvm", "conv2d_NCHWc.x86", [["TENSOR", [1, 3, 4, 4], "float32"]], {}],
        "config": {"index": 1, "code_hash": None, "entity": [["tile_ic", "sp", [-1, 1]]]},
        "result": [[0.1], 0, 1.0, 1.0],
        "version": 0.2,
        "tvm_version": "0",
    }
)
SCHEDULER = '{"i": [["[\\"x\\"]", "llvm"], [[], []]], "r": [[0.1], 0, 0.1, 1], "v": "v0.6"}'


@pytest.fixture
def check(tmp_path):
    from tvm_coexec.tuning.log import read_log

    def run(data: str | bytes) -> bool:
        path = tmp_path / "records.log"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return bool(read_log(str(path), "--tuning-records").tuner)

    return run


@pytest.mark.parametrize(
    "lines",
    [
        [AUTOTVM],
        ["# a note", AUTOTVM, "#", AUTOTVM],
        [AUTOTVM.replace("[0.1], 0", "[1000000000.0], 4")],  # a failed measurement
        [json.dumps({"v": 0.1}), AUTOTVM],  # of an old version, which TVM skips
        [SCHEDULER, SCHEDULER],
    ],
)
def test_good_logs(check, lines):
    assert check("\n".join(lines) + "\n")


@pytest.mark.parametrize("text", ["", "# only a note\n"])
def test_a_log_without_records(check, text, caplog):
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        assert not check(text)
    assert "has no records: kernels are not tuned" in caplog.text


@pytest.mark.parametrize(
    ("lines", "number", "why"),
    [
        ([AUTOTVM, AUTOTVM[:90]], 2, "it is not JSON, or truncated"),
        (["# a note", AUTOTVM, "", AUTOTVM], 3, "it is empty"),
        (["tuned by hand", AUTOTVM], 1, "it is not JSON"),
        ([AUTOTVM, json.dumps({"i": 1})], 2, "it has no 'input'"),
        (["[1, 2]"], 1, "it has an unknown structure"),
        ([AUTOTVM.replace("llvm", "nonsense")], 1, 'Target kind "nonsense" is not defined'),
        ([AUTOTVM.replace('"sp"', '"zz"')], 1, "Invalid config knob type: zz"),
        ([AUTOTVM, AUTOTVM.replace("[0.1], 0", '[["a"]], 0')], 2, ""),
        ([AUTOTVM, AUTOTVM.replace("[-1, 1]", '[-1, "one"]')], 2, "it has an unknown structure"),
        ([AUTOTVM, SCHEDULER], 2, "it has no 'input'"),
        ([SCHEDULER, SCHEDULER[:40]], 2, "it is not JSON, or truncated"),
        ([SCHEDULER, AUTOTVM], 2, "Invalid key in json log: input"),
    ],
)
def test_damaged_logs(check, lines, number, why):
    with pytest.raises(CoExecError) as caught:
        check("\n".join(lines) + "\n")
    text = str(caught.value)
    assert text.startswith(f"--tuning-records: line {number} of ") and "records.log is not a tuning record: " in text
    assert why in text and "\n" not in text and "line 1 column" not in text


def test_what_is_no_text(check, tmp_path):
    with pytest.raises(CoExecError, match=r"records\.log is not a text file"):
        check(b"\xff\xfe\0\0")
