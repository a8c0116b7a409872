"""Utilities of several passes: their base class, running TVM's passes in sequence, static shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tvm
from tvm import relay


class ModulePass:
    """Base of passes that are written as classes: declares what TVM's `module_pass` decorator adds."""

    if TYPE_CHECKING:

        def __call__(self, mod: tvm.IRModule) -> tvm.IRModule:
            """Run the pass."""
            ...


def run_in_order(
    mod: tvm.IRModule, passes: Sequence[tvm.transform.Pass], ctx: tvm.transform.PassContext
) -> tvm.IRModule:
    """Run passes in order as `tvm.transform.Sequential` does, but without inferring types before every pass.

    Relay's function passes leave their result typed, but `Sequential` still runs the `InferType` that each of them
    requires, which takes longer than the passes for large networks. Passes above the context's level or disabled in it
    are skipped, as in `Sequential`.

    Parameters
    ----------
    mod : IRModule
        A module with types inferred.
    passes : sequence of Pass
    ctx : PassContext

    Returns
    -------
    IRModule
    """
    disabled = {str(name) for name in ctx.disabled_pass}
    for one in passes:
        if one.info.opt_level <= ctx.opt_level and one.info.name not in disabled:
            mod = one(mod)
    return mod


# Types in `dims_of` at most: more than large networks have.
_MOST_TYPES = 4096
_DIMS: dict[int, tuple[relay.TensorType, tuple[int, ...]]] = {}


def dims_of(ty: relay.TensorType) -> tuple[int, ...]:
    """Return the dimensions of a tensor type; -1 for a dynamic one.

    Each dimension takes several calls into TVM, and passes ask for the same types again and again. Types do not change,
    and those whose dimensions are known are kept, so that no other object has their address.
    """
    known = _DIMS.get(ty.handle.value)
    if known is None:
        if len(_DIMS) >= _MOST_TYPES:
            _DIMS.clear()
        dims = tuple(d.value if isinstance(d, tvm.tir.IntImm) else -1 for d in ty.shape[:])
        known = _DIMS[ty.handle.value] = (ty, dims)
    return known[1]


def static_shape(expr: relay.Expr) -> list[int] | None:
    """Return the shape of a typed expression; `None` for tuples and dynamic shapes."""
    ty = expr.checked_type
    dims = dims_of(ty) if isinstance(ty, relay.TensorType) else (-1,)
    return None if -1 in dims else list(dims)
