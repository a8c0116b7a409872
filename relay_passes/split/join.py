"""Join: main after the split.

A call of a chain becomes calls of its shares and one expression that joins their parts: a concatenation, or the
addition of partial sums. If a CPU function is the only reader of a sum and runs next (the rest of the chain's last
kernel, or else the segment after the chain), the addition moves into it, and TVM fuses both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tvm import relay

from tvm_coexec.core.access import Range
from tvm_coexec.core.kernel_graph import REDUCED

from ..attrs import attrs_of, is_sum
from ..extract.kernel_axes import tuple_of
from ..rules import shape_of, slice_expr


@dataclass
class Share:
    """One device's function, its inputs (index, dim, range), and the results that it computes."""

    var: relay.GlobalVar
    func: relay.Function
    inputs: list[tuple[int, int, Range | None]]
    results: list[int]


class Divided(Protocol):
    """The joiner's view of a chain."""

    func: relay.Function
    dims: list[int]
    shares: list[Share]


class Joiner(relay.ExprMutator):
    """Rewrites the body of main.

    Parameters
    ----------
    main : relay.Function
    chains : dict of GlobalVar to Divided
    others : dict of GlobalVar to relay.Function
        The other functions that main calls. Afterwards `functions` holds them, some with an addition inside.
    """

    def __init__(
        self,
        main: relay.Function,
        chains: Mapping[relay.GlobalVar, Divided],
        others: dict[relay.GlobalVar, relay.Function],
    ):
        super().__init__()
        self.chains, self.others = chains, others
        self.functions = dict(others)
        self.joined: dict[relay.Call, list[relay.Expr]] = {}
        self.readers = _count_readers(main)

    def visit_tuple_getitem(self, item: relay.TupleGetItem) -> relay.Expr:
        """Replace an output of a chain by its joined parts."""
        if isinstance(item.tuple_value, relay.Call) and item.tuple_value.op in self.chains:
            return self._join(item.tuple_value)[item.index]
        return super().visit_tuple_getitem(item)

    def visit_call(self, call: relay.Call) -> relay.Expr:
        """Replace a call of a chain by its joined parts."""
        if call.op not in self.chains:
            return self._add_inside(call)
        parts = self._join(call)
        return parts[0] if len(parts) == 1 else relay.Tuple(parts)

    def _join(self, call: relay.Call) -> list[relay.Expr]:
        if call in self.joined:
            return self.joined[call]
        chain = self.chains[call.op]
        args = [self.visit(a) for a in call.args]
        parts: dict[int, list[relay.Expr]] = {}
        for share in chain.shares:
            given = []
            for i, dim, r in share.inputs:
                given.append(args[i] if r is None else slice_expr(args[i], dim, r, shape_of(call.args[i])[dim]))
            made = relay.Call(share.var, given)
            for n, result in enumerate(share.results):
                parts.setdefault(result, []).append(made if len(share.results) == 1 else relay.TupleGetItem(made, n))
        self.joined[call] = [_join_parts(p, chain.dims[i]) for i, p in sorted(parts.items())]
        return self.joined[call]

    def _add_inside(self, call: relay.Call) -> relay.Call:
        """Rewrite the call of a function; if it is the only reader of a sum, move the addition into it."""
        func = self.others[call.op]
        params: list[relay.Var] = []
        given: list[relay.Expr] = []
        values: dict[relay.Var, relay.Expr] = {}
        for param, arg in zip(func.params, call.args, strict=True):
            new = self.visit(arg)
            if is_sum(new) and self._may_add(arg, func):
                parts = [relay.Var(f"{param.name_hint}_{d}", param.checked_type) for d in ("gpu", "cpu")]
                values[param] = relay.add(*parts)
                params += parts
                given += new.args
            else:
                params.append(param)
                given.append(new)
        if not values:
            return relay.Call(call.op, given)
        var = relay.GlobalVar(call.op.name_hint)
        del self.functions[call.op]
        self.functions[var] = relay.Function(params, relay.bind(func.body, values), func.ret_type, [], func.attrs)
        return relay.Call(var, given)

    def _may_add(self, expr: relay.Expr, func: relay.Function) -> bool:
        """Whether a CPU function is the sum's only reader and runs next, so that fusing the addition delays nothing."""
        chain, reader = attrs_of(self.chains[tuple_of(expr).op].func), attrs_of(func)
        return self.readers[_value_key(expr)] == 1 and reader.device == "cpu" and reader.segment - chain.segment <= 1


def _value_key(expr: relay.Expr) -> tuple[relay.Expr, int]:
    """Return a key for a value of main: equal for repeated field expressions of one tuple."""
    return (expr.tuple_value, expr.index) if isinstance(expr, relay.TupleGetItem) else (expr, 0)


def _count_readers(main: relay.Function) -> dict[tuple[relay.Expr, int], int]:
    """Count the calls that read each value of main; main's result counts as one reader."""
    count: dict[tuple[relay.Expr, int], int] = {}

    def read(expr: relay.Expr) -> None:
        if isinstance(expr, relay.Tuple):
            for f in expr.fields:
                read(f)
        else:
            count[_value_key(expr)] = count.get(_value_key(expr), 0) + 1

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call):
            for a in node.args:
                read(a)

    relay.analysis.post_order_visit(main.body, visit)
    read(main.body)
    return count


def _join_parts(parts: list[relay.Expr], dim: int) -> relay.Expr:
    """Join the parts of a result."""
    if len(parts) == 1:
        return parts[0]
    return relay.add(*parts) if dim == REDUCED else relay.concatenate(parts, axis=dim)
