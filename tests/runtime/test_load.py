"""Finding and loading the library."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.runtime import process


@pytest.mark.llvm
def test_loading_is_idempotent_and_opens_no_driver() -> None:
    code = """
from tvm_coexec import runtime
def mapped(name):
    return name in open("/proc/self/maps").read()
loaded = [runtime.load(), runtime.load()]
report([loaded, mapped("libtvm_coexec_runtime"), mapped("libOpenCL")])
"""
    assert process.run(code) == [[True, True], True, False]


@pytest.mark.llvm
def test_missing_library_is_a_reason_and_no_error(tmp_path: Path) -> None:
    code = f"""
import pathlib
from tvm_coexec import CoExecError, runtime
runtime._state = runtime._State()
runtime.library_path = lambda: pathlib.Path({str(tmp_path)!r}) / "missing.so"
import tvm
tvm._ffi.registry.remove_global_func("device_api.opencl")
out = [runtime.load(), runtime.why_unavailable()]
try:
    runtime.devices()
except CoExecError as err:
    out.append(str(err))
report(out)
"""
    loaded, reason, error = process.run(code)
    assert loaded is False and reason == error
    assert "missing.so" in reason and "make setup" in reason


@pytest.mark.llvm
def test_stands_aside_where_tvm_has_an_opencl_runtime() -> None:
    code = """
import tvm
marker = tvm.register_func("device_api.opencl", lambda: 0)
build = tvm.get_global_func("target.build.opencl")
from tvm_coexec import runtime
from tvm_coexec.errors import CoExecError
out = [runtime.load(), tvm.get_global_func("tvm_coexec.opencl.stats", allow_missing=True) is None]
out.append(tvm.get_global_func("runtime.module.loadbinary_opencl", allow_missing=True) is None)
try:
    runtime.stats()
except CoExecError as err:
    out.append(str(err))
report(out)
"""
    assert process.run(code) == [
        True,
        True,
        True,
        "tvm_coexec.runtime.stats is not available with TVM's own OpenCL runtime",
    ]


@pytest.mark.llvm
def test_the_library_needs_no_opencl_and_exports_one_function() -> None:
    from tvm_coexec import runtime

    needed = subprocess.run(["ldd", runtime.library_path()], capture_output=True, text=True, check=True).stdout
    assert "libOpenCL" not in needed and "libtvm" not in needed.replace(runtime.LIBRARY_NAME, "")
    nm = ["nm", "-D", "--defined-only", runtime.library_path()]
    symbols = subprocess.run(nm, capture_output=True, text=True, check=True).stdout.split("\n")
    ours = [s.split()[-1] for s in symbols if " T " in s]
    assert ours == ["tvm_coexec_runtime_register"]


@pytest.mark.opencl
def test_devices_say_what_they_are() -> None:
    import tvm

    from tvm_coexec import runtime

    devices = runtime.devices()
    assert [d.id for d in devices] == list(range(len(devices)))
    for d in devices:
        dev = tvm.opencl(d.id)
        assert dev.exist and dev.device_name == d.name and dev.multi_processor_count == d.compute_units
        assert d.type in ("gpu", "accelerator", "cpu", "custom")
        assert d.memory_mode in ("buffer", "coarse", "fine", "hostptr")
        assert dev.max_threads_per_block >= 1 and len(dev.max_thread_dimensions) == 3
        assert dev.max_shared_memory_per_block > 0 and dev.total_global_memory == d.global_bytes
        assert dev.compute_version in d.version and dev.driver_version == d.driver
        assert dev.max_clock_rate >= 0 and dev.warp_size == 1 and dev.api_version >= 120
    assert not tvm.opencl(len(devices)).exist


@pytest.mark.opencl
def test_target_from_device() -> None:
    import tvm

    target = tvm.target.Target("opencl -from_device=0")
    assert int(target.attrs["max_num_threads"]) == tvm.opencl(0).max_threads_per_block
