"""Scalar kernel arguments, from TVM's own host code and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import te

from tvm_coexec.opencl import runtime

pytestmark = pytest.mark.opencl

# dtype -> values that a wrong width, sign or conversion would change
VALUES: dict[str, list[float]] = {
    "int8": [-128, 127],
    "uint8": [0, 255],
    "int16": [-32768, 32767],
    "uint16": [0, 65535],
    "int32": [-(2**31), 2**31 - 1],
    "uint32": [0, 2**32 - 1],
    "int64": [-(2**63), 2**53 + 1],
    "uint64": [0, 2**63 + 2**11],
    "float32": [float(np.float32(0.1)), -3.5e38 / 2],
    "float64": [0.1, -1e300],
    "bool": [0, 1],
}


def check_fp64(dtype: str) -> None:
    if dtype == "float64" and not runtime.devices()[0].fp64:
        pytest.skip("the device has no fp64")


@pytest.mark.parametrize("dtype", VALUES)
def test_scalars_from_host_code(dtype: str) -> None:
    check_fp64(dtype)
    s = te.var("s", dtype=dtype)
    out_type = "int32" if dtype == "bool" else dtype
    out = te.compute((4,), lambda i: s.astype(out_type), name="out")
    schedule = te.create_schedule(out.op)
    schedule[out].bind(out.op.axis[0], te.thread_axis("threadIdx.x"))
    target = tvm.target.Target("opencl", host="llvm")
    f = tvm.build(schedule, [s, out], target, name="scalar")
    dev = tvm.opencl(0)
    there = tvm.nd.empty((4,), out_type, dev)
    for value in VALUES[dtype]:
        if dtype == "uint64" and value > 2**63:
            continue  # TVM's Python interface has int64 only
        f(value, there)
        np.testing.assert_array_equal(there.numpy(), np.full(4, value, out_type))


C_TYPES = {"int8": "char", "uint8": "uchar", "int16": "short", "uint16": "ushort", "int32": "int", "uint32": "uint"}
C_TYPES |= {"int64": "long", "uint64": "ulong", "float32": "float", "float64": "double", "bool": "bool"}


@pytest.mark.parametrize("dtype", C_TYPES)
def test_scalars_by_hand(dtype: str) -> None:
    check_fp64(dtype)
    c_type, out_type = C_TYPES[dtype], "uint8" if dtype == "bool" else dtype
    out_c = "uchar" if dtype == "bool" else c_type
    # One scalar before and one after: neighbours must not be changed.
    source = f"__kernel void k(int a, {c_type} s, __global {out_c}* out, int b) {{ out[0] = s; out[1] = a + b; }}"
    f = runtime.source_module(source, "k", ["int32", dtype, "handle", "int32"])["k"]
    there = tvm.nd.empty((2,), out_type, tvm.opencl(0))
    for value in VALUES[dtype]:
        passed = value - 2**64 if dtype == "uint64" and value >= 2**63 else value  # the same 64 bits
        f(3, passed, there, 4, 1, 1)
        np.testing.assert_array_equal(there.numpy(), np.array([value, 7], out_type))


def test_half_arguments() -> None:
    source = (
        "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n"
        "__kernel void k(half s, __global half* out) { out[0] = s; out[1] = s * s; }"
    )
    f = runtime.source_module(source, "k", ["float16", "handle"])["k"]
    there = tvm.nd.empty((2,), "float16", tvm.opencl(0))
    if runtime.devices()[0].fp16:
        f(0.1, there, 1, 1)
        np.testing.assert_array_equal(there.numpy(), np.array([0.1, np.float16(0.1) ** 2], "float16"))
    else:  # said by the compiler, in the text of the error
        with pytest.raises(tvm.TVMError, match=r"(?s)building the kernel 'k'.*CL_BUILD_PROGRAM_FAILURE.*half"):
            f(0.1, there, 1, 1)


def test_half_storage() -> None:
    """fp16 arrays work on every device, also where arithmetic in fp16 does not: loads and stores are in the core."""
    source = "__kernel void k(__global half* a) { int i = get_global_id(0); vstore_half(vload_half(i, a) * 2, i, a); }"
    f = runtime.source_module(source, "k", ["handle"])["k"]
    values = np.arange(64).astype("float16") / 3
    there = tvm.nd.array(values, tvm.opencl(0))
    f(there, 1, 64)
    np.testing.assert_array_equal(there.numpy(), values * 2)


def test_bool_arrays() -> None:
    a = te.placeholder((64,), "bool", name="a")
    b = te.placeholder((64,), "bool", name="b")
    out = te.compute((64,), lambda i: tvm.tir.And(a[i], tvm.tir.Not(b[i])), name="out")
    schedule = te.create_schedule(out.op)
    schedule[out].bind(out.op.axis[0], te.thread_axis("threadIdx.x"))
    f = tvm.build(schedule, [a, b, out], tvm.target.Target("opencl", host="llvm"))
    x, y = np.random.rand(64) < 0.5, np.random.rand(64) < 0.5
    dev = tvm.opencl(0)
    there = tvm.nd.empty((64,), "bool", dev)
    f(tvm.nd.array(x, dev), tvm.nd.array(y, dev), there)
    np.testing.assert_array_equal(there.numpy(), x & ~y)


def test_a_type_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="'int7' is not a type of kernel arguments"):
        runtime.source_module("", "k", ["int7"])


def test_a_launch_tag_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"kernel 'k' has the launch tag 'warp', which .* does not support"):
        runtime.source_module("", "k", [], ["warp"])
