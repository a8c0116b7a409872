"""Prepare: the model as both devices will see it, before anything is decided.

Parameters become constants and the rewrites that do not depend on a device are done once on the whole model: batch
norm folded into scales, quantised (qnn) operators lowered, constants folded. TVM would do these itself in a
single-target build; after the split it would see only shares. Layouts are left alone: they are each device's choice.
`SimplifyExpr` is left to relay.build, which runs it on the shares anyway: it infers all types anew for every pattern
and would cost more than all passes here together.
"""

from __future__ import annotations

import tvm
from tvm import relay

from .fold import FoldConstants


@tvm.transform.module_pass(opt_level=0, name="CoExecPrepare")
class Prepare:
    """Bind parameters and simplify.

    Parameters
    ----------
    params : dict of str to NDArray, optional
        Weights to bind as constants; the splitter can slice constants at compile time.
    """

    def __init__(self, params: dict | None = None):
        self.params = dict(params or {})

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Returns the prepared module; the input is not changed."""
        main = mod["main"]
        if self.params:
            main = relay.build_module.bind_params_by_name(main, self.params)
        mod = tvm.IRModule(mod.functions, mod.type_definitions)
        mod["main"] = main
        passes = [
            relay.transform.InferType(),
            relay.qnn.transform.Legalize(),
            relay.qnn.transform.CanonicalizeOps(),
            relay.transform.SimplifyInference(),
            relay.transform.CanonicalizeOps(),
            FoldConstants(),
            # the two halves of FoldScaleAxis, which would fold each constant by a compilation of its own
            relay.transform.BackwardFoldScaleAxis(),
            relay.transform.ForwardFoldScaleAxis(),
            FoldConstants(),
        ]
        if _has_let(main):
            passes.append(relay.transform.ToGraphNormalForm())
        passes += [relay.transform.DeadCodeElimination(), relay.transform.InferType()]
        return tvm.transform.Sequential(passes)(mod)


def _has_let(func: relay.Function) -> bool:
    found = False

    def visit(node: relay.Expr) -> None:
        nonlocal found
        found = found or isinstance(node, relay.Let)

    relay.analysis.post_order_visit(func, visit)
    return found
