"""Names of kernels and inputs that fit into a box."""

from __future__ import annotations

from tvm_coexec.core.kernel_graph import Kernel
from tvm_coexec.core.texts import shorten

LONGEST = 11  # characters
_SHORT = {"concatenate": "concat", "batch_matmul": "batch mm", "global_avg_pool2d": "avg pool"}
# Ranks of operators: a fused kernel without a compute-intensive anchor is named by its first operator of the lowest
# rank. Windowed and axis-wise operators describe it better than elementwise ones, and these better than data movement.
_OVER_AN_AXIS = ("pool", "softmax", "norm", "lrn", "resize", "upsampling", "sort", "topk", "argmax", "argmin")
_REDUCTIONS = ("sum", "mean", "max", "min", "prod", "variance", "all", "any")
_JOINS = ("concatenate", "stack")
_FUNCTIONS = ("erf", "exp", "log", "tanh", "sigmoid", "sqrt", "rsqrt", "power", "sin", "cos", "prelu", "leaky_relu")
_MOVES = (
    "reshape", "transpose", "copy", "squeeze", "expand_dims", "cast", "pad", "strided_slice", "split", "batch_flatten",
    "layout_transform", "broadcast_to", "tile", "repeat", "reverse", "contrib_reverse_reshape", "reinterpret",
)  # fmt: skip


def name_kernel(kernel: Kernel) -> str:
    """Name a kernel by its anchor operator, in about `LONGEST` characters.

    Parameters
    ----------
    kernel : Kernel
        A fused kernel is named by its convolution or matrix product, or else by the operator that dominates its cost.
    """
    last = main_operator(kernel)
    if "conv" in last:
        size = "x".join(map(str, kernel.attrs.get("kernel_size") or ()))
        groups = kernel.attrs.get("groups") or 1
        is_depthwise = groups > 1 and groups == kernel.outputs[0].shape[1]
        last = "dw" if is_depthwise else "deconv" if "transpose" in last else "conv"
        return f"{last} {size}".strip()
    return crop(_SHORT.get(last, last.removesuffix("2d").replace("_", " ")))


def main_operator(kernel: Kernel) -> str:
    """Return the operator that names a kernel, without its namespace: the anchor, if it is compute-intensive."""
    anchor = _plain(kernel.op)
    if kernel.is_heavy:
        return anchor
    names = [_plain(op) for op in kernel.name.split("+") if op] or [anchor]
    return min(names, key=_rank)


def crop(name: str) -> str:
    """Shorten a name to `LONGEST` characters, with an ellipsis in the middle."""
    return shorten(name, LONGEST)


def _plain(op: str) -> str:
    return op.split(".")[-1]


def _rank(op: str) -> int:
    if op in _REDUCTIONS or any(word in op for word in _OVER_AN_AXIS):
        return 1
    if op in _JOINS:
        return 2
    if op in _FUNCTIONS:
        return 3
    return 5 if op in _MOVES else 4
