"""Workloads of tuners as those of latency models: from a template's arguments, or from the shapes of tensors alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

from tvm_coexec.cost_models.features.describe import kernel_class
from tvm_coexec.cost_models.features.workload import Workload
from tvm_coexec.opencl.schedules.workloads import Workload as Template
from tvm_coexec.opencl.schedules.workloads import element_bytes

from .operators import describe_operator, unpack

Shape = Sequence[int]
_RANKS = {1: ".1d", 2: "", 3: ".3d"}


def workload_of_template(template: Template, device: str) -> Workload | None:
    """Return the workload of an AutoTVM template; `None` for operators that latency models do not know.

    Parameters
    ----------
    template : tuple
        The template's name and its arguments; also in a packed layout.
    device : {"cpu", "gpu"}
    """
    plain, _ = unpack(template)
    operator = describe_operator(plain)
    if operator is None:
        return None
    name, dtypes, taps, _ = operator.family
    variant = ".int" if "int" in dtypes[0] else ".half" if "16" in dtypes[0] else ""
    size = element_bytes(plain, 1)
    extents = dict(operator.extents[: operator.tensors])
    if "dense" in name or "matmul" in name:
        return _product(extents.get("batch", 1), extents["m"], extents["n"], extents["k"], size, variant)
    axes = [a for a in ("d", "h", "w") if a in extents]
    strides, rank = operator.family[3][0], len(axes)
    dilations = operator.family[3][1] if "transpose" not in name else (1,) * rank
    dilations = tuple(dilations) if isinstance(dilations, (tuple, list)) else (dilations,) * rank
    pads = {a: sum(v for n, v in operator.extents[operator.tensors :] if n == a) for a in axes}
    groups = dict(operator.extents).get("g", 1)
    if "depthwise" in name:
        groups = extents["c"]
        outputs = extents["o"] * extents["i"]
    elif "transpose" in name:
        return None  # records do not tell output padding from padding
    else:
        outputs = extents["o"]
    inside = [extents[a] for a in axes]
    out = [
        (extents[a] + pads[a] - (k - 1) * d - 1) // s + 1
        for a, k, d, s in zip(axes, taps, dilations, strides, strict=True)
    ]
    blocked = device == "cpu" and rank > 1 and not re.search(r"nd?hwc", name)
    made = _conv(extents["batch"], extents["c"], outputs, groups, inside, out, taps, strides, size, blocked)
    return None if made is None else _with_variant(made, _RANKS.get(rank, "") + variant)


def _with_variant(w: Workload, variant: str) -> Workload:
    values = {n: v for n, v in vars(w).items() if n != "algorithm"}
    return Workload(algorithm=w.algorithm + variant, **values)


def workload_of_shapes(shapes: Sequence[Shape], device: str) -> Workload | None:
    """Recognise an operator by the shapes of its tensors: inputs, weights, what is fused, and the result last.

    Parameters
    ----------
    shapes : sequence of tuple of int
    device : {"cpu", "gpu"}

    Returns
    -------
    Workload or None
        `None` if they are not those of a convolution of images or of a product.
    """
    if len(shapes) < 3:
        return None
    data, weight, *fused, out = shapes
    made = None
    if (len(data), len(weight), len(out)) == (5, 6, 5):  # packed in blocks of channels: NCHW8c, OIHW8i8o
        outer, inner, *taps, in_block, out_block = weight
        data, out = ((s[0], s[1] * s[4], *s[2:4]) for s in (data, out))
        weight = (outer * out_block, inner * in_block, *taps)
    if len(data) == len(weight) == len(out) == 4:
        made = _images(data, weight, out, device)
    elif len(data) == len(weight) == len(out) == 2 and data[1] == weight[1] and out == (data[0], weight[0]):
        made = _product(1, data[0], weight[0], data[1], 4, "")
    elif len(data) == len(weight) == len(out) == 3 and _is_batched_product(data, weight, out):
        made = _product(data[0], data[1], out[2], data[2], 4, "")
    if made is None:
        return None
    values = vars(made) | {"fused": len(fused), "in_bytes": made.in_bytes + sum(4 * prod(f) for f in fused)}
    return Workload(**values)


def _is_batched_product(a: Shape, b: Shape, out: Shape) -> bool:
    return a[0] == b[0] == out[0] and a[1] == out[1] and a[2] in b[1:] and out[2] in b[1:]


def _images(data: Shape, weight: Shape, out: Shape, device: str) -> Workload | None:
    """A convolution in NCHW with OIHW, or in NHWC with HWIO (depthwise: HWOI)."""
    for channels, rows in ((1, 2), (3, 1)):
        taps = tuple(weight[2:] if channels == 1 else weight[:2])
        outputs, inner = (weight[0], weight[1]) if channels == 1 else (weight[3], weight[2])
        if channels == 3 and weight[3] == 1 and weight[2] == data[3]:
            outputs, inner = data[3], 1
        ic, inside, places = data[channels], data[rows : rows + 2], out[rows : rows + 2]
        if data[0] != out[0] or out[channels] != outputs or not inner or ic % inner:
            continue
        strides = [_stride(i, k, o) for i, k, o in zip(inside, taps, places, strict=True)]
        if all(strides):
            blocked = device == "cpu" and channels == 1  # only NCHW is packed in blocks
            return _conv(data[0], ic, outputs, ic // inner, inside, places, taps, strides, 4, blocked)
    return None


def _stride(extent: int, taps: int, out: int) -> int:
    """Return the least stride with which some padding gives the extent of the result; 0 if none does."""
    return next((s for s in range(1, 9) for p in range(2 * taps) if (extent + p - taps) // s + 1 == out), 0)


def _conv(
    batch: int, ic: int, oc: int, groups: int, inside: Shape, out: Shape, taps: Shape, strides: Shape, size: int,
    blocked: bool,
) -> Workload | None:  # fmt: skip
    if min(*inside, *out, ic, oc) < 1 or ic % groups:
        return None
    kind = "depthwise_conv" if groups == ic and groups > 1 else "group_conv" if groups > 1 else "conv"
    (kh, kw), (sh, sw) = ((prod(v[:-1]), v[-1]) for v in (taps, strides))
    window = kernel_class(kh, kw, sh) if kind == "conv" else ".point" if kind == "group_conv" and kh == kw == 1 else ""
    blocked = blocked and kind != "group_conv"
    weights, places = oc * ic // groups * prod(taps), batch * oc * prod(out)
    return Workload(
        kind, ("nchwc" if blocked else "direct") + window, batch, groups, ic, oc,
        prod(inside[:-1]), inside[-1], prod(out[:-1]), out[-1], kh, kw, sh, sw,
        size * batch * ic * prod(inside), size * places, size * weights, 2.0 * places * ic / groups * prod(taps),
    )  # fmt: skip


def _product(batch: int, rows: int, columns: int, reduce: int, size: int, variant: str) -> Workload:
    kind = "batch_matmul" if batch > 1 else "dense"
    moved = {"in_bytes": size * batch * rows * reduce, "out_bytes": size * batch * rows * columns}
    moved["weight_bytes"] = size * batch * columns * reduce
    flops = 2.0 * batch * rows * columns * reduce
    return Workload(kind, "gemm" + variant, batch=batch, ic=reduce, oc=columns, ow=rows, flops=flops, **moved)
