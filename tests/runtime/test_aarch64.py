"""The runtime for ARM: its C++ tests as programs for aarch64 in an emulator, on pocl for arm64; the library."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scripts import build_runtime
from scripts.setup_env import arm64
from tests.runtime import native

# The programs are compiled first, each from all sources.
pytestmark = [pytest.mark.aarch64, pytest.mark.slow, pytest.mark.timeout(1200)]

TARGET = "aarch64-linux-gnu"
TEST = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={TARGET}-g++")
# Kernels that keep the device busy, so that missing waits show, and simulations do less work here.
ENVIRONMENT = {"POCL_MAX_PTHREAD_COUNT": "2", "POCL_AFFINITY": "0", "TVM_COEXEC_WORK_PERCENT": "2"}


def emulate(name: str, **env: str) -> str:
    program = native.build("", *TEST, name="aarch64") / name
    assert build_runtime.elf_machine(program) == build_runtime.AARCH64
    return native.check(arm64.emulate(program, **ENVIRONMENT, **env), {})


def test_unit_tests() -> None:
    emulate("runtime_unit_tests")


def test_device_tests() -> None:
    """In shared memory, as boards have it."""
    output = emulate("runtime_device_tests", TVM_COEXEC_OPENCL_MEMORY="fine")
    assert "memory mode fine" in output


def test_the_library_is_for_any_arm_and_needs_neither_tvm_nor_opencl(tmp_path: Path) -> None:
    folder = native.ROOT / "build/runtime_tests_library_aarch64"  # kept
    options = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0"]  # it is only read
    library = build_runtime.build(TARGET, tmp_path / "lib", folder, options)

    def read(*options: str) -> str:
        command = [f"{TARGET}-readelf", "-W", *options, str(library)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "Machine:                           AArch64" in read("-h")
    alignments = [int(line.split()[-1], 16) for line in read("-l").splitlines() if line.split()[:1] == ["LOAD"]]
    assert alignments and min(alignments) >= 65536, "some kernels have pages of 16 kB, some of 64 kB"
    needed = re.findall(r"Shared library: \[(.*?)\]", read("-d"))
    assert not [name for name in needed if "tvm" in name or "OpenCL" in name]
    # No instruction beyond ARMv8.0, which every board has: LSE atomics are called through a check of the processor.
    code = subprocess.run([f"{TARGET}-objdump", "-d", str(library)], capture_output=True, text=True, check=True).stdout
    assert not re.search(
        r"\t(ldaddal|casal|swpal|sdot|udot|fmlal|bfdot)\t", re.sub(r"(?s)<__aarch64_\w+>:.*?\n\n", "", code)
    )
