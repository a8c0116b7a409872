"""Errors are one sentence that names the OpenCL error, the kernel or the variable."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import te

from tests.runtime import process
from tvm_coexec import CoExecError
from tvm_coexec.core.errors import one_line
from tvm_coexec.opencl import runtime


def error_of(*call: object) -> str:
    f, *args = call
    with pytest.raises(tvm.TVMError) as info:
        f(*args)
    return one_line(info.value, 1 << 20)


@pytest.mark.opencl
def test_build_failure_has_the_kernel_and_the_build_log() -> None:
    f = runtime.source_module("__kernel void k(__global float* a) { a[0] = undeclared_thing; }", "k", ["handle"])["k"]
    a = tvm.nd.empty((4,), "float32", tvm.opencl(0))
    for _ in range(2):  # also the second time
        text = error_of(f, a, 1, 1)
        assert text.startswith("building the kernel 'k' for opencl(0) ("), text
        assert "CL_BUILD_PROGRAM_FAILURE (-11)" in text and "undeclared_thing" in text


@pytest.mark.opencl
def test_build_log_is_bounded() -> None:
    lines = "".join(f"a[{i}] = undeclared_{i};\n" for i in range(2000))
    f = runtime.source_module("__kernel void k(__global float* a) { " + lines + "}", "k", ["handle"])["k"]
    text = error_of(f, tvm.nd.empty((4,), "float32", tvm.opencl(0)), 1, 1)
    assert len(text) < 5000


@pytest.mark.opencl
def test_source_without_the_kernel() -> None:
    f = runtime.source_module("__kernel void other(__global float* a) { }", "k", ["handle"])["k"]
    text = error_of(f, tvm.nd.empty((4,), "float32", tvm.opencl(0)), 1, 1)
    assert "creating kernel 'k' on opencl(0)" in text and "CL_INVALID_KERNEL_NAME (-46)" in text


@pytest.mark.opencl
def test_argument_of_another_size_than_the_kernels() -> None:
    f = runtime.source_module("__kernel void k(__global float* a, long n) { a[0] = n; }", "k", ["handle", "int8"])["k"]
    text = error_of(f, tvm.nd.empty((4,), "float32", tvm.opencl(0)), 1, 1, 1)
    assert "setting argument 1 of kernel 'k' failed: CL_INVALID_ARG_SIZE (-51)" in text


@pytest.mark.opencl
def test_kernels_made_by_tvm_that_do_not_compile() -> None:
    """The whole way: a post-processing hook breaks what TVM generates."""
    before = tvm.get_global_func("tvm_callback_opencl_postproc", allow_missing=True)

    @tvm.register_func("tvm_callback_opencl_postproc", override=True)
    def _break(code: str, _target: object = None) -> str:
        return code.replace("{", "{ broken_by_the_test;", 1)

    try:
        a = te.placeholder((16,), name="a")
        b = te.compute((16,), lambda i: a[i] + 1, name="b")
        schedule = te.create_schedule(b.op)
        schedule[b].bind(b.op.axis[0], te.thread_axis("threadIdx.x"))
        f = tvm.build(schedule, [a, b], tvm.target.Target("opencl", host="llvm"), name="plus_one")
    finally:
        if before is None:
            tvm._ffi.registry.remove_global_func("tvm_callback_opencl_postproc")
        else:
            tvm.register_func("tvm_callback_opencl_postproc", before, override=True)
    there = tvm.nd.array(np.zeros(16, "float32"), tvm.opencl(0))
    text = error_of(f, there, there)
    assert "building the kernel 'plus_one_kernel'" in text and "broken_by_the_test" in text


@pytest.mark.opencl
def test_a_broken_kernel_leaves_the_device_usable() -> None:
    bad = runtime.source_module("nonsense", "k", ["handle"])["k"]
    good = runtime.source_module("__kernel void k(__global float* a) { a[0] = 3; }", "k", ["handle"])["k"]
    a = tvm.nd.empty((1,), "float32", tvm.opencl(0))
    error_of(bad, a, 1, 1)
    good(a, 1, 1)
    assert a.numpy()[0] == 3


@pytest.mark.opencl
def test_a_kernel_that_the_module_lacks() -> None:
    with pytest.raises(AttributeError, match="Module has no function 'other'"):
        runtime.source_module("__kernel void k() {}", "k", [])["other"]


@pytest.mark.opencl
def test_saving_a_device_module_alone() -> None:
    text = error_of(runtime.source_module("__kernel void k() {}", "k", []).save, "somewhere.cl")
    assert text == "an OpenCL module can't be saved to 'somewhere.cl' alone: use export_library of the whole module"


@pytest.mark.slow
@pytest.mark.llvm
@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("TVM_COEXEC_OPENCL_MEMORY", "shared", "it must be auto, buffer, coarse, fine or hostptr"),
        ("TVM_COEXEC_OPENCL_PROFILE", "yes", "it must be 0 or 1"),
        ("TVM_COEXEC_OPENCL_STAGING_MB", "many", "it must be an integer from 0 to 1048576 (MiB)"),
    ],
)
def test_wrong_values_of_variables(variable: str, value: str, text: str) -> None:
    code = """
