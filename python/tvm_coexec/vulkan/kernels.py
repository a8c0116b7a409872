"""Bring a kernel's TIR into what TVM's WGSL generator takes, or say why that is impossible."""

from __future__ import annotations

import math
import struct

import tvm
from tvm import tir
from tvm.tir.stmt_functor import ir_transform, post_order_visit, substitute

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl.devices import DeviceInfo

from .narrow_types import STORED, why_not_narrow, widen

MOST_ELEMENTS = 2**31 - 1  # of a tensor: indices have 32 bits
# What every WebGPU device has; more is known only of a device at hand.
GUARANTEED_BUFFERS = 8
GUARANTEED_BINDING_BYTES = 128 << 20
_TYPES = ("float32", "float16", "int32", "uint32", *STORED)
_GRID = ("blockIdx.y", "blockIdx.z")


def lower_for_wgsl(name: str, func: tir.PrimFunc, device: DeviceInfo | None = None) -> tir.PrimFunc:
    """Return a kernel that the generator translates.

    Parameters
    ----------
    name : str
    func : PrimFunc
        A kernel after TVM's passes for devices.
    device : DeviceInfo, optional
        As `why_not_wgsl` takes it.

    Returns
    -------
    PrimFunc
        Without types of less than 32 bits (`narrow_types`); with blockIdx.z in blockIdx.y, since the generator takes
        blockIdx.x beyond 65535 from z; and constants that the generator would round written as bits.

    Raises
    ------
    CoExecError
        If the kernel has types that WGSL lacks, or tensors of more elements than 32-bit indices reach.
    """
    if why := why_not_wgsl(func, device):
        raise CoExecError(f"kernel '{name}' can't be compiled for vulkan: {why}")
    func = widen(func)
    return func.with_body(_exact_constants(_fold_block_z(func.body)))


