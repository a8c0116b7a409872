"""Files of samples: what is written is read, a run can go on, and damage is named."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.dataset import Sample, SampleWriter, read_samples
from tvm_coexec.cost_models.features.workload import Workload

HEADER = {
    "devices": {"cpu": {"target": "llvm", "name": "C", "threads": "1"}, "gpu": {"target": "opencl", "name": "G"}},
    "tvm": "0.17",
    "schedules": "abc",
}
CONV = Workload("conv", "direct", ic=8, oc=16, oh=7, ow=7, kh=3, kw=3, flops=1e6)
WHOLE = Sample("cpu", CONV, 1e-3, 0.01, 7, "net", "nn.conv2d", "conv", load=0.5, mhz=2600.0)
SHARE = Sample("gpu", CONV, 2e-3, 0.02, 5, "net", "nn.conv2d", "conv", 1, (0, 4))
FAILED = Sample("gpu", CONV, 0.0, network="net", kernel="sort", signature="sort", error="it crashed", repeats=0)
OTHERS = [
    {"record": "copy", "link": "upload", "bytes": 4096, "seconds": 1e-5},
    {"record": "meeting", "seconds": 3e-5},
    {"record": "contention", "device": "cpu", "workload": CONV.to_json(), "alone_s": 1.0, "together_s": 1.5},
    {"record": "network", "network": "net", "device": "cpu", "kernels": 3, "sum_s": 1.0, "seconds": 1.1},
    {"record": "copy", "link": "upload", "bytes": 4096, "seconds": 9e-5, "runtime": "tvm"},
]


@pytest.fixture
def file(tmp_path):
    path = str(tmp_path / "s.jsonl")
    with SampleWriter(path, HEADER) as writer:
        for record in (WHOLE, SHARE, FAILED, *OTHERS):
            writer.write(record)
    return path


def test_everything_comes_back(file):
    read = read_samples(file)
    assert read.samples == [WHOLE, SHARE, FAILED]
    assert read.usable == [WHOLE, SHARE] and read.of("gpu") == [SHARE]
    assert read.header["devices"] == HEADER["devices"] and read.header["version"] == 1
    assert read.links == [{"link": "upload", "bytes": 4096, "seconds": 1e-5}] and read.round_trips == [3e-5]
    assert read.tvm_links == [{"link": "upload", "bytes": 4096, "seconds": 9e-5}]
    assert read.contention[0]["together_s"] == 1.5 and read.contention[0]["workload"] == CONV.to_json()
    assert read.networks[0]["network"] == "net" and read.networks[0]["sum_s"] == 1.0


def test_a_partial_sum_is_not_taken_for_the_whole_kernel(tmp_path):
    whole = replace(SHARE, dim=-1, rows=None)
    partial = replace(SHARE, dim=-1)
    path = str(tmp_path / "s.jsonl")
    with SampleWriter(path, HEADER) as writer:
        writer.write(whole)
        writer.write(partial)
    assert read_samples(path).samples == [whole, partial] and whole.key != partial.key


def test_of_two_measurements_the_shorter_counts(tmp_path):
    path = str(tmp_path / "s.jsonl")
    slow, quick = replace(SHARE, seconds=3e-3, spread=0.5), replace(SHARE, seconds=1e-3)
    with SampleWriter(path, HEADER) as writer:
        for record in (slow, FAILED, quick, replace(SHARE, seconds=2e-3), OTHERS[3], {**OTHERS[3], "seconds": 0.9}):
            writer.write(record)
        writer.write(replace(FAILED, error="", seconds=5e-3, repeats=3))
    read = read_samples(path)
    assert [s.seconds for s in read.samples] == [1e-3, 5e-3] and len(read.usable) == 2
    assert [n["seconds"] for n in read.networks] == [0.9], "the last one of a network counts"
    assert slow.is_noisy and replace(WHOLE, pace=1.5).is_noisy
    assert not quick.is_noisy and not FAILED.is_noisy


def test_every_record_is_in_the_file_at_once(tmp_path):
    path = str(tmp_path / "s.jsonl")
    writer = SampleWriter(path, HEADER)
    writer.write(WHOLE)
    assert read_samples(path).samples == [WHOLE]
    writer.close()


def test_a_run_continues_after_an_incomplete_line(file, caplog):
    with open(file, "a", encoding="utf-8") as f:
        f.write('{"record":"sample","device":"cp')
    with caplog.at_level(logging.WARNING, "tvm_coexec"), SampleWriter(file, HEADER) as writer:
        assert writer.found.samples == [WHOLE, SHARE, FAILED]
        writer.write(replace(WHOLE, signature="next"))
    assert "the last line is incomplete" in caplog.text
    caplog.clear()
    assert [s.signature for s in read_samples(file).samples] == ["conv", "conv", "sort", "next"]
    assert not caplog.text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{not json", "damaged"),
        ('{"record":"sample","device":"cpu"}', "lacks 'workload'"),
        ('{"record":"song"}', "record 'song'"),
        ("[]", "damaged"),
        (json.dumps(replace(WHOLE, seconds=-1.0).to_json()), "-1.0 seconds"),
        (json.dumps(WHOLE.to_json() | {"device": "npu"}), "device 'npu'"),
        (json.dumps(WHOLE.to_json() | {"workload": {"kind": "magic"}}), "magic"),
        (json.dumps(OTHERS[0] | {"link": "telepathy"}), "telepathy"),
    ],
)
def test_damage_names_file_and_line(file, line, text):
    lines = Path(file).read_text().splitlines()
    lines.insert(2, line)
    Path(file).write_text("\n".join(lines) + "\n")
    with pytest.raises(CoExecError, match="line 3 is damaged") as caught:
        read_samples(file)
    assert file in str(caught.value) and text in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "text"),
    [
        ("", "not a file of samples"),
        ('{"kind":"latency"}', "not a file of samples"),
        ('{"kind":"samples","version":99}', "version 99"),
        ('{"kind":"samples","version":1}', "names no devices"),
    ],
)
def test_other_files_are_refused(tmp_path, first, text):
    path = tmp_path / "other"
    path.write_text(first + "\n")
    with pytest.raises(CoExecError, match=text) as caught:
        read_samples(path)
    assert str(path) in str(caught.value)


def test_binary_and_missing_files_are_refused(tmp_path):
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(CoExecError, match="not a file of samples"):
        read_samples(tmp_path / "b")
    with pytest.raises(CoExecError, match=r"can't read samples .*none: No such file"):
        read_samples(tmp_path / "none")
    with pytest.raises(CoExecError, match="can't write"):
        SampleWriter(str(tmp_path / "no" / "folder"), HEADER)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"schedules": "other"}, "schedules: 'abc' there, 'other' now"),
        ({"tvm": "0.18"}, "tvm: '0.17' there"),
        ({"devices": {**HEADER["devices"], "cpu": {"target": "llvm", "name": "C", "threads": "4"}}}, "cpu threads"),
        ({"devices": {**HEADER["devices"], "gpu": {"target": "opencl", "name": "H"}}}, "gpu name: 'G' there"),
    ],
)
def test_another_setting_is_not_mixed_in(file, change, text):
    before = Path(file).read_bytes()
    with pytest.raises(CoExecError, match=text):
        SampleWriter(file, {**HEADER, **change})
    assert Path(file).read_bytes() == before
