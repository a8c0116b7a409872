"""``tvmc tune --coexec``: what is refused before the model is read; its runs are tested with docs/tuning.md."""

from __future__ import annotations

import os

import pytest

pytestmark = [pytest.mark.llvm]

TARGET = ["--target", "llvm, opencl"]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--target", "llvm", "--coexec-seed", "1"], "--coexec-seed has no effect without --coexec: add --coexec"),
        (["--coexec", *TARGET, "--trials", "0"], "--trials is 0: a budget must be a number of more than 0"),
        (["--coexec", *TARGET, "--coexec-minutes", "0"], "--coexec-minutes is 0: a budget must be"),
        (["--coexec", *TARGET, "--enable-autoscheduler"], "--enable-autoscheduler has no effect with --coexec"),
        (["--coexec", *TARGET, "--early-stopping", "5"], "--early-stopping has no effect with --coexec"),
        (["--coexec", *TARGET, "--tasks", "0"], "--tasks has no effect with --coexec"),
        (["--coexec", *TARGET, "--coexec-batch", "none"], "--coexec-batch 'none' must be an integer of at least 1"),
        (["--coexec", *TARGET, "--number", "0"], "--number 0 must be an integer of at least 1"),
        (["--coexec", *TARGET, "--rpc-key", "board"], "--rpc-tracker and --rpc-key belong together"),
        (["--coexec", *TARGET, "-o", "file"], "file is a file: give a folder"),
        (["--coexec", *TARGET], "there is no model no.onnx"),
        (["--coexec", "--target", "llvm, llvm"], "--coexec needs one CPU and one GPU in --target"),
    ],
)
def test_refused_in_one_line(tvmc, tmp_path, options, words):
    (tmp_path / "file").write_text("x")
    done = tvmc("tune", "-o", "tuned", *options, "no.onnx")
    assert done.code == 4 and words in done.err and done.err.count("Error:") == 1, done.err
    assert os.listdir() == ["file"]


def test_a_gpu_with_its_host(tvmc, monkeypatch):
    """``--target-host`` is the CPU, as in TVM's own command."""
    from tvm_coexec.tvmc import joint_tuning

    stock, found = joint_tuning.devices_of, []
    monkeypatch.setattr(joint_tuning, "devices_of", lambda target: found.extend(stock(target)) or stock(target))
    targets = ["--target", "opencl -device=mali", "--target-host", "llvm -mtriple=aarch64-linux-gnu"]
    done = tvmc("tune", "--coexec", *targets, "-o", "tuned", "no.onnx")
    assert "there is no model no.onnx" in done.err
    cpu, gpu = found
    assert str(cpu.attrs["mtriple"]) == "aarch64-linux-gnu" and str(gpu.attrs["device"]) == "mali"


def test_a_folder_must_have_ended(tvmc, tmp_path):
    (tmp_path / "empty").mkdir()
    options = ["--coexec", *TARGET, "--coexec-tuned", "empty", "-o", "net.tar", "no.onnx"]
    done = tvmc("compile", *options)
    assert done.code == 4 and "empty is not a folder of tuning" in done.err, done.err
