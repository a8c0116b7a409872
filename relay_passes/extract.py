"""Extract: the fused kernels of a prepared module, as plain data for the planner.

Which operators become one kernel is asked of TVM itself: a copy of the module, every call tagged with its number in
its source span, goes through `FuseOps`, and the tags found inside a fused function name the calls of that kernel. How
a kernel's output can be divided follows by running the operators' split rules backwards from its last operator.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import tvm
from tvm import relay

from tvm_coexec.kernel_graph import Kernel, KernelGraph, Need, SplitAxis, Step, Tensor

from .rules import Refusal, SplitMemo, flat_args, shape_of

# "h" is the outermost spatial axis, whatever the rank: its slices are the most contiguous ones.
_SPATIAL_NAMES = {1: ["h"], 2: ["h", "w"], 3: ["h", "w", "d"]}


@dataclass
class Extracted:
    """A kernel graph and the Relay calls behind each kernel.

    Attributes
    ----------
    graph : KernelGraph
    calls : list of list of relay.Call
        Per kernel its calls in post order; the last one makes the kernel's value.
    """

    graph: KernelGraph
    calls: list[list[relay.Call]] = field(default_factory=list)


def extract(mod: tvm.IRModule) -> KernelGraph:
    """The kernel graph of a prepared module (see `relay_passes.prepare`)."""
    return extract_with_calls(mod).graph


def extract_with_calls(mod: tvm.IRModule) -> Extracted:
    """The kernel graph together with the calls that each kernel stands for.

    The module's calls must be the very objects that the caller goes on to rewrite; types must be inferred.
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
        """Values that an expression reads, looking through tuples; constants are none."""
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
    kernels = [_kernel(index, calls, value_of, memo) for index, calls in enumerate(groups)]
    return Extracted(KernelGraph(tuple(kernels), inputs, tuple(value_of(main.body))), groups)


def _obstacle(mod: tvm.IRModule) -> str:
    """Why the module as a whole can't be planned; empty when it can."""
    if len(mod.get_global_vars()) > 1:
        names = ", ".join(sorted(g.name_hint for g in mod.get_global_vars() if g.name_hint != "main"))
        return f"the module has functions beside main ({names})"
    kinds: set[str] = set()

    def visit(node: relay.Expr) -> None:
        if isinstance(node, (relay.If, relay.Match, relay.Let, relay.RefCreate, relay.Function)):
            kinds.add(type(node).__name__)
        if isinstance(node, relay.Call) and not isinstance(node.op, tvm.ir.Op):
            kinds.add("calls of functions")

    relay.analysis.post_order_visit(mod["main"].body, visit)
    return f"the model has control flow or closures ({', '.join(sorted(kinds))})" if kinds else ""


class _Tagger(relay.ExprMutator):
    """Writes each call's number into its span."""

    def __init__(self, number: dict[relay.Call, int]):
        super().__init__()
        self.number = number
        self.source = tvm.ir.SourceName("tvm_coexec.extract")

    def visit_call(self, call: relay.Call) -> relay.Expr:
        args = [self.visit(a) for a in call.args]
        n = self.number[call]
        return relay.Call(call.op, args, call.attrs, call.type_args, tvm.ir.Span(self.source, n, n, 0, 0))


def _fused_groups(main: relay.Function, number: dict[relay.Call, int]) -> list[list[relay.Call]]:
    """Calls of each fused function, functions in execution order."""
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
        # opt_level 0 leaves calls unfused: each is a kernel of its own
        inside = {c for g in groups for c in g}
        groups += [[c] for c in number if c not in inside]
        groups.sort(key=lambda g: number[g[-1]])
    return groups


def _tensor(ty: tvm.ir.Type) -> Tensor:
    """Shape and dtype of a tensor type; a dynamic dimension counts as -1."""
    if isinstance(ty, relay.TensorType):
        return Tensor(tuple(int(d) if isinstance(d, tvm.tir.IntImm) else -1 for d in ty.shape), str(ty.dtype))
    return Tensor((), "float32")


def _tensors(ty: tvm.ir.Type) -> tuple[Tensor, ...]:
    if isinstance(ty, tvm.ir.TupleType):
        return tuple(t for f in ty.fields for t in _tensors(f))
    return (_tensor(ty),)


