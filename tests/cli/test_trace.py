"""``coexec trace``: a model run, and what is printed and written of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm.relay")

import tvm_coexec
from tests.models import conv_chain, input_of

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A chain, exported."""
    path = tmp_path_factory.mktemp("model") / "chain.so"
    tvm_coexec.build(conv_chain(), ratio=0.5, profile="generic").export_library(str(path))
    return path


def test_table_and_files(coexec, model, tmp_path):
    pytest.importorskip("matplotlib")
    files = {kind: tmp_path / f"out.{kind}" for kind in ("trace", "png", "html", "json")}
    options = [part for kind, path in files.items() for part in (f"--{kind}", path)]
    done = coexec("trace", model, "--runs", 3, "--warm-up", 1, *options)
    assert done.code == 0, done.err
    assert done.out.startswith("chain: ") and "the median of 3 runs" in done.out and "the plan expected" in done.out
    assert "GPU: kernels, ms" in done.out and all(f"{path}: " in done.out for path in files.values())
    events = json.loads(files["trace"].read_text())["traceEvents"]
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] == "X"} >= {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    page = files["html"].read_text()
    assert "GPU plan" in page and "GPU run" in page and "the median of 3 runs" in page
    written = json.loads(files["json"].read_text())
    assert written["model"] == "chain" and len(written["runs_s"]) == 3 and written["segments"][0]["device"] == "split"
    crossed = written["measured"]["moved_bytes"] + written["measured"]["elided_bytes"]
    assert crossed > 0 and written["expected"]["moved_bytes"] > 0
    assert sorted(written["runs_s"])[1] == pytest.approx(written["measured"]["run_s"])


def test_inputs_of_a_file(coexec, model, tmp_path):
    np.savez(tmp_path / "in.npz", **input_of(conv_chain()))
    done = coexec("trace", model, "--runs", 1, "--inputs", tmp_path / "in.npz")
    assert done.code == 0 and done.err == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--runs", "0"], "must be an integer >= 1"),
        (["--warm-up", "-1"], "not an integer >= 0"),
        (["--inputs", "none.npz"], "none.npz is not a complete .npz file"),
        (["--inputs", "none.npz", "--seed", "1"], "leave one out"),
        (["--trace", "no/t.json"], "there is no folder"),
        (["--html", "."], "it is a folder"),
        (["--speed", "1"], "unknown option --speed"),
    ],
)
def test_what_users_get_wrong(coexec, model, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    done = coexec("trace", model, *options)
    assert done.code == 2 and words in done.err and done.err.count("\n") == 1 and done.out == ""
    assert os.listdir() == []


def test_no_model(coexec, tmp_path):
    done = coexec("trace", tmp_path / "none.tar", "--trace", tmp_path / "t.json")
    assert done.code == 2 and "there is no file" in done.err and os.listdir(tmp_path) == []
