"""The command itself: as a process, beside TVM's own, and what it leaves as it was."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.tvmc.nets import TARGET
from tvm_coexec.planner import OBJECTIVES, STRATEGIES

pytestmark = pytest.mark.llvm

STOCK = [sys.executable, "-m", "tvm.driver.tvmc"]
OURS = [sys.executable, "-m", "tvm_coexec.tvmc"]


def run(command: list[str], *argv: object, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run([*command, *map(str, argv)], capture_output=True, text=True, **options)


def files_in(folder: Path) -> list[str]:
    """What a command left there; importing TVM makes an empty folder for a cache of its own."""
    return [name for name in os.listdir(folder) if not name.startswith(".pkl_memoize")]


@pytest.mark.opencl
def test_two_commands_as_processes(model_file, tmp_path):
    options = ["--coexec", "--coexec-ratio", "0.5", "--coexec-axis", "h", "--coexec-report", "-"]
    done = run(OURS, "compile", *options, "--target", TARGET, model_file, "-o", "net.tar", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 of 5 kernels split") and "WARNING" not in done.stdout
    done = run(OURS, "run", "net.tar", "--print-time", "-o", "answer.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Execution time summary" in done.stdout
    assert sorted(files_in(tmp_path)) == ["answer.npz", "net.tar"]


@pytest.mark.slow
def test_an_error_as_a_process(model_file, tmp_path):
    done = run(OURS, "compile", "--coexec", "--coexec-ratio", "2", model_file, cwd=tmp_path)
    assert done.returncode == 4 and done.stdout == "" and not files_in(tmp_path)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error: --coexec-ratio '2'")]
    assert "Traceback" not in done.stderr


def test_verbose_shows_the_stack_of_an_unforeseen_error(tvmc, model_file, monkeypatch):
    from tvm.driver.tvmc import compiler

    def broken(*args, **kwargs):
        raise KeyError("surprise")

    monkeypatch.setattr(compiler, "compile_model", broken)
    options = ["compile", "--coexec", "--coexec-ratio", "0.5", "--target", TARGET, model_file]
    done = tvmc(*options)
    assert done.code == 4 and done.err == "Error: compiling failed: KeyError: 'surprise' (-v shows where)\n"
    done = tvmc(*options, "-v")
    assert done.code == 4 and "Traceback" in done.err and done.err.endswith("compiling failed: KeyError: 'surprise'\n")


@pytest.mark.slow
def test_without_coexec_compile_is_tvm_s(tvmc, model_file):
    done = run(STOCK, "compile", "--target", "llvm", "-o", "stock.tar", model_file)
    assert done.returncode == 0, done.stderr
    assert tvmc("compile", "--target", "llvm", "-o", "ours.tar", model_file).code == 0
    with tarfile.open("stock.tar") as stock, tarfile.open("ours.tar") as ours:
        assert stock.getnames() == ours.getnames()
        for name in ("mod.json", "mod.params"):
            assert stock.extractfile(name).read() == ours.extractfile(name).read()


@pytest.mark.slow
def test_help_of_tune_has_what_tvm_s_has():
    stock, ours = (run(command, "tune", "--help").stdout for command in (STOCK, OURS))
    options = set(re.findall(r"--[a-z-]+", stock))
    added = set(re.findall(r"--[a-z-]+", ours)) - options
    assert "--tuner" in options and options <= set(re.findall(r"--[a-z-]+", ours))
    assert {"--coexec", "--coexec-minutes"} <= added and all(name.startswith("--coexec") for name in added), added


def test_tune_still_finds_its_tasks(tvmc, model_file):
    done = tvmc("tune", "--target", "llvm", "--tasks", "list", "-o", "records.log", model_file)
    assert done.code == 0 and done.out.count("conv2d_NCHWc.x86") == 2


def test_help_names_the_options(tvmc):
    done = tvmc("compile", "--help")
    assert done.code == 0
    planning = ("ratio", "axis", "strategy", "min-gain", "objective", "bandwidth", "profile", "plan")
    for option in (*planning, "dump-plan", "report"):
        assert f"--coexec-{option}" in done.out
    words = " ".join(done.out.split())
    assert all(name in words for name in (*STRATEGIES, *OBJECTIVES))
    assert "cpu,cl" in tvmc("run", "--help").out


def test_a_configuration_file_may_ask_for_it(tvmc, model_file, tmp_path):
    config = tmp_path / "both.json"
    config.write_text('{"coexec": true, "coexec-ratio": 7, "targets": [{"kind": "opencl"}, {"kind": "llvm"}]}')
    done = tvmc("--config", config, "compile", model_file)
    assert done.code == 4 and "ratio '7'" in done.err


def test_a_missing_configuration_is_one_line(tvmc):
    done = tvmc("--config", "no-such-one", "compile", "x.onnx")
    assert done.code == 4 and done.err.startswith("Error: ") and done.err.count("\n") == 1


def test_main_leaves_the_process_as_it_was(tvmc):
    logger = logging.getLogger("tvm_coexec")
    before = sys.argv, logger.level, logger.propagate, list(logger.handlers)
    assert tvmc("compile", "--coexec", "no.onnx").code == 4
    assert (sys.argv, logger.level, logger.propagate, list(logger.handlers)) == before


def test_installing_twice_changes_nothing():
    from tvm.driver.tvmc import compiler, runner
    from tvm.driver.tvmc import main as tvmc_main

    from tvm_coexec.tvmc import install

    before = compiler.build, runner.executor, list(tvmc_main.REGISTERED_PARSER)
    install()
    assert before == (compiler.build, runner.executor, tvmc_main.REGISTERED_PARSER)
