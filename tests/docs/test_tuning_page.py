"""The walk-throughs of docs/tuning.md, command by command, with a small network and few trials."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.docs.test_docs import ROOT, command_lines
from tests.remote.servers import tracked
from tests.tuning.loop import nets
from tests.tvmc.conftest import call
from tests.tvmc.nets import network, reference, relative_error
from tests.tvmc.test_remote import tracker  # noqa: F401 - a fixture

pytest.importorskip("tvm.relay")

from tvm_coexec.tuning.loop import session

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.remote, pytest.mark.slow]

PAGE = ROOT / "docs" / "tuning.md"
# What the page names, and what a test has in its place.
PLACES = {
    "squeezenet.onnx": "small.onnx",
    "llvm -mcpu=core-avx2": nets.CPU,
    "llvm -mtriple=aarch64-linux-gnu": nets.CPU,
    "opencl -device=mali": nets.GPU,
    '"llvm -mcpu=core-avx2, opencl"': f'"{nets.CPU}, {nets.GPU}"',
    " --gpu opencl": f' --gpu "{nets.GPU}"',
    "--minutes 20": "--trials 6",
    "--trials 1000": "--trials 6",
    "--trials 200": "--trials 2",
    "--trials 100": "--trials 6",
}
QUICK = "--number 1 --repeat 1 --min-repeat-ms 0"
JOINT = {
    "coexec": f"{QUICK} --batch 3 --plans 3 --min-gain 0",
    "tvmc": f"{QUICK} --coexec-batch 3 --coexec-plans 3 --coexec-min-gain 0",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the walk-throughs run one after the other, with a network and costs with which it has shares."""
    onnx = pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("tuning")
    onnx.save(network(channels=48), str(path / "small.onnx"))
    nets.write_profile(path / "costs.json")
    return path


def commands(section: str) -> list[list[str]]:
    """The commands of a section's shell block, with what the test has in place."""
    page = PAGE.read_text(encoding="utf-8")
    text = page[page.index(f"\n## {section}") :].split("```sh\n")[1].split("```")[0]
    for there, here in sorted(PLACES.items(), key=lambda p: -len(p[0])):
        text = text.replace(there, here)
    return [shlex.split(line, comments=True) for line in text.splitlines()]


@pytest.fixture
def run(capsys, monkeypatch, folder) -> Callable[[list[str]], str]:
    """Run a command of the page in this process; returns what it printed."""
    from tvm_coexec.cli import main

    monkeypatch.chdir(folder)

    def run(words: list[str]) -> str:
        command, *rest = words
        if rest[0] == "tune" and ("--coexec" in rest or command == "coexec"):
            prefix = "--profile" if command == "coexec" else "--coexec-profile"
            rest += [*shlex.split(JOINT[command]), prefix, "costs.json", "--tuner", "random"]
        elif rest[0] == "tune":
            rest += ["--tuner", "random", "--tasks", "0", "--number", "1"]
        if command == "coexec":
            capsys.readouterr()
            assert main(rest) == 0, capsys.readouterr().err
            return "".join(capsys.readouterr())
        done = call(capsys, *rest)
        assert done.code == 0, done.err
        return done.out + done.err

    return run


def check_results(folder: Path, trials: int) -> dict:
    summary = json.loads((folder / "tuned" / "summary.json").read_text())
    assert summary["trials"] == trials
    chosen = next(m for m in summary["modules"] if m["name"] == summary["chosen"])
    assert chosen["measured_s"] == min(m["measured_s"] for m in summary["modules"] if "measured_s" in m)
    assert not [m for m in summary["modules"] if "error" in m]
    names = {"records.log", "plan.json", "profile.json", "progress.svg", "summary.json", "state"}
    assert {p.name for p in (folder / "tuned").iterdir()} == names
    return summary


def answer(path: Path, image: np.ndarray) -> np.ndarray:
    """The result of a compiled package on both devices."""
    import tvm
    from tvm.contrib import graph_executor
    from tvm.driver.tvmc.model import TVMCPackage

    package = TVMCPackage(str(path))
    lib = tvm.runtime.load_module(package.lib_path)
    module = graph_executor.create(package.graph, lib, [tvm.cpu(), tvm.opencl()])
    module.load_params(package.params)
    module.set_input("x", image)
    module.run()
    return module.get_output(0).numpy()


