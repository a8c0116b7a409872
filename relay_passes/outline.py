"""Outline: write the plan's decisions into the IR.

Every segment becomes a global function that main calls, and the function's attributes state the decision
(`attrs.SegmentAttrs`).

A chain split along the reduction ends with its last kernel's anchor. The rest of that kernel (bias, activation,
residual) becomes a separate function on the CPU with the role ``join``, in which `split` adds the parts.

Constants stay inside the functions. A function with several live-outs returns a tuple. The module computes the same as
before; only its calls are grouped.
"""

from __future__ import annotations

import tvm
from tvm import relay

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.naming import function_name
from tvm_coexec.core.plan import Plan, Segment

from .attrs import CHAIN, WHOLE, SegmentAttrs
from .extract.extractor import Extracted, extract_with_calls
from .extract.kernel_axes import anchor_of
from .ir_utils import ModulePass


@tvm.transform.module_pass(opt_level=0, name="CoExecOutline")
class OutlineSegments(ModulePass):
    """Group a prepared module's calls into one global function per segment of `plan`.

    Parameters
    ----------
    plan : Plan
        A plan that fits the module (`Plan.check` is called).
    extracted : Extracted, optional
        The module's kernels, if the caller has already extracted them.
    """

    def __init__(self, plan: Plan, extracted: Extracted | None = None):
        self.plan, self.extracted = plan, extracted

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the outlined module."""
        extracted = self.extracted or extract_with_calls(mod)
        self.plan.check(extracted.graph)
        return _Outliner(mod, self.plan, extracted).run()


class _Outliner:
    def __init__(self, mod: tvm.IRModule, plan: Plan, extracted: Extracted):
        self.mod, self.plan, self.graph, self.calls = mod, plan, extracted.graph, extracted.calls
        self.main = mod["main"]
        self.readers = _readers(self.main)
        # old expression -> expression in the new main
        self.new: dict[relay.Expr, relay.Expr] = {p: p for p in self.main.params}

    def run(self) -> tvm.IRModule:
        out = tvm.IRModule({}, self.mod.type_definitions)
        for number, segment in enumerate(self.plan.segments):
            self._outline(out, number, segment)
        body = self._in_main(self.main.body)
        out["main"] = relay.Function(self.main.params, body, self.main.ret_type, [], self.main.attrs)
        return relay.transform.InferType()(out)

    def _in_main(self, expr: relay.Expr) -> relay.Expr:
        """Translate an old expression outside all segments (parameter, tuple, constant) to the new main."""
        if expr not in self.new:
            if isinstance(expr, relay.Tuple):
                self.new[expr] = relay.Tuple([self._in_main(f) for f in expr.fields])
            elif isinstance(expr, relay.TupleGetItem):
                whole = self._in_main(expr.tuple_value)
                is_literal = isinstance(whole, relay.Tuple)
                self.new[expr] = whole.fields[expr.index] if is_literal else relay.TupleGetItem(whole, expr.index)
            elif isinstance(expr, relay.Constant):
                self.new[expr] = expr
            else:
                raise AssertionError(f"a call outside every segment: {expr}")
        return self.new[expr]

    def _outline(self, out: tvm.IRModule, number: int, segment: Segment) -> None:
        calls = [c for k in segment.kernels for c in self.calls[k]]
        attrs = _attrs(number, segment, self.graph)
        after: list[relay.Call] = []
        if attrs.reduces:
            last = self.calls[segment.kernels[-1]]
            after = [c for c in last if c != anchor_of(last)]
        self._function(out, function_name(number, segment.device), [c for c in calls if c not in after], attrs)
        if after:
            self._function(out, function_name(number, "join"), after, attrs.of_join(segment.kernels[-1]))

    def _function(self, out: tvm.IRModule, name: str, calls: list[relay.Call], attrs: SegmentAttrs) -> None:
        """Make a function of some calls, and bind their values to fields of its call in main."""
        inside = set(calls)
        arguments: list[tuple[relay.Expr, int | None]] = []  # old expression, and the index of its field
        params: list[relay.Var] = []
        local: dict[relay.Expr, relay.Expr] = {}

        def parameter(expr: relay.Expr, field: int | None, ty: tvm.ir.Type) -> relay.Var:
            if field is None and isinstance(expr, relay.TupleGetItem):
                expr, field = expr.tuple_value, expr.index  # models repeat the field expression for every reader
            if (expr, field) not in arguments:
                arguments.append((expr, field))
                params.append(relay.var(f"in{len(params)}", ty))  # relay.build calls constants p0, p1...
            return params[arguments.index((expr, field))]

        def visit(expr: relay.Expr) -> relay.Expr:
            if expr in local:
                return local[expr]
            if isinstance(expr, relay.Constant):
                new: relay.Expr = expr
            elif isinstance(expr, relay.Tuple):
                new = relay.Tuple([visit(f) for f in expr.fields])
            elif isinstance(expr, relay.TupleGetItem) and _base(expr) in inside:
                new = relay.TupleGetItem(visit(expr.tuple_value), expr.index)
            elif isinstance(expr.checked_type, tvm.ir.TupleType):
                new = relay.Tuple([parameter(expr, i, ty) for i, ty in enumerate(expr.checked_type.fields)])
            else:
                new = parameter(expr, None, expr.checked_type)
            local[expr] = new
            return new

        for call in calls:
            local[call] = relay.Call(call.op, [visit(a) for a in call.args], call.attrs, call.type_args)
        read = [c for c in calls if any(r not in inside for r in self.readers[c])]
        results = [r for c in read for r in _fields(local[c], c.checked_type)]
        if len(results) == 1:
            body, ty = results[0]
        else:
            body, ty = relay.Tuple([r for r, _ in results]), relay.TupleType([t for _, t in results])
        var = relay.GlobalVar(name)
        out[var] = relay.Function(params, body, ty, [], attrs.to_attrs())
        given = [self._in_main(e) if f is None else self._field_in_main(e, f) for e, f in arguments]
        call = relay.Call(var, given)
        parts = iter([call] if len(results) == 1 else [relay.TupleGetItem(call, i) for i in range(len(results))])
        for c in read:
            is_tuple = isinstance(c.checked_type, tvm.ir.TupleType)
            self.new[c] = relay.Tuple([next(parts) for _ in c.checked_type.fields]) if is_tuple else next(parts)

    def _field_in_main(self, expr: relay.Expr, index: int) -> relay.Expr:
        whole = self._in_main(expr)
        return whole.fields[index] if isinstance(whole, relay.Tuple) else relay.TupleGetItem(whole, index)


def _fields(expr: relay.Expr, ty: tvm.ir.Type) -> list[tuple[relay.Expr, tvm.ir.Type]]:
    """Return a value as tensors: tuples never cross between segments, so that each tensor is copied separately."""
    if isinstance(ty, tvm.ir.TupleType):
        return [(relay.TupleGetItem(expr, i), t) for i, t in enumerate(ty.fields)]
    return [(expr, ty)]


def _attrs(number: int, segment: Segment, graph: KernelGraph) -> SegmentAttrs:
    if segment.device != "split":
        return SegmentAttrs(number, WHOLE, segment.device, segment.kernels)
    last = graph.kernels[segment.kernels[-1]]
    shares = segment.shares(graph)
    axis = last.axis(shares.dims[last.index])
    results = sorted(shares.cuts)
    return SegmentAttrs(
        number, CHAIN, segment.device, segment.kernels,
        axis=axis.name, dim=axis.dim, cut=segment.cut, extent=axis.extent,
        result_dims=tuple(shares.dims[k] for k in results), result_cuts=tuple(shares.cuts[k] for k in results),
    )  # fmt: skip


def _readers(main: relay.Function) -> dict[relay.Expr, list[relay.Expr | None]]:
    """Return the calls that read each call's value, through tuples; `None` stands for the result of main."""
    readers: dict[relay.Expr, list[relay.Expr | None]] = {}

    def read(expr: relay.Expr, by: relay.Expr | None) -> None:
        if isinstance(expr, relay.Call):
            readers.setdefault(expr, []).append(by)
        elif isinstance(expr, relay.Tuple):
            for f in expr.fields:
                read(f, by)
        elif isinstance(expr, relay.TupleGetItem):
            read(expr.tuple_value, by)

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call):
            readers.setdefault(node, [])
            for a in node.args:
                read(a, node)

    relay.analysis.post_order_visit(main.body, visit)
    read(main.body, None)
    return readers


def _base(expr: relay.Expr) -> relay.Expr:
    while isinstance(expr, relay.TupleGetItem):
        expr = expr.tuple_value
    return expr
