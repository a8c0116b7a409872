"""The packed device check: parts of limited size that unpack to what was packed."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import pack_device_check
from scripts.device_check import packing

LIMIT_BYTES = 150_000
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
FAST = [{"id": lzma.FILTER_LZMA2, "preset": 0}]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    packing.write_parts(packing.own_sources(), folder, LIMIT_BYTES, VERSION, whole=True, filters=FAST)
    return folder


def launch(folder: Path, to: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-S", str(folder / "run_device_check.py"), "--folder", str(to), "--unpack-only"]
    return subprocess.run(command, capture_output=True, text=True, cwd="/")


def copy_of(packed: Path, to: Path) -> Path:
    to.mkdir()
    for file in packed.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_parts_are_not_over_the_limit(packed):
    manifest = json.loads((packed / packing.MANIFEST).read_text())
    sizes = [(packed / part["name"]).stat().st_size for part in manifest["parts"]]
    assert sizes == [part["bytes"] for part in manifest["parts"]]
    assert len(sizes) > 2 and max(sizes) == LIMIT_BYTES and sizes[-1] <= LIMIT_BYTES


def test_unpacked_files_are_those_of_the_project(packed, tmp_path):
    done = launch(packed, tmp_path)
    root = Path(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    for inside, source in {
        "site/tvm_coexec/__init__.py": "python/tvm_coexec/__init__.py",
        "site/tvm_coexec/relay_passes/attrs.py": "relay_passes/attrs.py",
        "site/tvm_coexec/cost_models/shipped/generic.json": "cost_models/shipped/generic.json",
        "scripts/check_device.py": "scripts/check_device.py",
        "benchmarks/meeting.py": "benchmarks/meeting.py",
    }.items():
        assert (root / inside).read_bytes() == (packing.ROOT / source).read_bytes()
    assert (root / "site/tvm_coexec/lib/libtvm_coexec_runtime.so").exists()
    assert not list(root.rglob("__pycache__"))
    done = subprocess.run([sys.executable, str(root / "scripts/check_device.py"), "--help"], capture_output=True)
    assert done.returncode == 0


def test_second_start_finds_it_unpacked(packed, tmp_path):
    folder = copy_of(packed, tmp_path / "copy")
    assert launch(folder, tmp_path / "to").returncode == 0
    for part in folder.glob(f"{packing.PART}.*"):
        part.unlink()
    assert launch(folder, tmp_path / "to").returncode == 0


@pytest.mark.parametrize("harm", ["damaged", "missing", "python"])
def test_what_is_wrong_is_said_in_one_sentence(packed, tmp_path, harm):
    folder = copy_of(packed, tmp_path / "copy")
    part = folder / f"{packing.PART}.01"
    if harm == "damaged":
        content = bytearray(part.read_bytes())
        content[-1] ^= 1
        part.write_bytes(bytes(content))
    elif harm == "missing":
        part.unlink()
    else:
        manifest = json.loads((folder / packing.MANIFEST).read_text())
        (folder / packing.MANIFEST).write_text(json.dumps(manifest | {"python": "3.9"}))
    done = launch(folder, tmp_path / "to")
    expected = {
        "damaged": f"{part} is damaged: copy it again",
        "missing": f"{part} can't be read",
        "python": f"packed for Python 3.9, and this is {VERSION}: pack again with --python {VERSION}",
    }[harm]
    assert done.returncode == 1 and expected in done.stderr.splitlines()[-1]


def test_requirements_are_those_of_the_setup_without_what_a_check_never_imports():
    names = [r.split("<")[0].split(">")[0].split("=")[0] for r in pack_device_check.requirements()]
    assert {"numpy", "scipy", "onnx", "protobuf", "tornado"} <= set(names)
    assert not {"onnxruntime", "matplotlib", "xgboost-cpu"} & set(names)


@pytest.mark.parametrize(
    "name, kept",
    [
        ("numpy/core/_multiarray_umath.cpython-312-x86_64-linux-gnu.so", True),
        ("numpy/testing/__init__.py", True),
        ("numpy/tests/test_lazyloading.py", False),
        ("scipy/optimize/_nnls.py", True),
        ("scipy/signal/_spline.py", False),
        ("onnx/backend/test/data/light/light_squeezenet.onnx", True),
        ("onnx/backend/test/data/light/light_vgg19.onnx", False),
    ],
)
def test_files_of_wheels_that_are_kept(name, kept):
    assert bool(packing.USED.search(name) or not packing.UNUSED.search(name)) == kept
