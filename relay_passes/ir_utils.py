"""What several passes need: the base of passes, and running TVM's passes one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tvm


class ModulePass:
    """Base of passes that are written as classes: says to type checkers what TVM's `module_pass` decorator adds."""

    if TYPE_CHECKING:

        def __call__(self, mod: tvm.IRModule) -> tvm.IRModule:
            """Run the pass."""
            ...


def run_in_order(
    mod: tvm.IRModule, passes: Sequence[tvm.transform.Pass], ctx: tvm.transform.PassContext
) -> tvm.IRModule:
    """What `tvm.transform.Sequential` does, on a typed module, without inferring types before every pass.

    Relay's function passes leave their result typed; `Sequential` nevertheless resolves the `InferType` that each of
    them requires, which for a large network takes longer than the passes. Passes above the context's level or disabled
    in it are left out, as there.

    Parameters
    ----------
    mod : IRModule
        Typed.
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
