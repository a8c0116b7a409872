"""Workloads of a graph's kernels and shares, as latency models take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from tvm_coexec.core.access import InputAccess, Range
from tvm_coexec.core.kernel_graph import Kernel, SplitAxis, Tensor, dtype_bytes
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.core.partial_reads import CONSTANT, PartialRead

from .algorithms import access_pattern, dtype_variant, rank_variant, reduction_algorithm
from .special_functions import special_flops
from .workload import Workload


def describe(kernel: Kernel, device: str) -> Workload:
    """Return the workload of a whole kernel.

    Parameters
    ----------
    kernel : Kernel
    device : {"cpu", "gpu"}
        Devices run different algorithms.
    """
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


def describe_shares(
    kernel: Kernel, device: str, dim: int, ranges: Sequence[Range] | np.ndarray, whole: Workload | None = None
) -> Workload:
    """Return the workload of a kernel's shares, whose numbers are arrays with one element per range.

    Parameters
    ----------
    kernel : Kernel
    device : str
    dim : int
        Dimension of one of the kernel's axes, or `REDUCED`.
    ranges : sequence of (int, int)
        Non-empty output ranges. For the reduction ranges of input channels: such a share is the anchor alone, with the
        whole output; operators that are fused to it run after the join.
    whole : Workload, optional
        Result of `describe`, if known.
    """
    whole = whole or describe(kernel, device)
    axis = kernel.axis(dim)
    lo, hi = np.asarray(ranges, int).reshape(-1, 2).T
    fraction = (hi - lo) / axis.extent
    if axis.reduces:
        return _describe_partial_sums(kernel, whole, axis, lo, hi, fraction)
    changed = dict(
        in_bytes=_count_bytes_read(kernel, axis, lo, hi, fraction),
        out_bytes=whole.out_bytes * fraction,
        flops=whole.flops * fraction,
        special=whole.special * fraction,
        special_on_cores=whole.special_on_cores * fraction,
        weight_bytes=_count_weight_bytes(kernel, axis, fraction),
    )
    return replace(whole, **changed, **_share_extents(kernel, whole, axis, lo, hi, fraction))


def _describe_partial_sums(
    kernel: Kernel, whole: Workload, axis: SplitAxis, lo: np.ndarray, hi: np.ndarray, fraction: np.ndarray
) -> Workload:
    """Return the shares of a split along the reduction axis."""
    constants = prod(kernel.attrs["weight_shape"]) * dtype_bytes(kernel.in_tensors[0].dtype) if axis.weights else 0
    made = replace(
        whole,
        ic=hi - lo,
        in_bytes=_count_bytes_read(kernel, axis, lo, hi, fraction),
        out_bytes=np.full_like(fraction, whole.out_bytes),
        weight_bytes=constants * fraction,
        fused=0,
        special=0.0,
        special_on_cores=0.0,
    )
    return replace(made, flops=2.0 * made.macs)


def _share_extents(
    kernel: Kernel, whole: Workload, axis: SplitAxis, lo: np.ndarray, hi: np.ndarray, fraction: np.ndarray
) -> dict:
    """Return the extents that differ between a share and the whole kernel."""
    kind = whole.kind
    if kind in ("dense", "batch_matmul"):
        rank = len(kernel.outputs[0].shape)
        name = {rank - 1: "oc", rank - 2: "ow"}.get(axis.dim, "batch")
        return {name: getattr(whole, name) * fraction}
    if kind in ("injective", "reduce", "other"):
        return {"ow": whole.ow * fraction}
    letter = _layout(kernel)[axis.dim]
    if letter == "C":
        channels = {"oc": whole.oc * fraction}
        if kind in ("depthwise_conv", "group_conv", "pool"):
            channels |= {"ic": whole.ic * fraction, "groups": whole.groups * fraction}
        return channels
    if letter == "N":
        return {"batch": whole.batch * fraction}
    need = next((n for n in axis.needs if n is not None), None)
    read = _count_rows_read(need, lo, hi) if need is not None else fraction
    rows, columns = ("ow", "iw") if letter == "W" else ("oh", "ih")
    extent = _input_extent(need, kernel) if need is not None else 1
    return {rows: getattr(whole, rows) * fraction, columns: getattr(whole, columns) * read / extent}


def _input_extent(need: InputAccess, kernel: Kernel) -> int:
    return max(1, need.paths[0][-1].extent) if need.paths and need.paths[0] else kernel.in_tensors[0].shape[need.dim]


def _count_rows_read(need: InputAccess, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Count the rows of an input that each range reads."""
    low, high = need.apply(lo, hi)
    return high - low


def _count_bytes_read(
    kernel: Kernel, axis: SplitAxis, lo: np.ndarray, hi: np.ndarray, fraction: np.ndarray
) -> np.ndarray:
    if len(kernel.in_tensors) != len(axis.needs):  # fields of a tuple have no accesses of their own
        return kernel.read_bytes * fraction
    partial = {r.tensor: r for r in kernel.partial_reads}
    total = np.zeros_like(fraction)
    for position, (tensor, need) in enumerate(zip(kernel.in_tensors, axis.needs, strict=True)):
        read = partial.get(position)
        if read is not None:
            total = total + _count_partial_bytes(read, _accessed_fraction(need, axis, lo, hi, fraction))
        elif need is None:
            total = total + tensor.nbytes
        else:
            total = total + tensor.nbytes * _count_rows_read(need, lo, hi) / max(1, tensor.shape[need.dim])
    return total


def _accessed_fraction(
    need: InputAccess | None, axis: SplitAxis, lo: np.ndarray, hi: np.ndarray, fraction: np.ndarray
) -> np.ndarray:
    """Return which fraction of the whole kernel's accesses to a tensor the shares make, halo rows included."""
    if need is None or len(need.paths) > 1:  # several parts of it, with rows between them that nothing reads
        return fraction
    whole = _count_rows_read(need, np.array([0]), np.array([axis.extent]))
    return _count_rows_read(need, lo, hi) / np.maximum(1, whole)


def _count_partial_bytes(read: PartialRead, fraction: np.ndarray) -> np.ndarray:
    return np.minimum(read.nbytes, read.accessed_bytes * fraction)


def _count_weight_bytes(kernel: Kernel, axis: SplitAxis, fraction: np.ndarray) -> np.ndarray:
    tables = [r for r in kernel.partial_reads if r.tensor == CONSTANT]
    rest = kernel.weight_bytes - sum(r.nbytes for r in tables)
    total = rest * (fraction if axis.weights else np.ones_like(fraction))
    return sum((_count_partial_bytes(r, fraction) for r in tables), start=total)


def _layout(kernel: Kernel) -> str:
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
    attrs, layout = kernel.attrs, _layout(kernel)
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
    layout = _layout(kernel)
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
