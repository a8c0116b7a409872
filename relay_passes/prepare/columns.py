"""Compute convolutions and poolings of columns, maps of width 1, on maps of height 1.

Frameworks write one-dimensional networks with either dimension. TVM's schedules keep neighbours of the last dimension
in registers and vectors, and a column has none: convolutions run up to three times as fast on both kinds of device if
the same numbers are seen as a row, and poolings more than four times on a GPU. A column and a row have the same order
in memory, so that the change costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relay

from ..ir_utils import ModulePass, rewrite_main, static_shape
from ..rules.base import with_args, with_attrs
from ..rules.windows import expand_attr, split_padding
from .height_one import HeightOneRewriter, operator_of

# Attributes with the layout of data and of weights.
_CONVOLUTIONS = {"nn.conv2d": "OIHW", "nn.conv2d_transpose": "IOHW"}
_POOLINGS = frozenset(["nn.max_pool2d", "nn.avg_pool2d"])
OPERATORS = frozenset([*_CONVOLUTIONS, *_POOLINGS])


@tvm.transform.module_pass(opt_level=0, name="CoExecComputeColumnsAsRows")
class ComputeColumnsAsRows(ModulePass):
    """Rewrite the operators of main that `is_rewritten` names, and what follows them."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the rewritten module, or the module itself if it has no such operator. Types must be inferred."""
        return rewrite_main(mod, is_rewritten, _Rewriter)


def is_rewritten(node: relay.Expr) -> bool:
    """Whether a typed expression is a floating-point convolution or pooling, in NCHW, of a column to a column."""
    name = operator_of(node)
    if name not in OPERATORS or not _has_usual_layouts(node, name):
        return False
    shapes = [static_shape(e) for e in (node, *node.args)]
    if any(s is None for s in shapes) or not str(node.checked_type.dtype).startswith("float"):
        return False
    made, data = shapes[0], shapes[1]
    assert made is not None and data is not None
    width = expand_attr(node.attrs.pool_size, 2)[1] if name in _POOLINGS else _kernel_shape(node)[1]
    return made[3] == data[3] == width == 1 and data[2] > 1


def _has_usual_layouts(call: relay.Call, name: str) -> bool:
    attrs = call.attrs
    if name in _POOLINGS:
        return str(attrs.layout) == "NCHW" and str(attrs.out_layout) in ("", "NCHW")
    layouts = str(attrs.data_layout), str(attrs.kernel_layout)
    return layouts == ("NCHW", _CONVOLUTIONS[name]) and str(attrs.out_layout) in ("", "NCHW")


def _kernel_shape(call: relay.Call) -> list[int]:
    return [int(extent) for extent in call.args[1].checked_type.shape[2:]]


class _Rewriter(HeightOneRewriter):
    rank, places = 4, (0, 1, 3, 2)

    def is_rewritten(self, node: relay.Expr) -> bool:
        return is_rewritten(node)

    def is_map(self, shape: Sequence[int]) -> bool:
        return super().is_map(shape) and shape[-1] == 1

    def map_shape(self, shape: Sequence[int]) -> list[int]:
        return [*shape[:-2], shape[-1], shape[-2]]

    def compute(self, call: relay.Call) -> relay.Expr:
        attrs, name = call.attrs, operator_of(call)
        before, after = split_padding(attrs.padding, 2)
        changed = {
            "strides": _swap(attrs.strides),
            "dilation": _swap(attrs.dilation),
            "padding": [*reversed(before), *reversed(after)],
        }
        if name in _POOLINGS:
            changed["pool_size"] = _swap(attrs.pool_size)
        else:
            changed["kernel_size"] = list(reversed(_kernel_shape(call)))
        if name == "nn.conv2d_transpose":
            changed["output_padding"] = _swap(attrs.output_padding)
        return with_args(call, [self.as_map(a) for a in call.args], with_attrs(call, **changed))


def _swap(values: object) -> list[int]:
    return list(reversed(expand_attr(values, 2)))
