"""What a split rule is, and the table of rules by operator.

A rule knows two things of one operator: which part of each argument a range of the output needs (`splits`), and how
to write the operator down for that range (`rebuild`). All of chain building, halo, planning and splitting follows
from these two. What an operator costs is known by its rule, too: its `kind` and its `flops`. So a new operator is one
rule. An operator that must not run on a GPU at all says so (`cpu_only`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import tvm
from tvm import relay

from tvm_coexec.core.access import AccessMap, Range
from tvm_coexec.core.kernel_graph import REDUCED
from tvm_coexec.core.op_kinds import OpKind


@dataclass(frozen=True)
class ArgAccess:
    """What an output range needs of one argument: a range of this dimension, through this map."""

    dim: int
    map: AccessMap

    def apply(self, lo: int, hi: int) -> Range:
        """Range of the argument that the output range ``[lo, hi)`` needs."""
        return self.map.apply(lo, hi)


@dataclass(frozen=True)
class OpSplit:
    """One way to divide an operator's output: per (flattened) argument its need, `None` for the whole argument."""

    needs: tuple[ArgAccess | None, ...]
    granule: int = 1


class Refusal(Exception):
    """The operator can't be divided; the text says why."""


class Rule:
    """Base of all rules, and the rule of an operator that has none. Methods take a Relay call whose type is inferred.

    Attributes
    ----------
    kind : OpKind
        What the operator does, as far as its cost goes.
    """

    kind: OpKind = OpKind.ELEMENTWISE

    def flops(self, call: relay.Call) -> float:
        """Floating-point operations, one multiply-add counted as two.

        One for each element of the output, unless a rule knows better; what only moves data has none.
        """
        return 0.0 if self.kind.only_moves else elements(call)

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Output dimension -> how it divides. Raises `Refusal` where nothing divides.

        An operator that sums up products can also be divided along that sum: the key is then `REDUCED`, a range is one
        of summands, each share is a partial sum of the whole output, and the first argument has a need.
        """
        raise Refusal(f"no split rule for operator {call.op.name}")

    def cpu_only(self, call: relay.Call) -> str:
        """Why the operator must not run on a GPU (TVM's implementation there is wrong, say); empty when it may.

        It holds for shares as well: a kernel with such an operator is not divided and stays on the CPU. The text ends
        a sentence that names the kernel, and is in the plan's notes and the report.
        """
        return ""

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """The operator for the output range `r` along `dim`; `args[i]` holds `ranges[i]` (or all when `None`)."""
        return with_args(call, args)


RULES: dict[str, Rule] = {}
_UNKNOWN = Rule()


def rule(*names: str) -> Callable[[type[Rule]], type[Rule]]:
    """Class decorator: one instance of the class serves these operators."""

    def register(cls: type[Rule]) -> type[Rule]:
        instance = cls()
        for name in names:
            if name in RULES:
                raise ValueError(f"operator {name} already has a split rule")
            RULES[name] = instance
        return cls

    return register


def rule_for(call: relay.Call) -> Rule:
    """The rule of a call's operator, `Rule` itself for an operator without one; raises `Refusal` for other calls."""
    if not isinstance(call.op, tvm.ir.Op):
        raise Refusal("it is not a call of an operator")
    return RULES.get(call.op.name, _UNKNOWN)


def kind_of(call: relay.Call) -> OpKind:
    """The kind of a call's operator; a function that is called, not an operator, is of another kind than all others."""
    return rule_for(call).kind if isinstance(call.op, tvm.ir.Op) else OpKind.OTHER


def cpu_only(calls: Sequence[relay.Call]) -> str:
    """Why a kernel made of these calls must stay on the CPU (see `Rule.cpu_only`); empty when it may run on a GPU."""
    return next((why for c in calls if (why := rule_for(c).cpu_only(c))), "")


def extent_along(call: relay.Call, dim: int, split: OpSplit) -> int:
    """Rows of the output along `dim`; for `REDUCED` the number of summands."""
    if dim != REDUCED:
        return shape_of(call)[dim]
    assert split.needs[0] is not None
    return split.needs[0].map.extent


class SplitMemo(dict):
    """`splits` of each call, computed once; lives as long as the pass that asks."""

    def __missing__(self, call: relay.Call) -> dict[int, OpSplit]:
        self[call] = found = rule_for(call).splits(call)
        return found


def flat_args(call: relay.Call) -> list[relay.Expr]:
    """Arguments with literal tuples (concatenate) spread out."""
    out: list[relay.Expr] = []
    for arg in call.args:
        out.extend(arg.fields if isinstance(arg, relay.Tuple) else [arg])
    return out


def with_args(call: relay.Call, args: Sequence[relay.Expr], attrs: object | None = None) -> relay.Call:
    """The call with new flattened arguments (and attributes), keeping its tuples."""
    rest = list(args)
    new: list[relay.Expr] = []
    for arg in call.args:
        if isinstance(arg, relay.Tuple):
            n = len(arg.fields)
            new.append(relay.Tuple(rest[:n]))
            rest = rest[n:]
        else:
            new.append(rest.pop(0))
    return relay.Call(call.op, new, call.attrs if attrs is None else attrs, call.type_args)


def with_attrs(call: relay.Call, **changes: object) -> object:
    """The call's attributes with some changed."""
    fields = {name: getattr(call.attrs, name) for name in attr_names(call)}
    fields.update(changes)
    return tvm.ir.make_node(call.op.attrs_type_key, **fields)


def attr_names(call: relay.Call) -> list[str]:
    """Names of a call's attributes; also of operators whose attributes TVM gives no Python class."""
    if call.attrs is None:
        return []
    return [str(f.name) for f in tvm.ir.Attrs.list_field_info(call.attrs)]  # plain str for the FFI


def shape_of(expr: relay.Expr) -> list[int]:
    """Static shape of a tensor expression; raises `Refusal` for dynamic shapes and tuples."""
    ty = expr.checked_type
    if not isinstance(ty, relay.TensorType):
        raise Refusal("it works on a tuple")
    shape = []
    for d in ty.shape:
        if not isinstance(d, tvm.tir.IntImm):
            raise Refusal("its shape is dynamic")
        shape.append(int(d))
    return shape


def elements(expr: relay.Expr) -> float:
    """Number of elements of a tensor; 0 of a tuple."""
    return float(prod(shape_of(expr))) if isinstance(expr.checked_type, relay.TensorType) else 0.0


def ints(values: object) -> list[int]:
    """Attribute (an int or an array of ints) as a list."""
    if isinstance(values, (int, tvm.tir.IntImm)):
        return [int(values)]
    return [int(v) for v in values]  # type: ignore[attr-defined]


def slice_expr(expr: relay.Expr, dim: int, r: Range, extent: int) -> relay.Expr:
    """`expr[..., lo:hi, ...]` along `dim`; constants are sliced here and now, a full range is the expression itself."""
    if r == (0, extent):
        return expr
    if isinstance(expr, relay.Constant):
        data = expr.data.numpy()
        index = [slice(None)] * data.ndim
        index[dim] = slice(*r)
        return relay.const(data[tuple(index)].copy(), dtype=str(data.dtype))
    return relay.strided_slice(expr, begin=[r[0]], end=[r[1]], axes=[dim])
