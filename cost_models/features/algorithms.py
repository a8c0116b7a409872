"""Names of kernels' algorithms in latency models: the base and its variants (see `workload.VARIANTS`)."""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import Kernel
from tvm_coexec.core.op_kinds import OpKind


def rank_variant(layout: str) -> str:
    """Return ``.1d`` or ``.3d`` for a layout of that many spatial axes; empty for images."""
    axes = sum(letter in "DHW" for letter in layout)
    return f".{axes}d" if axes in (1, 3) else ""


def dtype_variant(kernel: Kernel) -> str:
    """Return ``.int`` or ``.half`` for a convolution or product of such numbers; empty for float32."""
    dtype = kernel.in_tensors[0].dtype if kernel.in_tensors else "float32"
    if dtype.startswith(("int", "uint")):
        return ".int"
    return ".half" if dtype in ("float16", "bfloat16") else ""


def access_pattern(kernel: Kernel) -> str:
    """Return how an injective kernel reads: as it writes, one tensor after another, or at computed indices."""
    if OpKind.RESIZE in kernel.kinds:
        return "moves.resize"
    if OpKind.VIEW in kernel.kinds and "transpose" in kernel.name.split("+"):  # every index is divided
        return "moves.shuffle"
    if {OpKind.VIEW, OpKind.MOVE} & set(kernel.kinds) and not kernel.is_free:
        return "moves.part" if kernel.partial_reads else "moves"
    return "concat" if OpKind.CONCAT in kernel.kinds else "direct"


def reduction_algorithm(kernel: Kernel) -> str:
    """Return what is reduced, and whether along the last axes, whose elements are neighbours in memory."""
    if kernel.kind == OpKind.LRN:
        return kernel.kind.value
    outer = "" if _reduces_last_axes(kernel) else ".outer"
    if kernel.kind == OpKind.SOFTMAX:
        return kernel.kind.value + (".log" if "log" in kernel.op else "") + outer
    if kernel.op.startswith("arg"):
        return "direct.arg" + outer
    return ("direct.scan" if kernel.op.startswith("cum") else "direct") + outer


def _reduces_last_axes(kernel: Kernel) -> bool:
    axis = kernel.attrs.get("axis")
    if axis is None or not kernel.in_tensors:
        return True
    rank = max(len(t.shape) for t in kernel.in_tensors)
    named = {int(a) % rank for a in (axis if isinstance(axis, (list, tuple)) else [axis])} if rank else set()
    axes = set(range(rank)) - named if kernel.attrs.get("exclude") else named
    return axes == set(range(rank - len(axes), rank))
