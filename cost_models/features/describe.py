"""Workloads of a graph's kernels, as latency models take them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm_coexec.core.kernel_graph import Kernel, Tensor
from tvm_coexec.core.op_kinds import OpKind

from .algorithms import access_pattern, dtype_variant, rank_variant, reduction_algorithm
from .special_functions import special_flops
from .workload import Workload

_SUM_BYTES = 4  # of an element of a partial sum: float32, or int32 of integers


def describe(kernel: Kernel, device: str) -> Workload:
    """Return the workload of a whole kernel.

    Parameters
    ----------
    kernel : Kernel
    device : {"cpu", "gpu"}
        Devices run different algorithms.
    """
    if device not in kernel.workloads:
        kernel.workloads[device] = _describe(kernel, device)
    return kernel.workloads[device]


def describe_epilogue(kernel: Kernel) -> Workload:
    """Return the workload, on the CPU, of what runs after a kernel that is divided along its reduction.

    It is an elementwise kernel that adds both parts and applies the operators that are fused to the anchor.

    Parameters
    ----------
    kernel : Kernel
        With an axis that reduces.
    """
    axis = next(a for a in kernel.axes if a.reduces)
    elements = prod(kernel.outputs[0].shape)
    needs = zip(kernel.in_tensors, axis.needs, strict=True)
    operands = sum(t.nbytes for t, need in needs if need is not None and need.after_join)
    fused = kernel.name.count("+")
    return Workload(
        "injective",
        ow=elements,
        in_bytes=2 * elements * _SUM_BYTES + operands,
        out_bytes=kernel.out_bytes,
        flops=float(elements * (1 + fused)),
        fused=fused,
        special=special_flops(kernel.functions, "cpu"),
    )


def _describe(kernel: Kernel, device: str) -> Workload:
    op = kernel.op.split(".")[-1]
    common: dict[str, Any] = dict(
        in_bytes=kernel.read_bytes,
        out_bytes=kernel.out_bytes,
        weight_bytes=kernel.weight_read_bytes,
        flops=kernel.flops,
        special=special_flops(kernel.functions, device),
        special_on_cores=special_flops(kernel.functions, "cores") if device == "gpu" else 0.0,
        fused=kernel.name.count("+"),
    )
    if any(-1 in t.shape for t in kernel.outputs):
        return Workload("other", **common)
    kind = kernel.kind
    if kind in (OpKind.CONV, OpKind.TRANSPOSED_CONV):
        return _describe_convolution(kernel, op, device, common)
    if kind in (OpKind.DENSE, OpKind.BATCH_MATMUL):
        return _describe_product(kernel, common)
    if kind == OpKind.POOL:
        return _describe_pooling(kernel, common)
    elements = sum(prod(t.shape) for t in kernel.outputs)
    if kind in (OpKind.REDUCE, OpKind.SOFTMAX, OpKind.LRN):
        read = sum(prod(t.shape) for t in kernel.in_tensors)
        width = max(1.0, read / max(1, elements))
        return Workload("reduce", reduction_algorithm(kernel), oc=1, ow=elements, kw=width, **common)
    if kind == OpKind.OTHER:
        return Workload("other", ow=elements, **common)
    return Workload("injective", access_pattern(kernel), ow=elements, **common)


def find_layout(kernel: Kernel) -> str:
    """Return the letters of the output's dimensions."""
    rank = len(kernel.outputs[0].shape)
    plain = {3: "NCW", 4: "NCHW", 5: "NCDHW"}.get(rank, "N" * rank)
    layout = str(kernel.attrs.get("out_layout") or kernel.attrs.get("data_layout") or kernel.attrs.get("layout") or "")
    return layout if len(layout) == rank and layout.isalpha() else plain


def _split_dims(tensor: Tensor, layout: str) -> tuple[int, int, int, int]:
    """Return batch, channels, rows (times depth) and columns of a tensor."""
    size = dict(zip(layout, tensor.shape, strict=True))
    return size.get("N", 1), size.get("C", 1), size.get("H", 1) * size.get("D", 1), size.get("W", 1)


def _window(values: Sequence[int] | int | None) -> tuple[int, int]:
    """Return rows (times depth) and columns of a kernel size, stride or window."""
    many = [values] if isinstance(values, int) else list(values or [1])
    return prod(many[:-1]), many[-1]


