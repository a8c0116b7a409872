"""``coexec profile``: what is measured, and what it says when it can't."""

from __future__ import annotations

import functools

import pytest

from tests.cli.test_predict import model_file  # noqa: F401 (a fixture)
from tests.tvmc.test_remote import tracker  # noqa: F401 (a fixture)
from tvm_coexec.cost_models.dataset import read_samples
from tvm_coexec.measuring.collect import collector

pytestmark = pytest.mark.llvm


@pytest.mark.opencl
def test_a_model_and_designed_kernels(coexec, model_file, tmp_path, monkeypatch):  # noqa: F811
    hasty = functools.partial(collector.Options, patience_s=0.0, settle_s=0.0)
    monkeypatch.setattr(collector, "Options", hasty)
    monkeypatch.setattr(collector, "is_same_speed", lambda now_s, then_s: True)  # other tests run at the same time
    path = tmp_path / "s.jsonl"
    quick = ["--cuts", 0, "--repeats", 2, "--min-repeat-ms", 1, "--processes", 1, "--no-contention"]
    done = coexec("profile", model_file, *quick, "-o", path)
    assert done.code == 0, done.err
    samples = read_samples(path)
    assert {s.network for s in samples.samples} == {"small"} and len(samples.usable) == 4  # equal convolutions: once
    assert len(samples.networks) == 2 and "4 measured" in done.out and "0 were already in the file" in done.out
    few = tmp_path / "few.jsonl"
    done = coexec("profile", model_file, "--few", 1, "--from", "test_bed", *quick, "--no-networks", "-o", few)
    assert done.code == 0 and {s.device for s in read_samples(few).usable} == {"cpu", "gpu"}, done.err
    assert len(read_samples(few).samples) == 2
    done = coexec("profile", model_file, "--designed", 1, *quick, "--budget", 1e-6, "-o", path)
    assert done.code == 0 and "0 measured" in done.out and "4 were already in the file" in done.out
    assert "are left: run the same command again" in done.err
    done = coexec("profile", model_file, "--describe-again", "-o", path)
    assert done.code == 0 and "updated the descriptions of 0 samples; 0 belong to other models" in done.out


def test_errors_are_one_line(coexec, tmp_path, monkeypatch, model_file):  # noqa: F811
    for name in ("TVM_TRACKER_HOST", "TVM_TRACKER_PORT"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "s.jsonl"
    other = tmp_path / "other.txt"
    other.write_text("something else\n")
    cases = [
        (("-o", out), "nothing to measure"),
        (("no.onnx", "-o", out), "there is no model no.onnx"),
        (("--zoo", "lenet", "-o", out), "--zoo lenet"),
        ((model_file, "-o", tmp_path / "no" / "s.jsonl"), "there is no folder"),
        ((model_file, "--cpu", "nonsense", "-o", out), "cpu target 'nonsense'"),
        ((model_file, "--rpc-tracker", "127.0.0.1:1", "-o", out), "needs --rpc-key"),
        ((model_file, "--rpc-key", "board", "-o", out), "TVM_TRACKER_HOST"),
        ((model_file, "--rpc-key", "board", "--rpc-tracker", "nowhere", "-o", out), "is not of the form HOST:PORT"),
        ((model_file, "--rpc-key", "board", "--rpc-tracker", "127.0.0.1:1", "-o", out), "can't be reached"),
        ((model_file, "--rpc", "127.0.0.1:1", "-o", out), "the RPC server 127.0.0.1:1 can't be reached"),
        ((model_file, "--rpc", "127.0.0.1:1", "--rpc-key", "board", "-o", out), "is named directly"),
        ((model_file, "--few", 5, "--adaptive", 5, "--designed", 5, "-o", out), "leave out one of them"),
        ((model_file, "--few", 5, "--describe-again", "-o", out), "measures nothing: leave out --few"),
        ((model_file, "--from", "test_bed", "-o", out), "give --few N as well"),
        ((model_file, "--few", 5, "--from", tmp_path / "none", "-o", out), "none: give a file of `coexec"),
        ((model_file, "--boards", 2, "-o", out), "--boards is for servers of a tracker"),
        ((model_file, "--energy-kernels", 2, "-o", out), "--energy-kernels has no effect without --energy"),
        ((model_file, "--energy-seconds", 2, "-o", out), "--energy-seconds has no effect without --energy"),
        ((model_file, "--energy", "--describe-again", "-o", out), "measures nothing: leave out --energy"),
    ]
    for argv, text in cases:
        done = coexec("profile", *argv)
        assert done.code == 2 and text in done.err and done.err.count("\n") == 1, (argv, done)
    assert not out.exists()


@pytest.mark.opencl
def test_a_machine_without_a_gauge(coexec, model_file, tmp_path):  # noqa: F811
    from tvm_coexec import CoExecError
    from tvm_coexec.measuring.energy.board_files import LocalFiles
    from tvm_coexec.measuring.energy.gauges import find_gauge

    try:
        pytest.skip(f"this machine has one: {find_gauge(LocalFiles()).name}")
    except CoExecError as err:
        why = str(err)
    done = coexec("profile", model_file, "--energy", "-o", tmp_path / "s.jsonl")
    assert done.code == 2 and why in done.err and done.err.count("\n") == 1 and not (tmp_path / "s.jsonl").exists()


@pytest.mark.remote
def test_the_test_bed_is_here(coexec, model_file, tmp_path, tracker):  # noqa: F811
    remote = ["--rpc-key", "board", "--rpc-tracker", tracker]
    done = coexec("profile", model_file, *remote, "--test-bed", "-o", tmp_path / "s.jsonl")
    assert done.code == 2 and "--test-bed is for this machine's devices" in done.err


@pytest.mark.opencl
def test_a_file_of_something_else_is_left_alone(coexec, model_file, tmp_path):  # noqa: F811
    other = tmp_path / "other.txt"
    other.write_text("something else\n")
    done = coexec("profile", model_file, "-o", other)
    assert done.code == 2 and "not a file of samples" in done.err and other.read_text() == "something else\n"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--cuts", "-1"], "is not an integer >= 0"),
        (["--repeats", "0"], "must be an integer >= 1"),
        (["--budget", "soon"], "is not a positive number"),
        (["--budget", "inf"], "is not a positive number"),
    ],
)
def test_numbers_are_checked(coexec, argv, text):
    done = coexec("profile", "model", *argv, "-o", "x")
    assert done.code == 2 and text in done.err


@pytest.mark.slow
def test_no_device_is_one_line(coexec, model_file, tmp_path):  # noqa: F811
    done = coexec("profile", model_file, "--gpu", "metal", "-o", tmp_path / "s.jsonl")
    assert done.code == 2 and "the devices can't be used" in done.err and "metal" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_help_lists_all_commands(coexec):
    done = coexec("--help")
    assert done.code == 0 and all(name in done.out for name in ("profile", "fit", "eval", "predict"))
    assert coexec().code == 2 and coexec("dance").code == 2
