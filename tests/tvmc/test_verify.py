"""``tvmc compile --coexec-verify``: plans measured before one is compiled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tvmc.nets import TARGET, relative_error

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", str(tmp_path / "cache"))


def test_the_fastest_is_compiled_and_the_measurements_are_shown(tvmc, model_file, image_file, expected):
    options = ["--coexec-ratio", "0.5", "--coexec-verify", "3", "--coexec-report", "-", "--coexec-dump-plan", "p.json"]
    done = tvmc("compile", "--coexec", "--target", TARGET, "-o", "net.tar", *options, model_file)
    assert done.code == 0, done.err
    verified = json.loads(Path("p.json").read_text())["verified"]
    assert {v["device"] for v in verified} == {"cpu", "gpu", "both"} and all(v["measured_s"] > 0 for v in verified)
    assert "the fastest of 3 plans" in done.out.splitlines()[0] and "verified:" in done.out
    assert tvmc("run", "net.tar", "-i", image_file, "-o", "answer.npz").code == 0
    assert relative_error(np.load("answer.npz")["output_0"], expected) < 1e-4


def test_without_a_number_and_in_a_target(tvmc, model_file):
    done = tvmc(
        "compile", "--coexec", "--coexec-verify", "--coexec-profile", "generic", "--target", TARGET,
        "--coexec-report", "-", "-o", "net.tar", model_file,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "verified:" in done.out
    target = f"coexec -verify=3 -ratio=0.5, {TARGET}"
    done = tvmc("compile", "--target", target, "--coexec-report", "-", "-o", "net.tar", model_file)
    assert done.code == 0 and "the fastest of 3 plans" in done.out, done.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--coexec-verify", "many"], "--coexec-verify 'many' must be True, a number of plans"),
        (["--coexec-verify", "2"], "--coexec-verify '2' must be at least 3 plans"),
        (["--coexec-verify", "--coexec-plan", "p.json"], "--coexec-verify would have no effect: leave one out"),
    ],
)
def test_wrong_options(tvmc, model_file, options, text):
    Path("p.json").write_text("{}")
    done = tvmc("compile", "--coexec", "--target", TARGET, *options, "-o", "net.tar", model_file)
    assert done.code == 4 and text in done.err and not Path("net.tar").exists()