def _kernel(index: int, calls: list[relay.Call], value_of, memo: SplitMemo) -> Kernel:
    inside = set(calls)
    root = calls[-1]
    names = [c.op.name for c in calls]
    args: dict[relay.Expr, int] = {}
    weight_bytes = 0
    counted: set[relay.Expr] = set()
    for call in calls:
        for arg in flat_args(call):
            if isinstance(arg, relay.Constant):
                if arg not in counted:
                    counted.add(arg)
                    weight_bytes += _tensor(arg.checked_type).nbytes
            elif arg not in inside:
                values = value_of(arg)
                if values:
                    args.setdefault(arg, values[0])
    heavy = [c for c in calls if Kernel(0, "", c.op.name, {}).is_heavy]
    anchor = heavy[0] if heavy else max(calls, key=lambda c: c is root)
    base = dict(
        index=index,
        name="+".join(names),
        op=anchor.op.name,
        attrs=_anchor_attrs(anchor),
        # One entry per distinct value; an input read through several expressions (tuple fields) is one value.
        inputs=tuple(dict.fromkeys(args.values())),
        in_tensors=tuple(t for a in args for t in _tensors(a.checked_type)),
        outputs=_tensors(root.checked_type),
        weight_bytes=weight_bytes,
    )
    if any(-1 in t.shape for t in base["in_tensors"] + base["outputs"]):
        return Kernel(**base, reason="its shape is dynamic")
    base["flops"] = float(sum(_flops(c) for c in calls))
    if len(base["outputs"]) > 1 or isinstance(root.checked_type, tvm.ir.TupleType):
        return Kernel(**base, reason=f"{root.op.name} returns a tuple")
    axes, reason = _axes(calls, list(args), list(args.values()), base["inputs"], memo)
    return Kernel(**base, axes=axes, reason=reason)


def _axes(calls, arg_exprs, arg_values, inputs, memo: SplitMemo) -> tuple[tuple[SplitAxis, ...], str]:
    """Every axis along which the whole kernel divides, and the reason when there is none."""
    root = calls[-1]
    try:
        shape = shape_of(root)
        candidates = [d for d in memo[root] if shape[d] > 1]
    except Refusal as why:
        return (), str(why)
    names = _axis_names(calls, len(shape))
    axes, reason = [], "none of its axes can be divided"
    for dim in sorted(candidates):
        try:
            needs, granule, weights = _needs(calls, dim, arg_exprs, arg_values, inputs, memo)
        except Refusal as why:
            reason = str(why)
            continue
        axes.append(SplitAxis(names[dim], dim, shape[dim], granule, _align(names[dim], shape[dim]), needs, weights))
    return tuple(axes), "" if axes else reason


def _needs(calls, dim, arg_exprs, arg_values, inputs, memo: SplitMemo):
    """Runs the rules backwards from the kernel's output; raises `Refusal` where an inner value would be needed whole."""
    inside = set(calls)
    todo: dict[relay.Call, tuple[int, list[tuple[Step, ...]]]] = {calls[-1]: (dim, [()])}
    reached: dict[relay.Expr, tuple[int, list[tuple[Step, ...]]] | None] = {}
    granule, weights = 1, False
    for call in reversed(calls):
        if call not in todo:
            raise Refusal("it has more than one result")
        d, paths = todo[call]
        split = memo[call].get(d)
        if split is None:
            raise Refusal(f"{call.op.name} mixes elements along that axis")
        if split.granule > 1:
            if any((s.a, s.b, s.e, s.c) != (1, 0, 0, 1) for p in paths for s in p):
                raise Refusal(f"groups of {call.op.name} do not line up with the kernel's output")
            granule = max(granule, split.granule)
        for arg, need in zip(flat_args(call), split.needs):
            if isinstance(arg, relay.Constant):
                weights = weights or need is not None
            elif need is None:
                if arg in inside:
                    raise Refusal(f"{call.op.name} needs all of a value inside the kernel")
                reached[arg] = None
            else:
                target = todo if arg in inside else reached
                new = [(*p, need.step) for p in paths]
                if arg not in target:
                    target[arg] = (need.dim, new)
                elif target[arg] is not None:
                    if target[arg][0] != need.dim:
                        raise Refusal("an input would be divided along two axes at once")
                    target[arg][1].extend(p for p in new if p not in target[arg][1])
    needs: list[Need | None] = []
    for value in inputs:
        found = [reached.get(a) for a, v in zip(arg_exprs, arg_values) if v == value]
        tuple_field = any(not isinstance(a, (relay.Call, relay.Var)) for a, v in zip(arg_exprs, arg_values) if v == value)
        if tuple_field or any(f is None for f in found) or len({f[0] for f in found}) > 1:
            needs.append(None)
        else:
            needs.append(Need(found[0][0], tuple(p for f in found for p in f[1])))
    return tuple(needs), granule, weights