import tvm
from tvm_coexec import CoExecError
from tvm_coexec.core.errors import one_line
from tvm_coexec.opencl import runtime
out = [runtime.why_unavailable(), tvm.opencl(0).exist]
try:
    runtime.devices()
except CoExecError as err:
    out.append(str(err))
try:
    tvm.nd.empty((4,), "float32", tvm.opencl(0))
except tvm.TVMError as err:
    out.append(one_line(err))
report(out)
"""
    reason, exists, from_devices, from_array = process.run(code, **{variable: value})
    assert reason == f"{variable} is '{value}': {text}"
    assert exists is False and from_devices == reason and from_array == reason


@pytest.mark.slow
@pytest.mark.llvm
def test_no_opencl_library() -> None:
    code = """
import tvm
from tvm_coexec.core.errors import one_line
from tvm_coexec.opencl import runtime
out = [runtime.install(), runtime.why_unavailable(), tvm.opencl(0).exist]
try:
    tvm.nd.empty((4,), "float32", tvm.opencl(0))
except tvm.TVMError as err:
    out.append(one_line(err))
from tvm import te
a = te.placeholder((16,), name="a")
b = te.compute((16,), lambda i: a[i] + 1, name="b")
s = te.create_schedule(b.op)
s[b].bind(b.op.axis[0], te.thread_axis("threadIdx.x"))
f = tvm.build(s, [a, b], tvm.target.Target("opencl", host="llvm"))
out.append("__kernel" in f.imported_modules[0].get_source())
report(out)
"""
    loaded, reason, exists, from_array, compiled = process.run(code, TVM_COEXEC_LIBOPENCL="/nonexistent/libOpenCL.so")
    assert loaded and not exists and from_array == reason
    assert reason.startswith(
        "OpenCL is not available: the OpenCL library named by TVM_COEXEC_LIBOPENCL can't be opened"
    )
    assert "/nonexistent/libOpenCL.so" in reason
    assert compiled  # compiling for a device elsewhere needs no OpenCL here


@pytest.mark.slow
@pytest.mark.llvm
def test_a_library_that_is_not_opencl() -> None:
    code = "from tvm_coexec.opencl import runtime\nreport(runtime.why_unavailable())"
    reason = process.run(code, TVM_COEXEC_LIBOPENCL="libm.so.6")
    assert "the OpenCL library libm.so.6 has no function clGetPlatformIDs" in reason


@pytest.mark.slow
@pytest.mark.llvm
def test_no_opencl_driver(tmp_path: object) -> None:
    code = "from tvm_coexec.opencl import runtime\nreport(runtime.why_unavailable())"
    reason = process.run(code, OCL_ICD_VENDORS=str(tmp_path), OPENCL_VENDOR_PATH=str(tmp_path))
    assert reason.startswith("OpenCL is not available: the ICD loader is installed but no OpenCL driver")


@pytest.mark.opencl
def test_host_view_of_a_cpu_array() -> None:
    with pytest.raises(CoExecError, match="a host view needs an array on an OpenCL device"):
        runtime.host_view(tvm.nd.empty((4,)))
