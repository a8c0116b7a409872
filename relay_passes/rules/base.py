"""Base class of split rules, and the table of rules by operator.

A rule states which range of each argument a range of the output reads (`splits`), and rewrites the operator for such a
range (`rebuild`). Chains, halo rows, plans and the split pass follow from these two. A rule also states what cost
models need (`kind`, `flops`, `functions`, `reads`) and whether the operator must stay on the CPU (`cpu_only`). So a new
operator is one rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import tvm
from tvm import relay

from tvm_coexec.core.access import AccessMap, Range
from tvm_coexec.core.kernel_graph import REDUCED, dtype_bytes
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.core.partial_reads import CACHE_LINE_BYTES

from ..ir_utils import dims_of


@dataclass(frozen=True)
class ArgAccess:
    """The range of one argument that an output range reads: along dimension `dim`, given by `map`."""

    dim: int
    map: AccessMap

    def apply(self, lo: int, hi: int) -> Range:
        """Return the range of the argument that the output range ``[lo, hi)`` reads."""
        return self.map.apply(lo, hi)


@dataclass(frozen=True)
class OpSplit:
    """One way to split an operator's output.

    Attributes
    ----------
    needs : tuple of ArgAccess or None
        The access to each (flattened) argument; `None` if the whole argument is read.
    granule : int
        Group multiple: ranges are widened to multiples of it.
    """

    needs: tuple[ArgAccess | None, ...]
    granule: int = 1


class NotSplittable(Exception):
    """An operator can't be split; the text states the reason."""


class Rule:
    """Base of all rules, and the rule of operators without one. Methods take a Relay call whose types are inferred.

    Attributes
    ----------
    kind : OpKind
        What the operator does, as cost models see it.
    """

    kind: OpKind = OpKind.ELEMENTWISE

    def flops(self, call: relay.Call) -> float:
        """Count floating-point operations, a multiply-add as two.

        The default is one per element of the output, and none for operators that only move data.
        """
        return 0.0 if self.kind.only_moves else count_elements(call)

    def functions(self, call: relay.Call) -> dict[str, float]:
        """Count evaluations of special functions, by name (see `core.special_functions`).

        The default is none. They are not in `flops`, where such an operator has one for each element.
        """
        return {}

    def reads(self, call: relay.Call) -> tuple[float | None, ...]:
        """Count the elements of each (flattened) argument that the whole operator accesses; `None` if it reads all.

        An element that is accessed twice counts twice. Memory is read in cache lines: see `count_accesses`.
        """
        return (None,) * len(flat_args(call))

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Return how the operator splits along each output dimension; raise `NotSplittable` if it can't be split.

        The key `REDUCED` stands for the reduction axis of a matrix product or convolution: ranges are then ranges of
        summands, each share is a partial sum of the whole output, and the first argument has an access.
        """
        raise NotSplittable(f"no split rule for operator {call.op.name}")

    def cpu_only(self, call: relay.Call) -> str:
        """Return why the operator must not run on a GPU, such as a wrong implementation in TVM; empty if it may.

        A kernel with such an operator is not split and stays on the CPU. The text ends a sentence that names the
        kernel, in the plan's notes and in the report.
        """
        return ""

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Rewrite the operator for the output range `r` along `dim`.

        ``args[i]`` holds ``ranges[i]`` of argument `i`, or all of it if that is `None`.
        """
        return with_args(call, args)


RULES: dict[str, Rule] = {}
_UNKNOWN = Rule()


def rule(*names: str) -> Callable[[type[Rule]], type[Rule]]:
    """Register one instance of the decorated class as the rule of the named operators."""

    def register(cls: type[Rule]) -> type[Rule]:
        instance = cls()
        for name in names:
            if name in RULES:
                raise ValueError(f"operator {name} already has a split rule")
            RULES[name] = instance
        return cls

    return register


def rule_for(call: relay.Call) -> Rule:
    """Return the rule of a call's operator (`Rule` itself if it has none); raise `NotSplittable` for other calls."""
    op = call.op
    if not isinstance(op, tvm.ir.Op):
        raise NotSplittable("it is not a call of an operator")
    return RULES.get(op.name, _UNKNOWN)


def kind_of(call: relay.Call) -> OpKind:
    """Return the kind of a call's operator; calls of functions have the kind `OTHER`."""
    return rule_for(call).kind if isinstance(call.op, tvm.ir.Op) else OpKind.OTHER


