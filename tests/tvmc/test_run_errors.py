"""What users get wrong when they run a module: one line on standard error, and no file that wasn't there."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.llvm


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cl", "cpu,cuda", "vulkan"])
def test_a_module_for_two_devices_run_on_others(fails, package, device):
    words = ["needs the devices cpu,cl", f"--device names only {device}", "--device cpu,cl"]
    fails(words, "run", "--device", device, "-o", "answer.npz", package)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--profile-trace", "t.json"], ["--profile-trace has no effect without --profile", "add --profile"]),
        (["--profile", "--profile-html", "no/t.html"], ["can't write no/t.html"]),
    ],
)
@pytest.mark.opencl
def test_profiles_that_can_t_be_written(fails, package, options, words):
    fails(words, "run", *options, package)


@pytest.mark.slow
def test_a_profile_of_one_device(fails, tvmc, model_file):
    assert tvmc("compile", "--target", "llvm", "-o", "cpu.tar", model_file).code == 0
    words = ["--profile-trace is for modules that need several devices", "coexec trace"]
    fails(words, "run", "--profile", "--profile-trace", "t.json", "cpu.tar")


def test_devices_that_do_not_exist(fails, package):
    fails(["unknown device 'gpu'", "cpu, cuda, cl"], "run", "--device", "gpu", package)
    fails(["unknown device 'gpu'"], "run", "--device", "cpu,gpu", package)
    fails(["'micro' can't be combined"], "run", "--device", "cpu,micro", package)


def test_archives(fails, package):
    data = package.read_bytes()
    with tarfile.open(package) as archive:
        starts = [member.offset for member in archive]
    for size in (0, 100, 1000, len(data) // 2):
        Path("cut.tar").write_bytes(data[:size])
        fails(["cut.tar"], "run", "cut.tar")
    Path("cut.tar").write_bytes(data[: starts[1]])
    fails(["cut.tar is incomplete: it has no mod.json"], "run", "cut.tar")
    Path("cut.tar").write_bytes(data[: starts[2]])
    fails(["cut.tar is incomplete: it has no mod.params"], "run", "cut.tar")
    with tarfile.open("other.tar", "w") as archive:
        archive.add("cut.tar")
    fails(["Couldn't find exported library"], "run", "other.tar")
    with tarfile.open(package) as archive:
        archive.extractall("parts", filter="data")
    graph = Path("parts/mod.json").read_bytes()
    Path("parts/mod.json").write_text("{}")
    with tarfile.open("damaged.tar", "w") as archive:
        for name in os.listdir("parts"):
            archive.add(f"parts/{name}", name)
    fails(["damaged.tar is damaged: mod.json"], "run", "damaged.tar")
    library = Path("parts/mod.so").read_bytes()
    Path("parts/mod.json").write_bytes(graph)
    for name, data, words in (
        ("half.tar", library[: len(library) // 2], "its mod.so can't be loaded: it is cut off, it has"),
        ("riscv.tar", library[:18] + b"\xf3\x00" + library[20:], "its mod.so can't be loaded: it is for riscv64"),
    ):
        Path("parts/mod.so").write_bytes(data)
        with tarfile.open(name, "w") as archive:
            for part in os.listdir("parts"):
                archive.add(f"parts/{part}", part)
        fails([name, words], "run", name)
    fails(["no.tar does not exist"], "run", "no.tar")
    fails(["must be an archive, not a directory"], "run", "parts")


@pytest.mark.opencl
def test_inputs_and_outputs(fails, package):
    fails(["no.npz"], "run", "-i", "no.npz", package)
    Path("text.npz").write_text("no numbers")
    fails(["text.npz is not a complete .npz file"], "run", "-i", "text.npz", package)
    np.savez("shape.npz", x=np.zeros((1, 3, 8, 8), "float32"))
    fails(["'x' has shape (1, 3, 8, 8), but the module takes (1, 3, 12, 12)"], "run", "-i", "shape.npz", package)
    np.savez("name.npz", y=np.zeros((1, 3, 12, 12), "float32"))
    fails(["the input tensor 'y' is not in the graph"], "run", "-i", "name.npz", package)
    fails(["can't write no/answer.npz"], "run", "-o", "no/answer.npz", package)


@pytest.mark.slow
def test_no_gpu(package, tmp_path):
    """In a process of its own: a driver that has been opened stays open."""
    from tvm_coexec.opencl import runtime

    if not runtime.is_ours():
        pytest.skip("TVM's own OpenCL runtime takes what devices there are")
    environment = dict(os.environ, TVM_COEXEC_OPENCL_DEVICES="no such device")
    command = [sys.executable, "-m", "tvm_coexec.tvmc", "run", "-o", "answer.npz", str(package)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 4 and done.stdout == ""
    assert done.stderr.startswith("Error: the module needs the device cl, which is missing: ")
    assert done.stderr.count("\n") == 1 and not list(tmp_path.glob("answer*"))
