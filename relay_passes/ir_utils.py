"""Utilities of several passes: their base class, running passes in sequence, rewriting main, static shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def rewrite_main(
    mod: tvm.IRModule, is_found: Callable[[relay.Expr], object], rewriter: Callable[[], relay.ExprMutator]
) -> tvm.IRModule:
    """Rewrite main and infer its types, if it has anything to rewrite.

    Parameters
    ----------
    mod : IRModule
        A module with types inferred.
    is_found : callable
        Whether an expression is to be rewritten; its result counts as a condition.
    rewriter : callable
        Returns the mutator.

    Returns
    -------
    IRModule
        A new module, or `mod` itself if nothing is found.
    """
    found: list[relay.Expr] = []
    relay.analysis.post_order_visit(mod["main"].body, lambda n: found.append(n) if is_found(n) else None)
    if not found:
        return mod
    out = tvm.IRModule(mod.functions, mod.type_definitions)
    out.update_func(mod.get_global_var("main"), rewriter().visit(mod["main"]))
    return relay.transform.InferType()(out)


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
