"""The file for Perfetto and chrome://tracing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tvm.relay")

from tests.tracing import made
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.tracing import chrome_trace, write_chrome

pytestmark = pytest.mark.llvm

GOLDEN = Path(__file__).parent / "golden" / "small.trace.json"


def test_golden(tmp_path):
    path = tmp_path / "t.json"
    write_chrome(made.recording(), str(path), "small")
    assert path.read_text() == GOLDEN.read_text()


def test_the_file_is_what_the_format_asks_for(tmp_path):
    path = tmp_path / "t.json"
    write_chrome(made.recording(), str(path), "small")
    trace = json.loads(path.read_text())
    assert trace == chrome_trace(made.recording(), "small")
    named = {(e["pid"], e["tid"]): e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert named[1, 1] == "CPU" and named[1, 2] == "GPU" and named[2, 2] == "GPU"
    flows: dict[tuple, list] = {}
    ends: dict[tuple, float] = {}
    for e in trace["traceEvents"]:
        assert e["ph"] in "MXsf" and {"pid", "tid", "name"} <= e.keys()
        if e["ph"] == "X":
            key = (e["pid"], e["tid"])
            assert key in named and e["dur"] > 0
            assert e["ts"] >= ends.get(key, 0.0) - 0.002  # slices of a thread must nest, and ours don't overlap
            ends[key] = e["ts"] + e["dur"]
        elif e["ph"] in "sf":
            flows.setdefault((e["pid"], e["id"]), []).append(e)
    assert len(flows) == 2
    for start, finish in flows.values():
        assert (start["ph"], start["tid"]) == ("s", 1) and (finish["ph"], finish["tid"], finish["bp"]) == ("f", 2, "e")
        assert start["ts"] <= finish["ts"]


def test_a_place_that_can_t_be_written(tmp_path):
    with pytest.raises(CoExecError, match="can't write"):
        write_chrome(made.recording(), str(tmp_path / "no" / "t.json"))