def why_not_wgsl(func: tir.PrimFunc, device: DeviceInfo | None = None) -> str:
    """Return why a kernel can't be written in WGSL; empty if it can.

    Parameters
    ----------
    func : PrimFunc
    device : DeviceInfo, optional
        The device that will run it; by default every one should.
    """
    limits = (GUARANTEED_BUFFERS, GUARANTEED_BINDING_BYTES)
    if device is not None:
        limits = (device.max_buffers, device.max_binding_bytes)
        if (items := largest_group(func.body)) > device.max_threads:
            return f"its work-groups have {items} items, the device takes {device.max_threads}"
    tensors = _tensors(func)
    for buffer in tensors:
        dtype = str(buffer.dtype).split("x", maxsplit=1)[0]
        if dtype not in _TYPES:
            return f"it has a tensor of {dtype}, which WGSL lacks"
        if dtype == "float16" and device is not None and not device.fp16:
            return "it has a tensor of float16, which the device lacks"
        extents = [int(e) for e in buffer.shape if isinstance(e, tir.IntImm)]
        n = math.prod(extents) if len(extents) == len(buffer.shape) else 0
        if n > MOST_ELEMENTS:
            return f"it has a tensor of {n} elements, which 32-bit indices don't reach"
        if (n_bytes := n * tvm.DataType(buffer.dtype).bits // 8) > limits[1]:
            return f"it has a tensor of {n_bytes} bytes, of which a kernel of the device can access {limits[1]}"
    if len(tensors) > limits[0]:
        return f"it takes {len(tensors)} tensors, and a kernel of the device at most {limits[0]}"
    return why_not_narrow(func) or _wide_value(func)


def largest_group(body: tir.Stmt) -> int:
    """Return the work-items of the largest work-group of the kernels in a statement; 1 for loops outside of threads.

    Parameters
    ----------
    body : Stmt
        Before or after TVM has separated the kernels from the host's code.
    """
    extents: list[tuple[str, int]] = []  # around the current statement; the same dimension may be bound again
    largest = 1

    def enter(node: tir.AttrStmt) -> None:
        nonlocal largest
        if (bound := _bound_threads(node)) is not None:
            extents.append(bound)
            largest = max(largest, math.prod(dict(sorted(extents)).values()))

    def leave(node: tir.AttrStmt) -> None:
        if _bound_threads(node) is not None:
            extents.pop()

    ir_transform(body, enter, leave, ["tir.AttrStmt"])
    return largest


def _bound_threads(node: tir.AttrStmt) -> tuple[str, int] | None:
    if node.attr_key != "thread_extent" or not isinstance(node.value, tir.IntImm):
        return None
    tag = str(node.node.thread_tag)
    return (tag, int(node.value)) if tag.startswith("threadIdx") else None


def _tensors(func: tir.PrimFunc) -> list[tir.Buffer]:
    """Return the buffers that a kernel gets, not those inside it; before or after TVM has flattened them."""
    found = {b.data: b for b in func.buffer_map.values()}
    given = set(func.params) | set(found)

    def visit(node: object) -> None:
        if isinstance(node, tir.BufferLoad | tir.BufferStore) and node.buffer.data in given:
            found.setdefault(node.buffer.data, node.buffer)

    post_order_visit(func.body, visit)
    return list(found.values())


def _wide_value(func: tir.PrimFunc) -> str:
    """Return why values inside a kernel are too wide for WGSL: a double, or 64-bit integers that are no indices.

    The generator narrows all integers of 64 bits. That is right for indices, since tensors are small enough, but not
    for what is computed from tensors' elements, such as the products of fixed-point numbers.
    """
    found: list[str] = []
    indices: set[object] = set()
    bound: set[tir.Var] = set()  # variables whose values come from tensors

    def comes_from_tensors(expr: tir.PrimExpr) -> bool:
        seen: list[bool] = []

        def look(node: object) -> None:
            seen.append(isinstance(node, tir.BufferLoad) or (isinstance(node, tir.Var) and node in bound))

        post_order_visit(expr, look)
        return any(seen)

    def visit_indices(node: object) -> None:
        if isinstance(node, tir.BufferLoad | tir.BufferStore):
            for index in node.indices:
                post_order_visit(index, indices.add)
        elif isinstance(node, tir.LetStmt | tir.Let) and comes_from_tensors(node.value):
            bound.add(node.var)

    def visit(node: object) -> None:
        if not isinstance(node, tir.PrimExpr) or found:
            return
        dtype = str(node.dtype)
        if dtype.startswith("float64"):
            found.append("it computes with float64, which WGSL lacks")
        elif dtype.startswith(("int64", "uint64")) and node not in indices:
            if isinstance(node, tir.IntImm) and not -(2**31) <= node.value < 2**31:
                found.append(f"it has the constant {node.value}, which 32 bits don't hold")
            elif isinstance(node, tir.Cast | tir.Call | tir.BufferLoad) and comes_from_tensors(node):
                found.append(f"it computes with {dtype}, which WGSL lacks")

    post_order_visit(func.body, visit_indices)
    post_order_visit(func.body, visit)
    return found[0] if found else ""


def _fold_block_z(body: tir.Stmt) -> tir.Stmt:
    """Number the work-groups of y and z by one variable of y: z is slowest."""
    extents: dict[str, int] = {}
    variables: dict[str, list[tir.Var]] = {tag: [] for tag in _GRID}

    def visit(node: object) -> None:
        if isinstance(node, tir.AttrStmt) and node.attr_key == "thread_extent" and node.node.thread_tag in _GRID:
            extents[node.node.thread_tag] = int(node.value)
            variables[node.node.thread_tag].append(node.node.var)

    post_order_visit(body, visit)
    if "blockIdx.z" not in extents:
        return body

    def drop(node: tir.AttrStmt) -> tir.Stmt | None:
        is_grid = node.attr_key == "thread_extent" and node.node.thread_tag in _GRID
        return node.body if is_grid else None

    body = ir_transform(body, None, drop, ["tir.AttrStmt"])
    y = extents.get("blockIdx.y", 1)
    both = tir.Var("blockIdx_yz", "int32")
    parts = {"blockIdx.y": tir.truncmod(both, tir.IntImm("int32", y)), "blockIdx.z": tir.truncdiv(both, y)}
    values = {v: parts[tag].astype(v.dtype) for tag, several in variables.items() for v in several}
    thread = tir.IterVar(None, both, tir.IterVar.ThreadIndex, "blockIdx.y")
    extent = tir.IntImm("int32", y * extents["blockIdx.z"])
    return tir.AttrStmt(thread, "thread_extent", extent, substitute(body, values))


def _exact_constants(body: tir.Stmt) -> tir.Stmt:
    """Write floats as bits where the generator, which prints seven digits, would change them."""

    def as_bits(node: tir.FloatImm) -> tir.PrimExpr | None:
        value = float(node.value)
        if node.dtype != "float32" or not math.isfinite(value):
            return None
        bits = _bits(value)
        if _bits(float(f"{value:.6e}")) == bits:
            return None
        return tir.reinterpret("float32", tir.IntImm("uint32", bits))

    return ir_transform(body, None, as_bits, ["FloatImm"])


def _bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


def launch_parameters(func: tir.PrimFunc) -> list[str]:
    """Return the launch tags that the host passes a number for, in order."""
    return [str(tag) for tag in func.attrs["tir.kernel_launch_params"]]


def parameter_types(func: tir.PrimFunc) -> list[str]:
    """Return the types of a kernel's parameters; a scalar of 64 bits gets the lower half, as its indices do."""
    narrow = {"int64": "int32", "uint64": "uint32"}
    return [narrow.get(str(p.dtype), str(p.dtype)) for p in func.params]
