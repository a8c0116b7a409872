"""Prevent TVM from merging parallel operators of a let chain.

At optimisation level 4 relay.build combines three or more convolutions or matrix products that read the same value
into one. After the split these may be shares of different chains, which the plan runs at different times; and the
merged weights are a new constant expression, which TVM can't fold on the GPU. TVM recognises such a
group by its common argument, and does not look through the variables of a let. So each member reads the value through a
variable of its own, ``let mine = common``, for which the executor runs nothing. A common argument that has no variable
yet is bound to one; it ends a fused kernel anyway, because several operators read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import tvm
from tvm import relay

Binding = tuple[relay.Var, relay.Expr]

_MERGED_OPS = ("nn.conv2d", "nn.dense", "nn.batch_matmul")
# TVM does not merge fewer branches.
_MIN_BRANCHES = 3


def keep_apart(binds: Sequence[Binding]) -> list[Binding]:
    """Give each of several parallel convolutions or matrix products its own argument variable.

    Parameters
    ----------
    binds : sequence of (relay.Var, relay.Expr)
        The variables of a let chain, in order, and their values; each ``on_device`` holds work of one device.

    Returns
    -------
    list of (relay.Var, relay.Expr)
        The same computation, with additional variables for such branches.
    """
    branches: Counter[tuple[str, relay.Expr]] = Counter()
    for _, value in binds:
        relay.analysis.post_order_visit(
            value, lambda n: branches.update([(n.op.name, n.args[0])] if _merges(n) else [])
        )
    common = {key for key, count in branches.items() if count >= _MIN_BRANCHES}
    if not common:
        return list(binds)
    out: list[Binding] = []
    for var, value in binds:
        apart = _Apart(common, var.name_hint, value)
        new = apart.visit(value)
        out += [*apart.binds, (var, new)]
    return out


def _merges(node: relay.Expr) -> bool:
    return isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name in _MERGED_OPS


class _Apart(relay.ExprMutator):
    """Rewrites the value of one variable; `binds` collects the bindings that must precede it."""

    def __init__(self, common: set[tuple[str, relay.Expr]], name: str, value: relay.Expr):
        super().__init__()
        self.common, self.name, self.outer = common, name, value
        self.args = {arg for _, arg in common if not isinstance(arg, relay.Var)}
        self.binds: list[Binding] = []

    def visit(self, expr: relay.Expr) -> relay.Expr:
        if expr not in self.args or expr in self.memo_map:
            return super().visit(expr)
        # bound on the same device as the value that contains it, for all its readers
        bound = self._bind(relay.Call(self.outer.op, [super().visit(expr)], self.outer.attrs))
        self.memo_map[expr] = bound
        return bound

    def visit_call(self, call: relay.Call) -> relay.Expr:
        new = super().visit_call(call)
        if not _merges(call) or (call.op.name, call.args[0]) not in self.common:
            return new
        return relay.Call(new.op, [self._bind(new.args[0]), *new.args[1:]], new.attrs, new.type_args)

    def visit_var(self, var: relay.Var) -> relay.Var:
        return var

    def _bind(self, value: relay.Expr) -> relay.Var:
        var = relay.var(f"{self.name}_{len(self.binds) + 1}")
        self.binds.append((var, value))
        return var
