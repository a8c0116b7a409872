"""Kernel binaries on disk; the file format has its own tests in unit/program_cache_test.cc."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from tests.runtime import process
from tvm_coexec.opencl import runtime

CODE = """
import numpy as np, tvm
from tvm_coexec.opencl import runtime
source = "__kernel void k(__global float* a, int n) { a[get_global_id(0)] *= n; }"
a = tvm.nd.array(np.ones(64, "float32"), tvm.opencl(0))
runtime.source_module(source, "k", ["handle", "int32"])["k"](a, 3, 1, 64)
s = runtime.stats()
counts = {k: s[k] for k in ("programs_built", "cache_hits", "cache_misses", "cache_damaged")}
report([float(a.numpy().sum()), {k: v for k, v in counts.items() if v}])
"""
BUILT = [192.0, {"programs_built": 1, "cache_misses": 1}]
FOUND = [192.0, {"cache_hits": 1}]
REBUILT = [192.0, {"programs_built": 1, "cache_damaged": 1}]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.bin"))


@pytest.mark.opencl
def test_built_once_found_afterwards_and_rebuilt_when_damaged(tmp_path: Path) -> None:
    def run(**env: str) -> list:
        return process.run(CODE, TVM_COEXEC_CACHE_DIR=str(tmp_path), **env)

    assert run() == BUILT
    (entry,) = entries(tmp_path)
    assert entry.parent == tmp_path / "opencl" and list(entry.parent.iterdir()) == [entry]  # nothing temporary is left
    assert run() == FOUND

    good = entry.read_bytes()
    entry.write_bytes(good[: len(good) // 2])
    assert run() == REBUILT
    assert entry.read_bytes()[:85] == good[:85]  # and written again under the same key
    assert run() == FOUND

    # Whole, but not what this driver can read: the payload is replaced and its checksum corrected.
    head, payload = good[: 21 + 64], b"not a program"
    entry.write_bytes(head + struct.pack("<Q", len(payload)) + hashlib.sha256(payload).digest() + payload)
    assert run() == REBUILT

    assert run(TVM_COEXEC_OPENCL_BUILD_OPTIONS="-cl-mad-enable") == BUILT  # other options, another entry
    assert len(entries(tmp_path)) == 2


@pytest.mark.opencl
def test_cache_can_be_switched_off(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    assert process.run(CODE, TVM_COEXEC_CACHE_DIR="off", **home) == [192.0, {"programs_built": 1}]
    assert entries(tmp_path) == []


@pytest.mark.opencl
def test_without_a_wish_pocl_is_left_to_its_own_cache(tmp_path: Path) -> None:
    found = process.run(CODE, XDG_CACHE_HOME=str(tmp_path), TVM_COEXEC_CACHE_DIR="")
    if runtime.devices()[0].platform == "Portable Computing Language":
        assert found == [192.0, {"programs_built": 1}] and entries(tmp_path / "tvm_coexec") == []
    else:
        assert found == BUILT and len(entries(tmp_path / "tvm_coexec" / "opencl")) == 1


@pytest.mark.opencl
def test_a_cache_folder_that_cannot_be_made_costs_only_time(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    assert process.run(CODE, TVM_COEXEC_CACHE_DIR=str(file)) == BUILT