def test_on_this_machine(run, folder):
    tune, compile_it = commands("On this machine")
    shown = run(tune)
    assert "6 of 6 trials, plan" in shown and "the results; use them with" in shown
    summary = check_results(folder, 6)
    assert sum(t["trials"] for t in summary["tasks"]) == 6
    run(compile_it)
    image = np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype("float32")
    right = reference(network(channels=48), image)
    assert relative_error(answer(folder / "squeezenet.tar", image), right) < 1e-4
    # each file alone, and all together in a script
    alone = ["--tuning-records", "tuned/records.log"] if summary["records"] else []
    options = ["--coexec-plan", "tuned/plan.json", *alone, "--coexec-report", "-"]
    text = run(["tvmc", "compile", "--coexec", *options, *compile_it[5:-1], "alone.tar"])
    assert "measured" in text
    assert relative_error(answer(folder / "alone.tar", image), right) < 1e-4
    again = run(["tvmc", "compile", "--coexec", "--coexec-profile", "tuned/profile.json", *compile_it[5:]])
    assert "profile" not in again


def test_a_folder_is_refused_for_other_targets_and_models(run, folder, capsys):
    """After the first walk-through."""
    onnx = pytest.importorskip("onnx")
    onnx.save(network(channels=24), str(folder / "other.onnx"))
    target = f"{nets.CPU}, {nets.GPU}"
    for options, words in (
        (["--target", f"llvm -mcpu=core-avx2, {nets.GPU}", "small.onnx"], "tuned was tuned for another cpu"),
        (["--target", target, "other.onnx"], "tuned was tuned for another model"),
        (["--target", target, "--coexec-plan", "tuned/plan.json", "small.onnx"], "--coexec-plan: tuned has a plan"),
        (["--target", target, "--tuning-records", "tuned/records.log", "small.onnx"], "leave out --tuning-records"),
    ):
        done = call(capsys, "compile", "--coexec", "--coexec-tuned", "tuned", "-o", "no.tar", *options)
        assert done.code == 4 and words in done.err and done.err.count("Error:") == 1, done.err
    assert not (folder / "no.tar").exists()


def test_from_old_logs(run, folder, tmp_path):
    log, tune = commands("From old logs")
    run(log)
    tune[tune.index("tuned")] = str(tmp_path / "tuned")
    run(tune)
    check_results(tmp_path, 6)
    assert json.loads((tmp_path / "tuned" / "state" / "folder.json").read_text())["settings"]["records"]


def test_on_boards(run, folder, tmp_path, tracker, monkeypatch):  # noqa: F811
    monkeypatch.setattr(session, "TURNS", 1)  # checks of kernels and trials take turns on the board
    *servers, tune = commands("On boards, with a tracker")
    assert [words[:3] for words in servers] == [["python", "-m", f"tvm.exec.rpc_{n}"] for n in ("tracker", "server")]
    tune[tune.index("tuned")] = str(tmp_path / "tuned")
    tune[tune.index("10.0.0.1:9190")] = tracker
    with tracked(tracker, tune[tune.index("--rpc-key") + 1]):
        run(tune)
    summary = check_results(tmp_path, 6)
    assert summary["failed"] == 0 and len(summary["rounds"]) == 3


def test_the_example(folder):
    script, *options = [str(ROOT / "examples" / "tune_and_build.py"), "small.onnx", "example", "--trials", "2"]
    quick = ["--batch", "2", "--tuner", "random", "--profile", "costs.json"]
    done = subprocess.run([sys.executable, script, *options, *quick], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    difference = float(done.stdout.split("largest difference: ")[1].split()[0])
    assert difference < 1e-4 and "untuned" in done.stdout


def test_every_command_of_the_page_is_run():
    shown = [line for name in ("coexec", "tvmc") for line in command_lines(PAGE, name)]
    sections = ("On this machine", "On boards, with a tracker", "From old logs")
    assert len(shown) == sum(words[0] in ("coexec", "tvmc") for s in sections for words in commands(s))
