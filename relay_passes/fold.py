"""Constant folding in numpy.

TVM folds a constant expression by compiling and running it, about a tenth of a second each; a network with batch norm
and packed weights has hundreds. The few operators that weight preparation is made of are folded here in the same
precision; whatever else is constant is left to `relay.transform.FoldConstant`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import tvm
from tvm import relay

Folder = Callable[..., "np.ndarray | None"]


def _expand_dims(a: np.ndarray, attrs) -> np.ndarray:
    axis, count = int(attrs["axis"]), int(attrs["num_newaxis"])
    axis = axis if axis >= 0 else axis + a.ndim + 1
    return a.reshape(*a.shape[:axis], *[1] * count, *a.shape[axis:])


def _squeeze(a: np.ndarray, attrs) -> np.ndarray:
    axis = attrs["axis"]
    return np.squeeze(a) if axis is None else np.squeeze(a, tuple(int(x) for x in axis))


def _reshape(a: np.ndarray, attrs) -> np.ndarray | None:
    shape = [int(s) for s in attrs["newshape"]]
    return a.reshape(shape) if all(s > 0 for s in shape) else None


def _transpose(a: np.ndarray, attrs) -> np.ndarray:
    axes = attrs["axes"]
    return np.transpose(a, None if axes is None else [int(x) for x in axes])


def _layout_transform(a: np.ndarray, attrs) -> np.ndarray | None:
    return pack(a, str(attrs["src_layout"]), str(attrs["dst_layout"]))


def pack(a: np.ndarray, source: str, target: str) -> np.ndarray | None:
    """Data in layout `target` (such as ``OIHW8i16o``) from plain `source` (``OIHW``); `None` for other cases."""
    if not (source.isalpha() and source.isupper()):
        return None
    parts = re.findall(r"(\d*)([A-Za-z])", target)
    blocks = {axis.upper(): int(n) for n, axis in parts if axis.islower()}
    majors = [axis for _, axis in parts if axis.isupper()]
    if sorted(majors) != sorted(source) or len(blocks) != len(parts) - len(majors):
        return None
    shape, place = [], {}
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
    "subtract": lambda a, b, _: a - b,
    "multiply": lambda a, b, _: a * b,
    "negative": lambda a, _: -a,
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
class FoldConstants:
    """Fold constants: in numpy where possible, by TVM where not."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Returns the folded module, types inferred."""
        out = tvm.IRModule(mod.functions, mod.type_definitions)
        for var, func in mod.functions.items():
            if isinstance(func, relay.Function):
                out[var] = _Mutator().visit(func)
        return tvm.transform.Sequential([relay.transform.FoldConstant(), relay.transform.InferType()])(out)


class _Mutator(relay.ExprMutator):
    def visit_call(self, call: relay.Call) -> relay.Expr:
        new = super().visit_call(call)
        if not isinstance(new.op, tvm.ir.Op) or new.op.name not in FOLDERS:
            return new
        if not new.args or not all(isinstance(a, relay.Constant) for a in new.args):
            return new
        folded = FOLDERS[new.op.name](*(a.data.numpy() for a in new.args), new.attrs)
        return new if folded is None else relay.const(np.ascontiguousarray(folded), dtype=str(folded.dtype))
