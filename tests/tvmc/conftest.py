"""A small ONNX network, its answer by onnxruntime, and tvmc called as its console script calls it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.tvmc.nets import TARGET, network, reference

# A TVM without a folder of tvmc configurations can't start tvmc; `make setup` gives it this one, too.
os.environ.setdefault("TVM_CONFIGS_JSON_DIR", str(Path(__file__).parents[2] / "scripts" / "setup_env" / "configs"))


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as a file."""
    onnx = pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    onnx.save(network(), str(path))
    return path


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype("float32")


@pytest.fixture(scope="session")
def image_file(image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "in.npz"
    np.savez(path, x=image)
    return path


@pytest.fixture(scope="session")
def expected(image) -> np.ndarray:
    """The network's answer, by onnxruntime."""
    return reference(network(), image)


def call(capsys: pytest.CaptureFixture, *argv: object) -> Done:
    """Run ``tvmc`` in this process."""
    from tvm_coexec.tvmc import main

    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in argv])
    code = exit_.value.code
    return Done(code if isinstance(code, int) else 0 if code is None else 1, *capsys.readouterr())


@pytest.fixture
def tvmc(capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """``tvmc`` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *argv: call(capsys, *argv)


@pytest.fixture(scope="session")
def package(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network divided in halves and compiled for both devices."""
    from tvm_coexec.tvmc import main

    path = tmp_path_factory.mktemp("package") / "small.tar"
    options = ["--target", TARGET, "--coexec-ratio", "0.5", "-o", str(path)]
    with pytest.raises(SystemExit) as exit_:
        main(["compile", "--coexec", *options, str(model_file)])
    assert exit_.value.code == 0
    return path


def assert_one_line(done: Done, *words: str) -> None:
    """Check that a command failed with one line that has the words."""
    assert done.code == 4
    assert done.out == ""
    assert done.err.startswith("Error: ") and done.err.count("\n") == 1, done.err
    for word in words:
        assert word in done.err


@pytest.fixture
def fails(tvmc):
    """Run tvmc; check that it fails with one line that has the words, and leaves the folder as it was."""

    def run(words: list[str], *argv: object) -> None:
        before = sorted(os.listdir())
        assert_one_line(tvmc(*argv), *words)
        assert sorted(os.listdir()) == before

    return run


@pytest.fixture
def compile_fails(fails, model_file):
    def run(words: list[str], *options: object, target: str = TARGET, model: object = model_file) -> None:
        output = [] if "-o" in options else ["-o", "net.tar"]
        fails(words, "compile", "--coexec", "--target", target, *options, *output, model)

    return run