def _axis_names(calls: list[relay.Call], rank: int) -> list[str]:
    """Names of the output's dimensions: by layout where an operator tells it, by rank otherwise."""
    for call in reversed(calls):
        for key in ("data_layout", "layout"):
            if call.attrs is not None and key in call.attrs.keys():
                layout = str(call.attrs[key])
                if layout.isalpha() and layout.isupper() and len(layout) == rank:
                    return _layout_names(layout)
    if rank <= 2:
        return ["m", "n"][2 - rank :] if rank else []
    if rank == 3:
        return ["batch", "m", "n"]
    return _layout_names("NC" + "DHW"[-(rank - 2) :]) if rank <= 5 else ["batch", "oc"] + ["h"] * (rank - 2)


def _layout_names(layout: str) -> list[str]:
    spatial = iter(_SPATIAL_NAMES[len(layout) - 2])
    return [{"N": "batch", "C": "oc"}.get(c) or next(spatial) for c in layout]


def _align(name: str, extent: int) -> int:
    """What cuts are aligned to: channel blocks as CPU schedules pack them, rows as GPU tiles take them."""
    steps, pieces = ((8, 4, 2), 8) if name in ("oc", "n") else ((4, 2), 8)
    return next((s for s in steps if extent % s == 0 and extent // s >= pieces), 1)


def _flops(call: relay.Call) -> float:
    """Floating-point operations of a call, one multiply-add counted as two; data movement counts nothing."""
    out = 1.0
    for d in shape_of(call) if isinstance(call.checked_type, relay.TensorType) else [0]:
        out *= d
    name = call.op.name
    if name in ("nn.conv1d", "nn.conv2d", "nn.conv3d"):
        weight = shape_of(call.args[1])
        o = str(call.attrs["kernel_layout"]).index("O") if str(call.attrs["kernel_layout"]).isalpha() else 0
        total = 1.0
        for i, d in enumerate(weight):
            total *= 1 if i == o else d
        return 2 * out * total
    if name.startswith("nn.conv") and name.endswith("transpose"):
        data, weight = shape_of(call.args[0]), shape_of(call.args[1])
        total = 2.0
        for d in [*data, *weight[1:]]:
            total *= d
        return total
    if name in ("nn.dense", "nn.matmul"):
        return 2 * out * shape_of(call.args[0])[-1]
    if name == "nn.batch_matmul":
        a = shape_of(call.args[0])
        return 2 * out * (a[1] if bool(call.attrs["transpose_a"]) else a[2])
    if "pool" in name and call.attrs is not None and "pool_size" in call.attrs.keys():
        for k in call.attrs["pool_size"]:
            out *= int(k)
        return out
    if name in ("mean", "sum", "max", "min", "prod") or "pool" in name:
        total = 1.0
        for d in shape_of(call.args[0]):
            total *= d
        return total
    return 0.0 if name in ("reshape", "transpose", "concatenate", "nn.pad", "strided_slice") else out


def _anchor_attrs(call: relay.Call) -> dict:
    """The anchor's attributes as plain JSON values, with its kernel shape."""
    out: dict = {}
    if call.attrs is None:
        return out
    for key in call.attrs.keys():
        value = call.attrs[key]
        if value is None or (key in ("out_layout", "out_dtype", "auto_scheduler_rewritten_layout", "meta_schedule_original_shape")):
            continue
        out[key] = _plain(value)
    if Kernel(0, "", call.op.name, {}).is_heavy and isinstance(call.args[1].checked_type, relay.TensorType):
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
