"""Constant folding in numpy.

TVM folds a constant expression by compiling and running it, about a tenth of a second each; a network with batch norm
and packed weights has hundreds. The few operators of weight preparation are folded here in the same precision;
other constant expressions are left to `relay.transform.FoldConstant`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import tvm
from tvm import relay

from ..ir_utils import ModulePass

Folder = Callable[..., "np.ndarray | None"]


def _expand_dims(a: np.ndarray, attrs: tvm.ir.Attrs) -> np.ndarray:
    axis, count = int(attrs["axis"]), int(attrs["num_newaxis"])
    axis = axis if axis >= 0 else axis + a.ndim + 1
    return a.reshape(*a.shape[:axis], *[1] * count, *a.shape[axis:])


def _squeeze(a: np.ndarray, attrs: tvm.ir.Attrs) -> np.ndarray:
    axis = attrs["axis"]
    return np.squeeze(a) if axis is None else np.squeeze(a, tuple(int(x) for x in axis))


def _reshape(a: np.ndarray, attrs: tvm.ir.Attrs) -> np.ndarray | None:
    shape = [int(s) for s in attrs["newshape"]]
    return a.reshape(shape) if all(s > 0 for s in shape) else None


def _transpose(a: np.ndarray, attrs: tvm.ir.Attrs) -> np.ndarray:
    axes = attrs["axes"]
    return np.transpose(a, None if axes is None else [int(x) for x in axes])


def _layout_transform(a: np.ndarray, attrs: tvm.ir.Attrs) -> np.ndarray | None:
    return pack(a, str(attrs["src_layout"]), str(attrs["dst_layout"]))


def pack(a: np.ndarray, source: str, target: str) -> np.ndarray | None:
    """Convert data from plain layout `source` (``OIHW``) to `target` (such as ``OIHW8i16o``); `None` in other cases."""
    if not (source.isalpha() and source.isupper()):
        return None
    parts = re.findall(r"(\d*)([A-Za-z])", target)
    blocks = {axis.upper(): int(n) for n, axis in parts if axis.islower()}
    majors = [axis for _, axis in parts if axis.isupper()]
    if sorted(majors) != sorted(source) or len(blocks) != len(parts) - len(majors):
        return None
    shape: list[int] = []
    place: dict[str, int] = {}
    for axis, extent in zip(source, a.shape, strict=True):
        place[axis] = len(shape)
        factor = blocks.get(axis)
        if factor is None:
            shape.append(extent)
            continue
        if extent % factor:
            return None
        place[axis.lower()] = len(shape) + 1
        shape += [extent // factor, factor]
    return a.reshape(shape).transpose([place[axis] for _, axis in parts])


FOLDERS: dict[str, Folder] = {
    "add": lambda a, b, _: a + b,
    "subtract": lambda a, b, _: a - b if a.dtype != bool else None,
    "multiply": lambda a, b, _: a * b,
    "negative": lambda a, _: np.negative(a) if a.dtype != bool else None,
    "sqrt": lambda a, _: np.sqrt(a),
    "rsqrt": lambda a, _: (1.0 / np.sqrt(a)).astype(a.dtype),
    "divide": lambda a, b, _: a / b if np.issubdtype(a.dtype, np.floating) else None,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "reshape": _reshape,
    "transpose": _transpose,
    "layout_transform": _layout_transform,
}


@tvm.transform.module_pass(opt_level=0, name="CoExecFoldConstant")
class FoldConstants(ModulePass):
    """Fold constants, in numpy if possible, otherwise with TVM."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the folded module, types inferred."""
        out = tvm.IRModule(mod.functions, mod.type_definitions)
        mutator = _Mutator()
        for var, func in mod.functions.items():
            if isinstance(func, relay.Function):
                out[var] = mutator.visit(func)
        return relay.transform.FoldConstant()(out) if mutator.left_over else relay.transform.InferType()(out)


class _Mutator(relay.ExprMutator):
    """Folds calls that numpy supports; `left_over` is true if other constant calls remain."""

    def __init__(self) -> None:
        super().__init__()
        self.left_over = False

    def visit_call(self, call: relay.Call) -> relay.Expr:
        """Visit as `ExprMutator` does, but read no more of a call than is needed: each attribute takes 10 us."""
        old_args, op = list(call.args), call.op
        args = [self.visit(a) for a in old_args]
        is_same = all(new is old or new.same_as(old) for new, old in zip(args, old_args, strict=True))
        is_op = isinstance(op, tvm.ir.Op)
        if not is_op:
            new_op = self.visit(op)
            op, is_same = new_op, is_same and new_op.same_as(op)
        folds = is_op and args and all(isinstance(a, (relay.Constant, relay.Tuple)) for a in args)
        if folds and op.name in FOLDERS and all(isinstance(a, relay.Constant) for a in args):
            arrays = [a.data.numpy() for a in args]
            folded = FOLDERS[op.name](*arrays, call.attrs)
            # Relay's operators keep the dtype; numpy widens some (the square root of an integer).
            if folded is not None and folded.dtype == arrays[0].dtype:
                # Not `ascontiguousarray`, which turns scalars into arrays of rank 1.
                return relay.const(np.asarray(folded, order="C"), dtype=str(folded.dtype))
        self.left_over = self.left_over or bool(folds and all(map(is_constant, args)))
        return call if is_same else relay.Call(op, args, call.attrs, call.type_args, call.span)


def is_constant(expr: relay.Expr) -> bool:
    """Whether an expression consists only of constants and operators, so that it folds."""
    if isinstance(expr, relay.Tuple):
        return all(is_constant(f) for f in expr.fields)
    if isinstance(expr, relay.Call):
        return isinstance(expr.op, tvm.ir.Op) and all(is_constant(a) for a in expr.args)
    if isinstance(expr, relay.TupleGetItem):
        return is_constant(expr.tuple_value)
    return isinstance(expr, relay.Constant)
