"""The C++ unit tests in unit/, of everything that needs neither TVM nor a device."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = Path(__file__).parent / "unit"


@pytest.fixture(scope="module")
def binary() -> Path:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake to build the C++ unit tests with")
    folder = ROOT / "build" / "runtime_tests"
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DTVM_COEXEC_BUILD_TESTS=ON"]
    for command in (configure, ["cmake", "--build", str(folder), "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "runtime_unit_tests"


@pytest.mark.parametrize("group", sorted(path.stem.removesuffix("_test") for path in UNIT.glob("*_test.cc")))
def test_group(binary: Path, group: str) -> None:
    done = subprocess.run([binary, group], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
