"""From a kernel of the graph, or its shares, to the workload that latency models predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from tvm_coexec.core.access import InputAccess, Range
from tvm_coexec.core.kernel_graph import Kernel, SplitAxis, Tensor, dtype_bytes
from tvm_coexec.core.op_kinds import OpKind

from .workload import Workload


def describe(kernel: Kernel, device: str) -> Workload:
    """The workload of a whole kernel.

    Parameters
    ----------
    kernel : Kernel
    device : str
        ``cpu`` or ``gpu``: they run different algorithms.
    """
    op = kernel.op.split(".")[-1]
    common: dict[str, Any] = dict(
        in_bytes=kernel.in_bytes,
        out_bytes=kernel.out_bytes,
        weight_bytes=kernel.weight_bytes,
        flops=kernel.flops,
        fused=kernel.name.count("+"),
    )
    if any(-1 in t.shape for t in kernel.outputs):
        return Workload("other", **common)
    kind = kernel.kind
    if kind in (OpKind.CONV, OpKind.TRANSPOSED_CONV):
        return _convolution(kernel, op, device, common)
    if kind in (OpKind.DENSE, OpKind.BATCH_MATMUL):
        return _product(kernel, common)
    if kind == OpKind.POOL:
        return _pooling(kernel, common)
    elements = sum(prod(t.shape) for t in kernel.outputs)
    if kind in (OpKind.REDUCE, OpKind.SOFTMAX, OpKind.LRN):
        read = sum(prod(t.shape) for t in kernel.in_tensors)
        algorithm = "direct" if kind == OpKind.REDUCE else kind.value
        return Workload("reduce", algorithm, oc=1, ow=elements, kw=max(1.0, read / max(1, elements)), **common)
    if kind == OpKind.OTHER:
        return Workload("other", ow=elements, **common)
    return Workload("injective", _access(kernel), ow=elements, **common)


def _access(kernel: Kernel) -> str:
    """How an injective kernel reads: as it writes, several tensors one after the other, or with divisions."""
    if {OpKind.VIEW, OpKind.MOVE} & set(kernel.kinds) and not kernel.is_free:
        return "moves"
    return "concat" if OpKind.CONCAT in kernel.kinds else "direct"


def describe_shares(
    kernel: Kernel, device: str, dim: int, ranges: Sequence[Range] | np.ndarray, whole: Workload | None = None
) -> Workload:
    """The workload of a kernel's shares: one whose numbers are arrays, one element a range.

    Parameters
    ----------
    kernel : Kernel
    device : str
    dim : int
        Output dimension that is divided, or `REDUCED`; must be one of the kernel's axes.
    ranges : sequence of (int, int)
        Output rows of each share, none of them empty. Of the reduction: ranges of input channels; such a share is the
        anchor alone, with an output as large as the kernel's, and what is fused to it comes after the join.
    whole : Workload, optional
        What `describe` says of the kernel, where that is known already.
    """
    whole = whole or describe(kernel, device)
    axis = kernel.axis(dim)
    lo, hi = np.asarray(ranges, int).reshape(-1, 2).T
    part = (hi - lo) / axis.extent
    if axis.reduces:
        return _partial_sums(kernel, whole, axis, lo, hi, part)
    changed = dict(
        in_bytes=_bytes_read(kernel, axis, lo, hi, part),
        out_bytes=whole.out_bytes * part,
        flops=whole.flops * part,
        weight_bytes=whole.weight_bytes * (part if axis.weights else np.ones_like(part)),
    )
    return replace(whole, **changed, **_extents(kernel, whole, axis, lo, hi, part))


def _partial_sums(
    kernel: Kernel, whole: Workload, axis: SplitAxis, lo: np.ndarray, hi: np.ndarray, part: np.ndarray
) -> Workload:
    """Shares of the sum that a convolution or matrix product takes."""
    constants = prod(kernel.attrs["weight_shape"]) * dtype_bytes(kernel.in_tensors[0].dtype) if axis.weights else 0
    made = replace(
        whole,
        ic=hi - lo,
        in_bytes=_bytes_read(kernel, axis, lo, hi, part),
        out_bytes=np.full_like(part, whole.out_bytes),
        weight_bytes=constants * part,
        fused=0,
    )
    return replace(made, flops=2.0 * made.macs)


def _extents(
    kernel: Kernel, whole: Workload, axis: SplitAxis, lo: np.ndarray, hi: np.ndarray, part: np.ndarray
) -> dict:
    """The extents that a cut along an axis makes smaller."""
    kind = whole.kind
    if kind in ("dense", "batch_matmul"):
        rank = len(kernel.outputs[0].shape)
        name = {rank - 1: "oc", rank - 2: "ow"}.get(axis.dim, "batch")
        return {name: getattr(whole, name) * part}
    if kind in ("injective", "reduce", "other"):
        return {"ow": whole.ow * part}
    letter = _layout(kernel)[axis.dim]
    if letter == "C":
        channels = {"oc": whole.oc * part}
        if kind in ("depthwise_conv", "group_conv", "pool"):
            channels |= {"ic": whole.ic * part, "groups": whole.groups * part}
        return channels
    if letter == "N":
        return {"batch": whole.batch * part}
    need = next((n for n in axis.needs if n is not None), None)
    read = _rows_read(need, lo, hi) if need is not None else part
    rows, columns = ("ow", "iw") if letter == "W" else ("oh", "ih")
    extent = _extent_of(need, kernel) if need is not None else 1
    return {rows: getattr(whole, rows) * part, columns: getattr(whole, columns) * read / extent}


def _extent_of(need: InputAccess, kernel: Kernel) -> int:
    return max(1, need.paths[0][-1].extent) if need.paths and need.paths[0] else kernel.in_tensors[0].shape[need.dim]


def _rows_read(need: InputAccess, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Rows of an input that each range needs."""
    low, high = need.apply(lo, hi)
    return high - low


