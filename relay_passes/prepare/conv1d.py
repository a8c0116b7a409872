"""Compute one-dimensional convolutions as two-dimensional ones of height 1.

TVM has better schedules for `nn.conv2d` on both kinds of device: blocked layouts and vectors of channels on a CPU,
templates that keep the whole window in local memory on a GPU. Kernels wider than one element run up to eight times as
fast. A kernel of width 1 is a matrix product, for which the schedules of `nn.conv1d` are as good; it stays. Transposed
convolutions run up to fourteen times as fast; TVM has no schedule for a CPU that is made for those of signals.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relay

from ..ir_utils import ModulePass, rewrite_main, static_shape
from ..rules.base import int_list
from ..rules.windows import split_padding
from .height_one import HeightOneRewriter, operator_of

# With the layout of weights.
OPERATORS = {"nn.conv1d": "OIW", "nn.conv1d_transpose": "IOW"}


@tvm.transform.module_pass(opt_level=0, name="CoExecComputeConv1dAs2d")
class ComputeConv1dAs2d(ModulePass):
    """Rewrite the convolutions of main that `is_rewritten` names, and what follows them."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the rewritten module, or the module itself if it has no such convolution. Types must be inferred."""
        return rewrite_main(mod, is_rewritten, _Rewriter)


def is_rewritten(node: relay.Expr) -> bool:
    """Whether a typed expression is a floating-point convolution of a signal, in NCW, of static shape.

    Kernels of `nn.conv1d` are wider than 1.
    """
    name = operator_of(node)
    if name not in OPERATORS:
        return False
    attrs = node.attrs
    layouts = str(attrs.data_layout), str(attrs.kernel_layout)
    if layouts != ("NCW", OPERATORS[name]) or str(attrs.out_layout) not in ("", "NCW"):
        return False
    if any(static_shape(e) is None for e in (node, *node.args)):
        return False
    wide = name != "nn.conv1d" or int(node.args[1].checked_type.shape[2]) > 1
    return wide and str(node.checked_type.dtype).startswith("float")


class _Rewriter(HeightOneRewriter):
    rank, places = 3, (0, 1, 3)

    def is_rewritten(self, node: relay.Expr) -> bool:
        return is_rewritten(node)

    def map_shape(self, shape: Sequence[int]) -> list[int]:
        return [*shape[:-1], 1, shape[-1]]

    def compute(self, call: relay.Call) -> relay.Expr:
        attrs = call.attrs
        (before,), (after,) = split_padding(attrs.padding, 1)
        common = {
            "strides": (1, *int_list(attrs.strides)),
            "padding": (0, before, 0, after),
            "dilation": (1, *int_list(attrs.dilation)),
            "groups": int(attrs.groups),
            "channels": int(call.checked_type.shape[1]),
            "kernel_size": (1, int(call.args[1].checked_type.shape[2])),
            "out_dtype": attrs.out_dtype,
        }
        data, weight = map(self.as_map, call.args)
        if operator_of(call) == "nn.conv1d":
            return relay.nn.conv2d(data, weight, **common)
        layout, output_padding = "IOHW", (0, *int_list(attrs.output_padding))
        return relay.nn.conv2d_transpose(data, weight, **common, kernel_layout=layout, output_padding=output_padding)