def _describe_convolution(kernel: Kernel, op: str, device: str, common: dict) -> Workload:
    attrs, layout = kernel.attrs, find_layout(kernel)
    batch, oc, oh, ow = _split_dims(kernel.outputs[0], layout)
    same_rank = kernel.in_tensors and len(kernel.in_tensors[0].shape) == len(layout)
    sh, sw = _window(attrs.get("strides"))
    kh, kw = _window(attrs.get("kernel_size") or _kernel_size(attrs))
    if same_rank:
        _, ic, ih, iw = _split_dims(kernel.in_tensors[0], layout)
    else:
        ic, ih, iw = oc, oh * sh, ow * sw
    groups = int(attrs.get("groups", 1))
    if kernel.kind == OpKind.TRANSPOSED_CONV:
        kind = "transposed_conv"
    else:
        kind = "depthwise_conv" if groups == ic and groups > 1 else "group_conv" if groups > 1 else "conv"
    # On x86 and ARM `AlterOpLayout` chooses blocked layouts if it may; GPU templates have none.
    blocked = device == "cpu" and layout.startswith("NC") and op in ("conv2d", "conv3d") and kind != "group_conv"
    window = kernel_class(kh, kw, sh) if kind == "conv" else ""
    if kind == "group_conv" and kh == kw == 1:
        window = ".point"  # a variant, so that profiles without this class predict it by that of wider kernels
    algorithm = ("nchwc" if blocked else "direct") + window + rank_variant(layout) + dtype_variant(kernel)
    return Workload(
        kind, algorithm, batch, groups, ic, oc, ih, iw, oh, ow, kh, kw, sh, sw, **common
    )  # fmt: skip


def kernel_class(kh: int, kw: int, stride: int) -> str:
    """Return the class that schedules distinguish: 1x1 is a matrix product, 3x3 of stride 1 may run as Winograd."""
    return ".1x1" if kh == kw == 1 else ".3x3" if kh == kw == 3 and stride == 1 else ""


def _kernel_size(attrs: dict) -> list[int]:
    """Return the spatial extents of the weights."""
    shape, layout = attrs.get("weight_shape", []), str(attrs.get("kernel_layout", ""))
    if len(layout) != len(shape):
        return shape[2:] or [1]
    return [extent for extent, letter in zip(shape, layout, strict=True) if letter not in "OI"] or [1]


def _describe_product(kernel: Kernel, common: dict) -> Workload:
    shape = kernel.outputs[0].shape
    columns, rows, batch = shape[-1], shape[-2] if len(shape) > 1 else 1, prod(shape[:-2])
    macs = max(1, batch * rows * columns)
    is_batched = kernel.kind == OpKind.BATCH_MATMUL
    reduce = max(1, round(kernel.flops / 2 / macs)) if is_batched else _reduction_extent(kernel, macs)
    algorithm = "gemm" + dtype_variant(kernel)
    return Workload(kernel.kind.value, algorithm, batch=batch, ic=reduce, oc=columns, ow=rows, **common)


def _reduction_extent(kernel: Kernel, macs: int) -> int:
    weight = kernel.attrs.get("weight_shape")
    if not weight:
        return max(1, round(kernel.flops / 2 / macs))
    return int(weight[0] if kernel.op == "nn.matmul" and not kernel.attrs.get("transpose_b") else weight[-1])


def _describe_pooling(kernel: Kernel, common: dict) -> Workload:
    layout = find_layout(kernel)
    batch, channels, oh, ow = _split_dims(kernel.outputs[0], layout)
    same_rank = kernel.in_tensors and len(kernel.in_tensors[0].shape) == len(layout)
    ih, iw = _split_dims(kernel.in_tensors[0], layout)[2:] if same_rank else (oh, ow)
    algorithm = "direct"
    if kernel.attrs.get("pool_size"):
        (kh, kw), (sh, sw) = _window(kernel.attrs["pool_size"]), _window(kernel.attrs.get("strides"))
    else:  # global and adaptive pooling: each output reads its part of the map
        algorithm += ".global"
        kh, kw = max(1, ih // max(1, oh)), max(1, iw // max(1, ow))
        sh, sw = kh, kw
    name = algorithm + rank_variant(layout)
    return Workload(
        "pool", name, batch, channels, channels, channels, ih, iw, oh, ow, kh, kw, sh, sw, **common
    )  # fmt: skip