def _bytes_read(kernel: Kernel, axis: SplitAxis, lo: np.ndarray, hi: np.ndarray, part: np.ndarray) -> np.ndarray:
    if len(kernel.in_tensors) != len(axis.needs):  # a tuple's fields: what they are divided by is not told apart
        return kernel.in_bytes * part
    total = np.zeros_like(part)
    for tensor, need in zip(kernel.in_tensors, axis.needs, strict=True):
        if need is None:
            total = total + tensor.nbytes
        else:
            total = total + tensor.nbytes * _rows_read(need, lo, hi) / max(1, tensor.shape[need.dim])
    return total


def _layout(kernel: Kernel) -> str:
    """Letters of the output's dimensions."""
    rank = len(kernel.outputs[0].shape)
    plain = {3: "NCW", 4: "NCHW", 5: "NCDHW"}.get(rank, "N" * rank)
    layout = str(kernel.attrs.get("out_layout") or kernel.attrs.get("data_layout") or kernel.attrs.get("layout") or "")
    return layout if len(layout) == rank and layout.isalpha() else plain


def _spatial(tensor: Tensor, layout: str) -> tuple[int, int, int, int]:
    """Batch, channels, rows (times depth) and columns."""
    size = dict(zip(layout, tensor.shape, strict=True))
    return size.get("N", 1), size.get("C", 1), size.get("H", 1) * size.get("D", 1), size.get("W", 1)


def _window(values: Sequence[int] | int | None) -> tuple[int, int]:
    """Rows (times depth) and columns of a kernel, stride or window."""
    many = [values] if isinstance(values, int) else list(values or [1])
    return prod(many[:-1]), many[-1]


def _convolution(kernel: Kernel, op: str, device: str, common: dict) -> Workload:
    attrs, layout = kernel.attrs, _layout(kernel)
    batch, oc, oh, ow = _spatial(kernel.outputs[0], layout)
    same_rank = kernel.in_tensors and len(kernel.in_tensors[0].shape) == len(layout)
    sh, sw = _window(attrs.get("strides"))
    kh, kw = _window(attrs.get("kernel_size") or _kernel_size(attrs))
    if same_rank:
        _, ic, ih, iw = _spatial(kernel.in_tensors[0], layout)
    else:
        ic, ih, iw = oc, oh * sh, ow * sw
    groups = int(attrs.get("groups", 1))
    if kernel.kind == OpKind.TRANSPOSED_CONV:
        kind = "transposed_conv"
    else:
        kind = "depthwise_conv" if groups == ic and groups > 1 else "group_conv" if groups > 1 else "conv"
    # TVM's strategies for x86 and ARM take blocked layouts, where `AlterOpLayout` may choose them; GPU templates none.
    blocked = device == "cpu" and layout.startswith("NC") and op in ("conv2d", "conv3d") and kind != "group_conv"
    algorithm = ("nchwc" if blocked else "direct") + (kernel_class(kh, kw, sh) if kind == "conv" else "")
    return Workload(
        kind, algorithm, batch, groups, ic, oc, ih, iw, oh, ow, kh, kw, sh, sw, **common
    )  # fmt: skip


def kernel_class(kh: int, kw: int, stride: int) -> str:
    """What schedules tell apart: 1x1 kernels are matrix products, and 3x3 of stride one may run as Winograd."""
    return ".1x1" if kh == kw == 1 else ".3x3" if kh == kw == 3 and stride == 1 else ""


def _kernel_size(attrs: dict) -> list[int]:
    """Rows and columns of the weights."""
    shape, layout = attrs.get("weight_shape", []), str(attrs.get("kernel_layout", ""))
    if len(layout) != len(shape):
        return shape[2:] or [1]
    return [extent for extent, letter in zip(shape, layout, strict=True) if letter not in "OI"] or [1]


def _product(kernel: Kernel, common: dict) -> Workload:
    shape = kernel.outputs[0].shape
    columns, rows, batch = shape[-1], shape[-2] if len(shape) > 1 else 1, prod(shape[:-2])
    macs = max(1, batch * rows * columns)
    is_batched = kernel.kind == OpKind.BATCH_MATMUL
    reduce = max(1, round(kernel.flops / 2 / macs)) if is_batched else _reduced(kernel, macs)
    return Workload(kernel.kind.value, "gemm", batch=batch, ic=reduce, oc=columns, ow=rows, **common)


def _reduced(kernel: Kernel, macs: int) -> int:
    weight = kernel.attrs.get("weight_shape")
    if not weight:
        return max(1, round(kernel.flops / 2 / macs))
    return int(weight[0] if kernel.op == "nn.matmul" and not kernel.attrs.get("transpose_b") else weight[-1])


def _pooling(kernel: Kernel, common: dict) -> Workload:
    layout = _layout(kernel)
    batch, channels, oh, ow = _spatial(kernel.outputs[0], layout)
    same_rank = kernel.in_tensors and len(kernel.in_tensors[0].shape) == len(layout)
    ih, iw = _spatial(kernel.in_tensors[0], layout)[2:] if same_rank else (oh, ow)
    if kernel.attrs.get("pool_size"):
        (kh, kw), (sh, sw) = _window(kernel.attrs["pool_size"]), _window(kernel.attrs.get("strides"))
    else:  # global and adaptive pooling: each output reads its part of the map
        kh, kw = max(1, ih // max(1, oh)), max(1, iw // max(1, ow))
        sh, sw = kh, kw
    return Workload(
        "pool", "direct", batch, channels, channels, channels, ih, iw, oh, ow, kh, kw, sh, sw, **common
    )  # fmt: skip
