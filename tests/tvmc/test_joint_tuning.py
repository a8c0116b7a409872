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


def test_a_gpu_with_its_host(tvmc):
    """``--target-host`` is the CPU, as in TVM's own command."""
    import argparse

    from tvm_coexec.tvmc import joint_tuning
    from tvm_coexec.tvmc.target_text import devices_of

    args = argparse.Namespace(target="opencl -device=mali", target_host="llvm -mtriple=aarch64-linux-gnu")
    cpu, gpu = devices_of(joint_tuning._both(args))
    assert str(cpu.attrs["mtriple"]) == "aarch64-linux-gnu" and str(gpu.attrs["device"]) == "mali"


def test_a_folder_must_have_ended(tvmc, tmp_path):
    (tmp_path / "empty").mkdir()
    options = ["--coexec", *TARGET, "--coexec-tuned", "empty", "-o", "net.tar", "no.onnx"]
    done = tvmc("compile", *options)
    assert done.code == 4 and "empty is not a folder of tuning" in done.err, done.err
