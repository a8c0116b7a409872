"""Find and load the library."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.runtime import process


@pytest.mark.slow
@pytest.mark.llvm
def test_loading_is_idempotent_and_opens_no_driver() -> None:
    code = """
from tvm_coexec.opencl import runtime
def mapped(name):
    return name in open("/proc/self/maps").read()
loaded = [runtime.install(), runtime.install()]
report([loaded, mapped("libtvm_coexec_runtime"), mapped("libOpenCL")])
"""
    assert process.run(code) == [[True, True], True, False]


@pytest.mark.slow
@pytest.mark.llvm
def test_a_missing_library_does_not_raise(tmp_path: Path) -> None:
    code = f"""
import pathlib
from tvm_coexec import CoExecError
from tvm_coexec.opencl import load, runtime
load.library_path = lambda: pathlib.Path({str(tmp_path)!r}) / "missing.so"
out = [runtime.install(), runtime.why_unavailable()]
try:
    runtime.devices()
except CoExecError as err:
    out.append(str(err))
report(out)
"""
    loaded, reason, error = process.run(code, TVM_COEXEC_HOOKS="schedules")  # importing the package loads nothing
    assert loaded is False and reason == error
    assert "missing.so" in reason and "make setup" in reason


@pytest.mark.llvm
def test_the_library_needs_no_opencl_and_exports_what_its_header_has() -> None:
    from tvm_coexec.opencl import runtime

    needed = subprocess.run(["ldd", runtime.library_path()], capture_output=True, text=True, check=True).stdout
    assert "libOpenCL" not in needed and "libtvm" not in needed.replace(runtime.LIBRARY_NAME, "")
    nm = ["nm", "-D", "--defined-only", runtime.library_path()]
    symbols = subprocess.run(nm, capture_output=True, text=True, check=True).stdout.split("\n")
    ours = [s.split()[-1] for s in symbols if " T " in s]
    header = Path(__file__).resolve().parents[2] / "runtime" / "include" / "tvm_coexec.h"
    assert sorted(ours) == sorted(set(re.findall(r"\b(tvm_coexec_\w+)\(", header.read_text())))


@pytest.mark.opencl
def test_devices_say_what_they_are() -> None:
    import tvm

    from tvm_coexec.executor.memory.plan import LAYOUTS
    from tvm_coexec.opencl import runtime

    devices = runtime.devices()
    assert [d.id for d in devices] == list(range(len(devices)))
    for d in devices:
        dev = tvm.opencl(d.id)
        assert dev.exist and dev.device_name == d.name and dev.multi_processor_count == d.compute_units
        assert d.type in ("gpu", "accelerator", "cpu", "custom")
        assert d.memory_mode in ("buffer", "coarse", "fine", "hostptr") and d.storage_layout in LAYOUTS
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


FAKE_TVM = """
// A libtvm of another shape: it has every function that is asked for and one virtual table, with other functions in it.
int registered = 0;
void f_unexpected() {}
void* _ZTVN3tvm7runtime9DeviceAPIE[32] = {0, 0, f_unexpected, f_unexpected, f_unexpected, f_unexpected, f_unexpected};
int TVMFuncRegisterGlobal(const char* n, void* f, int o) { ++registered; return 0; }
int TVMFuncGetGlobal(const char* n, void** out) { *out = 0; return 0; }
#define STUB(name) int name() { return -1; }
STUB(TVMFuncCreateFromCFunc) STUB(TVMFuncCall) STUB(TVMFuncFree) STUB(TVMCFuncSetReturn) STUB(TVMObjectRetain)
STUB(TVMObjectFree) STUB(TVMObjectTypeKey2Index) STUB(TVMAPISetLastError) STUB(TVMArrayFromDLPack) STUB(TVMArrayFree)
STUB(TVMModImport) STUB(TVMArrayAlloc) STUB(TVMArrayCopyFromBytes) STUB(TVMArrayCopyToBytes) STUB(TVMSynchronize)
STUB(TVMModGetFunction) STUB(TVMArrayToDLPack) STUB(TVMArrayCopyFromTo)
const char* TVMGetLastError() { return ""; }
"""


def test_a_tvm_of_another_shape_is_refused_and_nothing_registered(tmp_path: Path) -> None:
    from tvm_coexec.opencl import runtime

    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "fake.c").write_text(FAKE_TVM)
    fake = tmp_path / "libfake.so"
    subprocess.run([compiler, "-w", "-shared", "-fPIC", tmp_path / "fake.c", "-o", fake], check=True)
    code = f"""
import ctypes
ctypes.CDLL("libstdc++.so.6", ctypes.RTLD_GLOBAL)
fake = ctypes.CDLL({str(fake)!r}, ctypes.RTLD_GLOBAL)
ours = ctypes.CDLL({str(runtime.library_path())!r})
ours.tvm_coexec_runtime_register.restype = ctypes.c_char_p
reason = ours.tvm_coexec_runtime_register().decode()
report([reason, ctypes.c_int.in_dll(fake, "registered").value])
"""
    reason, registered = process.run(code)
    assert registered == 0
    assert "slot 2 of tvm::runtime::DeviceAPI is f_unexpected instead of __cxa_pure_virtual" in reason, reason
    assert "nothing was registered" in reason


@pytest.mark.remote
@pytest.mark.opencl
def test_an_rpc_server_that_loads_the_library_has_the_device(tmp_path: Path) -> None:
    import numpy as np
    import tvm
    from tvm import rpc, te

    from tvm_coexec.opencl import runtime

    a = te.placeholder((64,), name="a")
    b = te.compute((64,), lambda i: a[i] * 2, name="b")
    schedule = te.create_schedule(b.op)
    schedule[b].bind(b.op.axis[0], te.thread_axis("threadIdx.x"))
    path = tmp_path / "twice.so"
    tvm.build(schedule, [a, b], tvm.target.Target("opencl", host="llvm"), name="twice").export_library(str(path))
    server = rpc.Server("127.0.0.1", 9190, 9290, load_library=str(runtime.library_path()), silent=True)
    try:
        remote = rpc.connect("127.0.0.1", server.port)
        remote.upload(str(path))
        dev = remote.cl(0)
        there, out = tvm.nd.array(np.arange(64, dtype="float32"), dev), tvm.nd.empty((64,), "float32", dev)
        remote.load_module("twice.so")["twice"](there, out)
        np.testing.assert_array_equal(out.numpy(), np.arange(64, dtype="float32") * 2)
    finally:
        server.terminate()
