"""examples/cpp: a C++ program without Python or TVM's headers gives the numbers that Python's `create` gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tvm

import tvm_coexec
from tests import models
from tvm_coexec.opencl import runtime

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def tvm_runtime() -> Path:
    """The runtime-only library of the TVM at hand; the complete one where there is no other."""
    full = Path(tvm._ffi.base._LIB._name)
    return next(path for path in (full.with_name("libtvm_runtime.so"), full) if path.exists())


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake to build the example with")
    folder = tmp_path_factory.mktemp("example")
    for command in (
        ["-S", ROOT / "examples" / "cpp", "-B", folder, f"-DTVM_RUNTIME={tvm_runtime()}"],
        ["--build", folder],
    ):
        subprocess.run(["cmake", *command], check=True, capture_output=True)
    return folder / "run_model"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.so"
    tvm_coexec.build(models.residual_net(), cpu=models.CPU, ratio=0.5, axis="oc").export_library(str(path))
    return path


def run(program: Path, *args: object) -> subprocess.CompletedProcess:
    """A process without Python's preloaded libraries: those that libtvm_runtime.so needs must be found."""
    stubs = list(Path(os.environ.get("VIRTUAL_ENV", ROOT / ".venv")).glob("share/tvm-coexec/cuda_stubs"))
    paths = ":".join([*map(str, stubs), os.environ.get("LD_LIBRARY_PATH", "")])
    env = {**os.environ, "LD_LIBRARY_PATH": paths}
    return subprocess.run([program, *map(str, args)], capture_output=True, text=True, env=env, timeout=120)


def test_results_are_those_of_python(program, net, tmp_path):
    inputs = models.input_of(models.residual_net())
    ((name, value),) = inputs.items()
    value.tofile(tmp_path / "x.bin")
    done = run(program, net, "--input", tmp_path / "x.bin", "--output", tmp_path / "y.bin", "--runs", 3)
    assert done.returncode == 0, done.stderr
    module = tvm_coexec.create(tvm.runtime.load_module(str(net)))
    module.set_input(**inputs)
    module.run()
    want = module.get_output(0).numpy()
    np.testing.assert_array_equal(np.fromfile(tmp_path / "y.bin", "float32").reshape(want.shape), want)
    assert f"input {name}: float32" in done.stdout and "the median of 3 runs" in done.stdout
    largest = int(np.argsort(-want.ravel(), kind="stable")[0])
    assert done.stdout.split("output 0:")[1].splitlines()[1].strip().startswith(f"{largest}:")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("missing.so",), "missing.so"),
        (("--runs",), "--runs needs a value"),
        ((), "usage"),
        (("NET", "--input", "short.bin"), "exactly"),
        (("NET", "--input", "x.bin", "--input", "x.bin"), "has 1 inputs"),
        (("NET", "--gpu", "7"), "7"),
        (("NET", "--output", "no/folder/y.bin", "--runs", "1"), "can't write no/folder/y.bin"),
    ],
)
def test_errors_are_one_sentence(program, net, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    Path("short.bin").write_bytes(b"123")
    ((_, value),) = models.input_of(models.residual_net()).items()
    value.tofile("x.bin")
    done = run(program, *(net if a == "NET" else a for a in args))
    assert done.returncode == 1 and message in done.stderr, done.stderr


def test_a_module_for_the_cpu_alone_and_a_library_without_executor(program, tmp_path):
    with tvm.transform.PassContext(opt_level=3):
        lib = tvm.relay.build(models.conv_chain(), "llvm")
    lib.export_library(str(tmp_path / "cpu.so"))
    assert run(program, tmp_path / "cpu.so", "--runs", 1).returncode == 0
    lib.get_lib().export_library(str(tmp_path / "functions.so"))
    done = run(program, tmp_path / "functions.so")
    assert done.returncode == 1 and "is not a graph executor's library" in done.stderr


def test_a_failed_build_of_a_kernel_leaves_one_message(program, net, monkeypatch):
    monkeypatch.setenv("TVM_COEXEC_OPENCL_FAULTS", "build:1")
    done = run(program, net, "--runs", 1)
    assert done.returncode == 1 and done.stderr.startswith("run_model: "), done.stderr


def test_the_header_is_plain_c(tmp_path):
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    (tmp_path / "use.c").write_text("#include <tvm_coexec.h>\nint main(void) { return tvm_coexec_error() == 0; }\n")
    command = [compiler, "-std=c99", "-pedantic-errors", "-Wall", "-Werror", "-fsyntax-only", "-I"]
    subprocess.run([*command, str(ROOT / "runtime" / "include"), str(tmp_path / "use.c")], check=True)


def test_the_library_is_the_installed_one():
    assert runtime.library_path().exists()


def test_an_adaptive_module(program, net, tmp_path):
    mod = models.residual_net()
    path = tmp_path / "adaptive.so"
    tvm_coexec.build(mod, ratio=0.5, axis="oc", adaptive=True).export_library(str(path))
    ((_, value),) = models.input_of(mod).items()
    value.tofile(tmp_path / "x.bin")
    options = ["--input", tmp_path / "x.bin", "--output", tmp_path / "y.bin", "--adaptive", "1"]
    done = run(program, path, *options)
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout.splitlines()[-1])
    assert set(stats["variants"]) == {"split", "cpu", "gpu"}
    got = np.fromfile(tmp_path / "y.bin", "float32").reshape(1, 10)
    models.assert_same([got], models.reference(mod, models.input_of(mod)))
    done = run(program, net, "--adaptive", "1")
    assert done.returncode != 0 and "build it with adaptive=True" in done.stderr
