"""Extract: the fused kernels of a prepared module, as plain data for the planner.

TVM itself decides which operators form a kernel: a copy of the module, with every call's number in its source span,
goes through `FuseOps`, and the numbers inside a fused function identify the calls of that kernel. The axes along which
a kernel can be split follow from applying the operators' rules backwards from its last operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import tvm
from tvm import relay

from tvm_coexec.core.kernel_graph import Kernel, KernelGraph, Tensor

from ..ir_utils import dims_of
from ..prepare import DEVICE_OPS
from ..prepare.empty import is_empty
from ..rules import SplitMemo, attr_names, cpu_only, flat_args, kind_of, rule_for
from .kernel_axes import DimNames, anchor_of, kernel_axes, tuple_of
from .kernel_reads import count_functions, find_partial_reads


@dataclass
class Extracted:
    """A kernel graph, and the Relay calls of each kernel.

    Attributes
    ----------
    graph : KernelGraph
    calls : list of list of relay.Call
        Calls of each kernel in post order; the last one computes the kernel's value.
    """

    graph: KernelGraph
    calls: list[list[relay.Call]] = field(default_factory=list)


def extract(mod: tvm.IRModule) -> KernelGraph:
    """Extract the kernel graph of a prepared module (see `relay_passes.prepare`)."""
    return extract_with_calls(mod).graph


def extract_with_calls(mod: tvm.IRModule) -> Extracted:
    """Extract the kernel graph together with the calls of each kernel.

    The calls are those of the given module object, which callers must rewrite without a copy; types must be inferred.
    """
    main = mod["main"]
    inputs = tuple((p.name_hint, _tensor(p.checked_type)) for p in main.params)
    obstacle = _obstacle(mod)
    if obstacle:
        return Extracted(KernelGraph((), inputs, (), obstacle))
    order: list[relay.Call] = []
    relay.analysis.post_order_visit(main.body, lambda n: order.append(n) if isinstance(n, relay.Call) else None)
    number = {call: i for i, call in enumerate(order)}
    groups = _fused_groups(main, number)
    owner = {call: g for g, calls in enumerate(groups) for call in calls}
    param_value = {p: -1 - i for i, p in enumerate(main.params)}

    def value_of(expr: relay.Expr) -> list[int]:
        """Return the values that an expression reads, through tuples; constants are not values."""
        if isinstance(expr, relay.Var):
            return [param_value[expr]]
        if isinstance(expr, relay.Call):
            return [owner[expr]]
        if isinstance(expr, relay.TupleGetItem):
            return value_of(expr.tuple_value)
        if isinstance(expr, relay.Tuple):
            return [v for f in expr.fields for v in value_of(f)]
        return []

    memo = SplitMemo()
    names: dict[int, DimNames] = {}
    kernels = []
    for index, calls in enumerate(groups):
        kernels.append(_kernel(index, calls, value_of, names, memo))
        names[index] = {a.dim: a.name for a in kernels[-1].axes if not a.reduces}
    return Extracted(KernelGraph(tuple(kernels), inputs, tuple(value_of(main.body))), groups)


def _obstacle(mod: tvm.IRModule) -> str:
    """Return why the module can't be planned; empty if it can."""
    if len(mod.get_global_vars()) > 1:
        names = ", ".join(sorted(g.name_hint for g in mod.get_global_vars() if g.name_hint != "main"))
        return f"the module has other functions than main ({names})"
    kinds: set[str] = set()
    placed: set[str] = set()

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name in DEVICE_OPS:
            placed.add(node.op.name)
        if isinstance(node, (relay.If, relay.Match, relay.Let, relay.RefCreate, relay.Function)):
            kinds.add(type(node).__name__)
        if isinstance(node, relay.Call) and not isinstance(node.op, tvm.ir.Op):
            kinds.add("calls of functions")

    relay.analysis.post_order_visit(mod["main"].body, visit)
    if placed:
        names = " and ".join(sorted(placed))
        return f"the model itself assigns devices ({names}): remove these operators so that a plan can decide"
    return f"the model has control flow or closures ({', '.join(sorted(kinds))})" if kinds else ""


class _Tagger(relay.ExprMutator):
    """Writes each call's number into its source span."""

    def __init__(self, number: dict[relay.Call, int]):
        super().__init__()
        self.number = number
        self.source = tvm.ir.SourceName("tvm_coexec.extract")

    def visit_call(self, call: relay.Call) -> relay.Expr:
        args = [self.visit(a) for a in call.args]
        n = self.number[call]
        return relay.Call(call.op, args, call.attrs, call.type_args, tvm.ir.Span(self.source, n, n, 0, 0))


