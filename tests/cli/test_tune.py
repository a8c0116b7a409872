"""``coexec tune``: what is refused before anything is read, each in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tvm.relay")

pytestmark = pytest.mark.llvm


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "tuning needs a budget: give --trials, --minutes or both"),
        (["--trials", "0"], "--trials is 0: a budget must be"),
        (["--minutes", "none"], "--minutes is none: a budget must be a number of more than 0"),
        (["--trials", "5", "--tuner", "luck"], "--tuner 'luck' is unknown; use one of xgb"),
        (["--trials", "5", "--batch", "0"], "--batch '0' must be an integer of at least 1"),
        (["--trials", "5", "--rpc-key", "board"], "--rpc-key needs --rpc-tracker HOST:PORT"),
        (["--trials", "5", "--rpc-tracker", "127.0.0.1:1"], "--rpc-tracker needs --rpc-key"),
        (["--trials", "5", "--rpc-tracker", "127.0.0.1:1", "--rpc-key", "board"], "can't be reached"),
        (["--trials", "5", "-o", "full"], "full is not a folder of tuning (it has file)"),
        (["--trials", "5", "--ratio", "0.5"], "unknown option --ratio"),
    ],
)
def test_refused_in_one_line(coexec, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TVM_TRACKER_HOST", raising=False)
    Path("full").mkdir()
    Path("full", "file").write_text("x")
    done = coexec("tune", "no.onnx", "-o", "tuned", *options)
    assert done.code == 2 and words in done.err and done.err.count("\n") == 1, done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]
