"""Kernels as WGSL: what is rewritten, what is refused, and why; no device is needed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tvm
from tvm import te, tir

from tvm_coexec.opencl.devices import DeviceInfo
from tvm_coexec.vulkan import functions, kernels

pytestmark = pytest.mark.llvm

DEVICE = DeviceInfo(
    *(0, "wgpu-native", "made up", "", "", "gpu", "buffer", "copied", 1, 1 << 30, True, False, False),
    **{"max_threads": 256, "max_buffers": 8, "max_binding_bytes": 1 << 27},
)


def lower(inputs: list[te.Tensor], out: te.Tensor, threads: int = 8) -> tir.PrimFunc:
    """A kernel with one work-item an element, as TVM's passes for loops leave it."""
    schedule = te.create_schedule(out.op)
    block, thread = schedule[out].split(schedule[out].fuse(*schedule[out].op.axis), factor=threads)
    schedule[out].bind(block, te.thread_axis("blockIdx.x"))
    schedule[out].bind(thread, te.thread_axis("threadIdx.x"))
    return tvm.lower(schedule, [*inputs, out])["main"]


def add(shape: tuple[int, ...], dtype: str) -> tir.PrimFunc:
    a = te.placeholder(shape, dtype, "a")
    return lower([a], te.compute(shape, lambda *i: a(*i) + a(*i), "b"))


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32", "int8", "uint8", "int16"])
def test_types_of_wgsl_are_taken(dtype: str) -> None:
    assert kernels.why_not_wgsl(add((4, 6), dtype), DEVICE) == ""


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64"])
def test_a_tensor_of_another_type_is_refused(dtype: str) -> None:
    assert kernels.why_not_wgsl(add((4, 6), dtype), DEVICE) == f"it has a tensor of {dtype}, which WGSL lacks"


def test_halves_are_for_devices_that_have_them() -> None:
    half = add((4, 6), "float16")
    assert kernels.why_not_wgsl(half, DEVICE) == "it has a tensor of float16, which the device lacks"
    assert kernels.why_not_wgsl(half, dataclasses.replace(DEVICE, fp16=True)) == ""


def test_limits_of_the_device_are_kept() -> None:
    big = add((1 << 26,), "float32")
    assert "bytes, of which a kernel of the device can access 134217728" in kernels.why_not_wgsl(big, DEVICE)
    assert kernels.why_not_wgsl(big, dataclasses.replace(DEVICE, max_binding_bytes=1 << 30)) == ""
    many = [te.placeholder((8,), "float32", f"x{i}") for i in range(8)]
    total = lower(many, te.compute((8,), lambda i: sum((x(i) for x in many[1:]), many[0](i)), "y"))
    assert kernels.why_not_wgsl(total, DEVICE) == "it takes 9 tensors, and a kernel of the device at most 8"
    assert kernels.why_not_wgsl(total, dataclasses.replace(DEVICE, max_buffers=9)) == ""


def test_indices_beyond_32_bits_are_refused() -> None:
    huge = add((1 << 16, 1 << 15), "float32")
    device = dataclasses.replace(DEVICE, max_binding_bytes=1 << 40)
    assert "2147483648 elements, which 32-bit indices don't reach" in kernels.why_not_wgsl(huge, device)


def test_64_bits_are_for_indices_only() -> None:
    a = te.placeholder((40,), "int32", "a")
    by_index = lower([a], te.compute((40,), lambda i: a((i.astype("int64") * 7 % 40).astype("int32")), "b"))
    assert kernels.why_not_wgsl(by_index, DEVICE) == ""
    product = te.compute((40,), lambda i: ((a(i).astype("int64") * a(i).astype("int64")) >> 31).astype("int32"), "b")
    assert kernels.why_not_wgsl(lower([a], product), DEVICE) == "it computes with int64, which WGSL lacks"


def test_work_groups_of_z_go_to_y() -> None:
    a = te.placeholder((3, 5, 7), "float32", "a")
    out = te.compute((3, 5, 7), lambda *i: a(*i) * 2.0, "b")
    schedule = te.create_schedule(out.op)
    for axis, tag in zip(schedule[out].op.axis, ("blockIdx.z", "blockIdx.y", "threadIdx.x"), strict=True):
        schedule[out].bind(axis, te.thread_axis(tag))
    func = tvm.lower(schedule, [a, out])["main"]
    extents = {}

    def visit(node: object) -> None:
        if isinstance(node, tir.AttrStmt) and node.attr_key == "thread_extent":
            extents[str(node.node.thread_tag)] = int(node.value)

    tir.stmt_functor.post_order_visit(kernels.lower_for_wgsl("f", func, DEVICE).body, visit)
    assert extents == {"blockIdx.y": 15, "threadIdx.x": 7}


def scaled(a: te.Tensor, factor: tir.PrimExpr) -> te.Tensor:
    return te.compute(a.shape, lambda i: a(i) * factor, "b")


def test_constants_keep_all_their_bits() -> None:
    values = [0.1, 1.0 / 3.0, 16777217.0, -3.4028234663852886e38, 1e-40, 0.5]
    a = te.placeholder((8,), "float32", "a")
    for value in values:
        exact = np.float32(value)
        func = lower([a], scaled(a, tir.const(float(exact), "float32")))
        found = []

        def visit(node: object, found: list = found) -> None:
            if isinstance(node, tir.FloatImm):
                found.append(np.float32(f"{float(node.value):.6e}"))
            elif isinstance(node, tir.Call) and node.op.name == "tir.reinterpret":
                found.append(np.uint32(int(node.args[0].value)).view(np.float32))

        tir.stmt_functor.post_order_visit(kernels.lower_for_wgsl("f", func, DEVICE).body, visit)
        assert exact in found, (value, found)


def test_functions_that_wgsl_lacks_are_put_before_the_kernel() -> None:
    source = functions.with_functions("fn f() { b[0] = erf(a[0]) + tanh(coexec_x) + -inff; }")
    assert "coexec_erf(a[0]) + coexec_tanh(coexec_x) + (-coexec_inf())" in source
    assert source.index("fn coexec_erf") < source.index("fn f()")
    assert functions.with_functions("fn f() { b[0] = exp(a[0]); }") == "fn f() { b[0] = exp(a[0]); }"