def _fused_groups(main: relay.Function, number: dict[relay.Call, int]) -> list[list[relay.Call]]:
    """Return the calls of each fused function, functions in execution order."""
    by_number = {n: call for call, n in number.items()}
    tagged = tvm.IRModule.from_expr(relay.Function(main.params, _Tagger(number).visit(main.body)))
    fused = tvm.transform.Sequential([relay.transform.InferType(), relay.transform.FuseOps()])(tagged)
    groups: list[list[relay.Call]] = []

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, relay.Function):
            tags: list[int] = []
            relay.analysis.post_order_visit(
                node.op.body, lambda n: tags.append(int(n.span.line)) if isinstance(n, relay.Call) else None
            )
            groups.append([by_number[t] for t in sorted(set(tags))])

    relay.analysis.post_order_visit(fused["main"].body, visit)
    found = sum(len(g) for g in groups)
    if found != len(number):
        # opt_level 0 leaves calls unfused: each is a separate kernel
        inside = {c for g in groups for c in g}
        groups += [[c] for c in number if c not in inside]
        groups.sort(key=lambda g: number[g[-1]])
    return groups


def _tensor(ty: tvm.ir.Type) -> Tensor:
    """Convert a tensor type; a dynamic dimension becomes -1."""
    if isinstance(ty, relay.TensorType):
        return Tensor(dims_of(ty), str(ty.dtype))
    return Tensor((), "float32")


def _tensors(ty: tvm.ir.Type) -> tuple[Tensor, ...]:
    if isinstance(ty, tvm.ir.TupleType):
        return tuple(t for f in ty.fields for t in _tensors(f))
    return (_tensor(ty),)


def _kernel(
    index: int,
    calls: list[relay.Call],
    value_of: Callable[[relay.Expr], list[int]],
    names: dict[int, DimNames],
    memo: SplitMemo,
) -> Kernel:
    inside = set(calls)
    root = calls[-1]
    args: dict[relay.Expr, int] = {}
    weight_bytes = 0
    counted: set[relay.Expr] = set()
    for call in calls:
        for arg in flat_args(call):
            if isinstance(arg, relay.Constant):
                if arg not in counted:
                    counted.add(arg)
                    weight_bytes += _tensor(arg.checked_type).nbytes
            elif arg not in inside and tuple_of(arg) not in inside:
                values = value_of(arg)
                if values:
                    args.setdefault(arg, values[0])
    anchor = anchor_of(calls)
    base = dict(
        index=index,
        name="+".join(c.op.name for c in calls),
        op=anchor.op.name,
        attrs=anchor_attrs(anchor),
        # One entry per distinct value; several expressions (tuple fields) may read the same value.
        inputs=tuple(dict.fromkeys(args.values())),
        in_tensors=tuple(t for a in args for t in _tensors(a.checked_type)),
        outputs=_tensors(root.checked_type),
        weight_bytes=weight_bytes,
        kinds=tuple(kind_of(c) for c in calls),
        cpu_only=cpu_only(calls),
    )
    if any(-1 in t.shape for t in base["in_tensors"] + base["outputs"]):
        return Kernel(**base, reason="its shape is dynamic")
    base["flops"] = float(sum(rule_for(c).flops(c) for c in calls))
    base["functions"] = count_functions(calls)
    base["partial_reads"] = find_partial_reads(calls, args)
    if base["cpu_only"]:
        return Kernel(**base, reason=base["cpu_only"])
    if len(base["outputs"]) > 1 or isinstance(root.checked_type, tvm.ir.TupleType):
        return Kernel(**base, reason=f"{root.op.name} returns a tuple")
    if any(is_empty(e) for c in calls for e in (c, *flat_args(c))):
        return Kernel(**base, reason="one of its tensors has no elements")
    axes, reason = kernel_axes(calls, args, names, memo)
    return Kernel(**base, axes=axes, reason=reason)


# Attributes that do not affect cost, or that exist only in some TVM versions.
_NOT_COST = ("out_layout", "out_dtype", "auto_scheduler_rewritten_layout", "meta_schedule_original_shape")


def anchor_attrs(call: relay.Call) -> dict:
    """Return the anchor's attributes as plain JSON values, with its kernel shape."""
    out: dict = {}
    for key in attr_names(call):
        value = getattr(call.attrs, key)
        if value is not None and key not in _NOT_COST:
            out[key] = _plain(value)
    if kind_of(call).is_compute_intensive and isinstance(call.args[1].checked_type, relay.TensorType):
        out["weight_shape"] = list(_tensor(call.args[1].checked_type).shape)
    return out


def _plain(value):
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tvm.tir.IntImm, tvm.tir.FloatImm)):
        return value.value
    if isinstance(value, (list, tuple, tvm.ir.Array)):
        return [_plain(v) for v in value]
    return str(value)
