"""Inline: put segment functions back into main.

After `outline` or `split` main calls one global function per segment or share. Inlining restores a plain main, for
tests, for a build on a single device, and for readable output.
"""

from __future__ import annotations

import tvm
from tvm import relay


def inline_functions(mod: tvm.IRModule) -> tvm.IRModule:
    """Replace every call of a global function by the function's body.

    Parameters
    ----------
    mod : tvm.IRModule
        A module without recursive functions.

    Returns
    -------
    tvm.IRModule
        A module with only main; types are inferred.
    """
    main = mod["main"]
    body = _Inliner(mod).visit(main.body)
    out = tvm.IRModule({}, mod.type_definitions)
    out["main"] = relay.Function(main.params, body, main.ret_type, [], main.attrs)
    return relay.transform.InferType()(out)


class _Inliner(relay.ExprMutator):
    def __init__(self, mod: tvm.IRModule):
        super().__init__()
        self.mod = mod

    def visit_call(self, call: relay.Call) -> relay.Expr:
        if not isinstance(call.op, relay.GlobalVar):
            return super().visit_call(call)
        func = self.mod[call.op]
        # The body is visited before arguments are substituted: a mutator would duplicate shared values in them.
        args = [self.visit(a) for a in call.args]
        return relay.bind(self.visit(func.body), dict(zip(func.params, args, strict=True)))

    def visit_var(self, var: relay.Var) -> relay.Expr:
        return var
