"""Operators as AutoTVM's workloads describe them, and along which axis two workloads of one operator differ.

A share of an operator is the same template with other extents: fewer output channels, rows, columns of a product,
images of a batch, or summands; along a spatial axis also with other padding, because only the outer shares touch it.
Everything else (kernel size, strides, dilation, data types, layouts) is equal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tvm_coexec.opencl.schedules.workloads import NotStatic, Workload, integers, paddings, repeated

# Letters of extents: o output channels, c input channels, i input channels of a group, g groups, m rows, n columns and
# k summands of a product. Those that a cut along each axis changes together:
_AXES = {
    frozenset(letters): axis
    for axis, combinations in {
        "oc": (("o",), ("c", "o"), ("c", "o", "g")),
        "ic": (("c", "i"),),
        "batch": (("batch",),),
        "d": (("d",),),
        "h": (("h",),),
        "w": (("w",),),
        "m": (("m",),),
        "n": (("n",),),
        "k": (("k",),),
    }.items()
    for letters in combinations
}
_PACKED = re.compile(r"^NCHW\d+c$")


@dataclass(frozen=True)
class Operator:
    """A workload as an operator and its extents.

    Attributes
    ----------
    family : tuple
        What a cut does not change: the template's name, data types, strides, dilation, layouts.
    extents : tuple of (str, int)
        Letter and value of everything that a cut may change: extents of tensors, then padding and groups.
    tensors : int
        How many of them are extents of tensors.
    """

    family: tuple[Any, ...]
    extents: tuple[tuple[str, int], ...]
    tensors: int

    def axis_to(self, other: Operator) -> str | None:
        """Return the axis along which another workload differs; empty if it is equal, `None` if it is no share."""
        if self.family != other.family or len(self.extents) != len(other.extents):
            return None
        pairs = list(zip(self.extents, other.extents, strict=True))
        if any(a[0] != b[0] for a, b in pairs):
            return None
        changed = frozenset(a[0] for a, b in pairs if a != b)
        return _AXES.get(changed) if changed else ""

    def ratio_to(self, other: Operator) -> float:
        """Return by what factor the extent that differs most is larger or smaller; of two workloads of one family."""
        pairs = zip(self.extents[: self.tensors], other.extents, strict=False)
        return max(max(a, b) / max(1, min(a, b)) for (_, a), (_, b) in pairs)


@lru_cache(maxsize=4096)
def describe_operator(workload: Workload) -> Operator | None:
    """Describe a workload.

    Parameters
    ----------
    workload : tuple
        The template's name and its arguments; layouts that are packed in blocks must be unpacked (`unpack`).

    Returns
    -------
    Operator or None
        `None` for templates whose extents are not known, and for extents that are not constant.
    """
    try:
        found = _matrix(workload) if "dense" in workload[0] or "matmul" in workload[0] else _convolution(workload)
    except (NotStatic, ValueError, IndexError, TypeError):
        return None
    if found is None:
        return None
    letters, extents, rest = found
    tensors = [a for a in workload[1:] if _is_tensor(a)]
    if [len(of) for of in letters] != [len(t[1]) for t in tensors]:
        return None
    kernel = [(name, int(v)) for of, t in zip(letters, tensors, strict=True) for name, v in zip(of, t[1], strict=True)]
    taps = tuple(v for name, v in kernel if name.startswith("k") and name != "k")
    family = (workload[0], tuple(t[2] for t in tensors), taps, rest)
    shapes = tuple(e for e in kernel if not e[0].startswith("k") or e[0] == "k")
    return Operator(family, shapes + extents, len(shapes))


_Described = tuple[list[tuple[str, ...]], tuple[tuple[str, int], ...], tuple[Any, ...]]


def _matrix(workload: Workload) -> _Described:
    """Letters of the tensors of a product, other extents, and what is left."""
    name, others = workload[0], [a for a in workload[1:] if not _is_tensor(a)]
    bias: list[tuple[str, ...]] = [("n",)] * (sum(map(_is_tensor, workload[1:])) - 2)
    if "batch_matmul" in name:
        transpose_a, transpose_b = (bool(integers(v)[0]) for v in workload[5:7])
        a = ("batch", "k", "m") if transpose_a else ("batch", "m", "k")
        b = ("batch", "n", "k") if transpose_b else ("batch", "k", "n")
        return [a, b], (), tuple(workload[4:])  # without the shape of the output
    if name.startswith("matmul"):
        transpose_a, transpose_b = (bool(integers(v)[0]) for v in workload[5:7])
        factors = ("k", "m") if transpose_a else ("m", "k"), ("n", "k") if transpose_b else ("k", "n")
        return [*factors, *bias], (), tuple(others)
    return [("m", "k"), ("n", "k"), *bias], (), tuple(others)


def _convolution(workload: Workload) -> _Described | None:
    """The same for a convolution ``(data, kernel, strides, padding, ...)``."""
    name, data, kernel = workload[0], integers(workload[1][1]), integers(workload[2][1])
    rank = len(data) - 2
    if not re.search(rf"conv{rank}d", name) or "without_weight_transform" in name or len(kernel) != len(data):
        return None
    spatial, taps = ("d", "h", "w")[-rank:], ("kd", "kh", "kw")[-rank:]
    kernel_taps: Sequence[int]
    if re.search(r"nd?h?wc", name):
        inner = ("o", "i") if "depthwise" in name else ("i", "o")
        letters, kernel_taps = [("batch", *spatial, "c"), (*taps, *inner)], kernel[:rank]
    elif re.search(r"ncd?h?w", name.lower()):
        inner = ("c", "o") if "transpose" in name else ("o", "i")
        letters, kernel_taps = [("batch", "c", *spatial), (*inner, *taps)], kernel[2:]
    else:
        return None
    strides, rest = repeated(workload[3], rank), list(workload[5:])
    extents = [(axis, p) for axis, pad in zip(spatial, _pads(workload, kernel_taps), strict=True) for p in pad]
    if "transpose" in name:
        if len(rest) > 1:  # out_dtype, output_padding, groups
            extents += zip(spatial, repeated(rest.pop(1), rank), strict=True)
        if len(rest) > 1:
            extents.append(("g", integers(rest.pop(1))[0]))
    elif "group" in name or name.startswith("conv3d_ncdhw.cuda"):
        extents.append(("g", integers(rest.pop(1))[0]))  # dilation, groups, out_dtype
    return letters, tuple(extents), (strides, *rest)


def _pads(workload: Workload, kernel: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return paddings(workload[4], tuple(kernel))


def unpack(workload: Workload) -> tuple[Workload, dict[str, int]]:
    """Return a workload in plain layout, and the blocks of a packed one by the knob that chose them.

    Once layouts are altered TVM asks for packed workloads; records are of plain ones.

    Returns
    -------
    workload : tuple
        Unchanged if it is plain.
    blocks : dict of str to int
        For packed layouts the innermost factor of ``tile_ic``, ``tile_oc`` or ``tile_x``.
    """
    tensors = [a for a in workload[1:] if _is_tensor(a)]
    if workload[0].endswith("conv2d_NCHWc.x86") and [len(t[1]) for t in tensors] == [5, 6]:
        (n, chunks, h, w, block), (outer, inner, kh, kw, _, out_block) = (t[1] for t in tensors)
        depthwise = workload[0].startswith("depthwise")
        data = ("TENSOR", (n, chunks * block, h, w), tensors[0][2])
        kernel = ("TENSOR", (outer * out_block, 1 if depthwise else inner * block, kh, kw), tensors[1][2])
        rest = tuple("NCHW" if isinstance(a, str) and _PACKED.match(a) else a for a in workload[3:])
        return (workload[0], data, kernel, *rest), {"tile_ic": block, "tile_oc": out_block}
    if workload[0] == "dense_pack.x86" and len(tensors[1][1]) == 3:
        outer, k, block = tensors[1][1]
        weight = ("TENSOR", (outer * block, k), tensors[1][2])
        return (workload[0], workload[1], weight, *workload[3:]), {"tile_x": block}
    return workload, {}


def _is_tensor(argument: Any) -> bool:
    return isinstance(argument, (tuple, list)) and len(argument) == 3 and argument[0] == "TENSOR"
