"""The folder of a run: whose it is, what is refused, and lines that an interruption left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.llvm

pytest.importorskip("tvm.relay")

import tvm_coexec  # noqa: E402
from tests.tuning.loop import nets  # noqa: E402
from tvm_coexec import CoExecError  # noqa: E402
from tvm_coexec.targets import targets  # noqa: E402
from tvm_coexec.tuning.loop import load_tuned  # noqa: E402
from tvm_coexec.tuning.loop.folder import Identity, Journal, open_folder, repair_lines  # noqa: E402
from tvm_coexec.tuning.loop.options import check_budget, check_tune_options  # noqa: E402
from tvm_coexec.tuning.loop.trials import Trials  # noqa: E402

TARGETS = targets(nets.CPU, nets.GPU)
MODEL = Identity.of("0123456789abcdef", TARGETS)
SETTINGS = {"seed": 0, "batch": 8}


def refused(call, *words: str) -> None:
    with pytest.raises(CoExecError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and all(w in text for w in words), text


def open_it(path: Path, identity: Identity = MODEL, settings=SETTINGS) -> None:
    with open_folder(str(path), identity, settings):
        pass


def test_a_folder_is_of_one_model_targets_and_settings(tmp_path):
    path = tmp_path / "tuned"
    open_it(path)
    open_it(path)
    other = Identity.of("another", TARGETS)
    refused(lambda: open_it(path, other), str(path), "another model", "0123456789abcdef", "give its own model")
    avx = Identity.of(MODEL.model, targets("llvm -mcpu=core-avx2", nets.GPU))
    refused(lambda: open_it(path, avx), "another cpu", "core-avx2", "give that target, or another folder")
    refused(lambda: open_it(path, settings={"seed": 1, "batch": 8}), "seed 0, now 1", "repeat them to continue")


def test_other_folders_and_files_are_left_alone(tmp_path):
    (tmp_path / "file").write_text("x")
    refused(lambda: open_it(tmp_path / "file"), "is a file: give a folder")
    refused(lambda: open_it(tmp_path), str(tmp_path), "is not a folder of tuning (it has file)")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    refused(lambda: open_it(tmp_path / "file" / "tuned"), "can't write")


def test_two_runs_do_not_share_a_folder(tmp_path):
    with open_folder(str(tmp_path / "tuned"), MODEL, SETTINGS):
        refused(lambda: open_it(tmp_path / "tuned"), "another process is tuning into", "wait for it")


def test_half_a_line_is_dropped_and_a_whole_one_completed(tmp_path, caplog):
    path = tmp_path / "kernels.jsonl"
    for text, kept in (('{"key": "a"}\n{"ke', '{"key": "a"}\n'), ('{"ke', ""), ('{"key": "a"}', '{"key": "a"}\n')):
        path.write_text(text)
        repair_lines(path)
        assert path.read_text() == kept
    assert caplog.text.count("is incomplete (a run was interrupted)") == 2


def test_damaged_lines_are_named(tmp_path):
    path = tmp_path / "kernels.jsonl"
    path.write_text('{"key": "a"}\n{"seconds": 1}\n')
    refused(Journal(path).read, f"line 2 of {path} is damaged")
    log = tmp_path / "trials.log"
    log.write_text('{"input": 1}\n')
    refused(lambda: Trials(log, nets.Clock()), f"line 1 of {log} is not a tuning record")


def test_what_is_no_result_is_refused(tmp_path):
    refused(lambda: load_tuned(tmp_path), "is not a folder of tuning")
    open_it(tmp_path / "tuned")
    refused(lambda: load_tuned(tmp_path / "tuned"), "has not ended", "run the same tune command again")
    (tmp_path / "tuned" / "summary.json").write_text("{}")
    refused(lambda: load_tuned(tmp_path / "tuned"), "summary.json is not a summary of version 1")
    (tmp_path / "tuned" / "summary.json").write_text(json.dumps(MODEL.to_json()))
    refused(lambda: load_tuned(tmp_path / "tuned"), "lacks records.log")


@pytest.mark.parametrize(
    "trials, minutes, words",
    [
        (None, None, "tuning needs a budget: give trials, minutes or both"),
        (0, None, "trials is 0: a budget must be a number of more than 0"),
        (None, 0, "minutes is 0: a budget must be a number of more than 0"),
        (5, -1, "minutes is -1: a budget must be a number of more than 0"),
        (2.5, None, "trials is 2.5: give an integer"),
        ("many", None, "trials is many: a budget must be a number of more than 0"),
    ],
)
def test_budgets(trials, minutes, words):
    refused(lambda: check_budget(trials, minutes), words)


def test_options_are_checked_before_anything_is_done(tmp_path):
    refused(lambda: check_tune_options({"ratio": 0.5}), "ratio fixes every cut")
    refused(lambda: check_tune_options({"objective": "energy"}), "tuning measures seconds")
    refused(lambda: check_tune_options({"tuner": "luck"}), "tuner 'luck' is unknown; use one of xgb")
    refused(lambda: check_tune_options({"batch": 0}), "batch 0 must be an integer of at least 1")
    net, folder = nets.network(), tmp_path / "tuned"
    records = tmp_path / "old.log"
    records.write_text("{\n")
    for options, words in (
        ({"trials": 0}, "a budget must be a number of more than 0"),
        ({"trials": 1, "records": records}, f"line 1 of {records} is not a tuning record"),
        ({"trials": 1, "tracker": "127.0.0.1:1", "key": "board"}, "the tracker 127.0.0.1:1 can't be reached"),
        ({"trials": 1, "gpu": "llvm"}, "is a CPU target"),
    ):
        refused(lambda o=options: tvm_coexec.tune(net, None, "llvm", folder=folder, **o), words)
    assert not folder.exists()


@pytest.mark.slow
def test_a_process_that_is_killed_frees_its_folder(tmp_path):
    code = f"""
import os, signal
from tests.tuning.loop.test_folder import MODEL, SETTINGS, open_folder
with open_folder({str(tmp_path / "tuned")!r}, MODEL, SETTINGS) as folder:
    folder.journal.write("a", seconds=1.0)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    with open_folder(str(tmp_path / "tuned"), MODEL, SETTINGS) as folder:
        assert folder.journal.found["a"]["seconds"] == 1.0