def cpu_only(calls: Sequence[relay.Call]) -> str:
    """Return why a kernel of these calls must stay on the CPU (see `Rule.cpu_only`); empty if it may run on a GPU."""
    return next((why for c in calls if (why := rule_for(c).cpu_only(c))), "")


def extent_along(call: relay.Call, dim: int, split: OpSplit) -> int:
    """Return the output's size along `dim`; for `REDUCED` the number of summands."""
    if dim != REDUCED:
        return shape_of(call)[dim]
    assert split.needs[0] is not None
    return split.needs[0].map.extent


class SplitMemo(dict):
    """Cache of `Rule.splits` by call. Each pass makes its own."""

    def __missing__(self, call: relay.Call) -> dict[int, OpSplit]:
        self[call] = found = rule_for(call).splits(call)
        return found


def flat_args(call: relay.Call) -> list[relay.Expr]:
    """Return the arguments of a call, literal tuples (as of concatenate) replaced by their fields."""
    out: list[relay.Expr] = []
    for arg in call.args[:]:  # a slice takes one call into TVM for each element, iteration three
        out.extend(arg.fields[:] if isinstance(arg, relay.Tuple) else [arg])
    return out


def with_args(call: relay.Call, args: Sequence[relay.Expr], attrs: object | None = None) -> relay.Call:
    """Replace a call's flattened arguments (and attributes); tuples stay tuples."""
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
    """Return a copy of the call's attributes with some changed."""
    fields = {name: getattr(call.attrs, name) for name in attr_names(call)}
    fields.update(changes)
    return tvm.ir.make_node(call.op.attrs_type_key, **fields)


def attr_names(call: relay.Call) -> list[str]:
    """Return the names of a call's attributes, also for attribute types without a Python class in TVM."""
    if call.attrs is None:
        return []
    op = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
    names = _ATTR_NAMES.get(op)
    if names is None:
        names = [str(f.name) for f in tvm.ir.Attrs.list_field_info(call.attrs)]  # plain str for the FFI
        if op:
            _ATTR_NAMES[op] = names
    return list(names)


_ATTR_NAMES: dict[str, list[str]] = {}  # by operator, whose attributes are always of one type


def shape_of(expr: relay.Expr) -> list[int]:
    """Return the static shape of a tensor; raise `NotSplittable` for dynamic shapes and tuples."""
    ty = expr.checked_type
    if not isinstance(ty, relay.TensorType):
        raise NotSplittable("it works on a tuple")
    shape = dims_of(ty)
    if -1 in shape:
        raise NotSplittable("its shape is dynamic")
    return list(shape)


def count_elements(expr: relay.Expr) -> float:
    """Count the elements of a tensor; 0 for a tuple."""
    return float(prod(shape_of(expr))) if isinstance(expr.checked_type, relay.TensorType) else 0.0


def count_accesses(times: float, data: relay.Expr, run: int, step: int | None = None) -> float:
    """Count the elements of the cache lines that `times` accesses to runs of elements touch.

    Parameters
    ----------
    times : float
    data : relay.Expr
        The tensor that is accessed.
    run : int
        Consecutive elements of each access.
    step : int, optional
        Elements from the beginning of one run to that of the next; unknown for lookups.
    """
    line = CACHE_LINE_BYTES // dtype_bytes(str(data.checked_type.dtype))
    touched = max(run, line)
    return times * (touched if step is None else min(touched, step))


def int_list(values: object) -> list[int]:
    """Convert an attribute, an integer or an array of integers, to a list."""
    if isinstance(values, (int, tvm.tir.IntImm)):
        return [int(values)]
    return [int(v) for v in values]  # type: ignore[attr-defined]


def slice_expr(expr: relay.Expr, dim: int, r: Range, extent: int) -> relay.Expr:
    """Slice an expression along `dim`: constants at once, other expressions by an operator, a full range not at all."""
    if r == (0, extent):
        return expr
    if isinstance(expr, relay.Constant):
        data = expr.data.numpy()
        index = [slice(None)] * data.ndim
        index[dim] = slice(*r)
        return relay.const(data[tuple(index)].copy(), dtype=str(data.dtype))
    return relay.strided_slice(expr, begin=[r[0]], end=[r[1]], axes=[dim])
