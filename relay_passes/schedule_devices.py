"""Place: say where every value lives, copy explicitly, and fix the order with a let chain.

The stock graph executor runs its nodes one after the other; a GPU launch returns at once, a copy to the CPU waits.
TVM emits nodes depth first, which would put the copy of the GPU's part right behind the GPU's kernels and before the
CPU's share: nothing would overlap. A `Let` is never moved and nothing is fused across it, so main becomes

    let s  = slice of the input for the GPU      (CPU)
    let xg = device_copy(s)                      upload
    let g  = the GPU's share                     launches, returns at once
    let c  = the CPU's share                     runs meanwhile
    let cg = device_copy(c)                      upload of the CPU's part
    let yg = concatenate(g, cg)                  join on the GPU, for
    let g2 = the GPU's share of the next chain   which is launched before anybody waits
    let gc = device_copy(g)                      download, waits for g alone
    let y  = concatenate(gc, c)                  join on the CPU (of partial sums: their addition, with what follows it)
    let c2 = the CPU's share of the next chain

So the GPU has its next work before the host waits for what it has done, each device joins what it reads itself, and
only the part that a device lacks travels. The GPU's work keeps the plan's order, and so does the CPU's; between two of
the CPU's functions the GPU gets whatever it can do by then.

A value stays where it was made until somebody on the other device reads it; then one copy is bound, once. "Lives on"
is a property of a bound value; "executes on" of the expression inside, which is wrapped in one `on_device`: all
operators between two copies belong to one device, so the result's device settles theirs. Model inputs and outputs
live on the CPU.
"""

from __future__ import annotations

import tvm
from tvm import relay

from tvm_coexec.core import naming
from tvm_coexec.core.naming import DOWNLOAD, FIELD, RESULT, SLICE, UPLOAD, binding_name

from .attrs import JOIN, SegmentAttrs, attrs_of, is_concatenation, is_slice, is_sum
from .branches import keep_apart
from .inline import inline_functions
from .ir_utils import ModulePass
from .rules import shape_of, slice_expr


@tvm.transform.module_pass(opt_level=0, name="CoExecPlace")
class Place(ModulePass):
    """Inline all functions into main as a let chain with explicit copies.

    Parameters
    ----------
    cpu, gpu : tvm.target.Target
        Only their device types are used.
    """

    def __init__(self, cpu: tvm.target.Target, gpu: tvm.target.Target):
        self.devices = {"cpu": device_of_target(cpu), "gpu": device_of_target(gpu)}

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Returns a module with main alone."""
        out = tvm.IRModule({}, mod.type_definitions)
        out["main"] = _Placer(mod, self.devices).run()
        return relay.transform.InferType()(out)


def device_of_target(target: tvm.target.Target) -> tvm.runtime.Device:
    """Device 0 of the target's kind."""
    return tvm.runtime.Device(target.get_target_device_type(), 0)


class _Placer:
    def __init__(self, mod: tvm.IRModule, devices: dict[str, tvm.runtime.Device]):
        self.mod, self.main, self.devices = mod, mod["main"], devices
        self.binds: list[tuple[relay.Var, relay.Expr]] = []
        # value of main -> device -> what holds it there
        self.where: dict[relay.Expr, dict[str, relay.Expr]] = {p: {"cpu": p} for p in self.main.params}
        self.names: dict[str, int] = {}
        self.in_pieces: dict[relay.Call, relay.Expr] = {}

    def run(self) -> relay.Function:
        main = self.main
        functions = [f for v, f in self.mod.functions.items() if v.name_hint != "main"]
        if all(attrs_of(f).device == "cpu" for f in functions):
            # all on the CPU: a plain function, which TVM may fuse and plan as it would the model
            return inline_functions(self.mod)["main"]
        self._run_calls()
        body = self._result(main.body)
        for var, value in reversed(keep_apart(self.binds)):
            body = relay.Let(var, value, body)
        return relay.Function(main.params, body, main.ret_type, [], main.attrs)

    def _run_calls(self) -> None:
        """Each device's calls in the plan's order; the GPU's as soon as nothing has to be waited for."""
        calls = self._calls_in_order()
        of = {d: [c for c in calls if self._attrs(c).device == d] for d in ("gpu", "cpu")}
        order = {c: n for n, c in enumerate(calls)}
        while of["gpu"] or of["cpu"]:
            first = of["gpu"][0] if of["gpu"] else None
            gpu_next = first is not None and (
                not of["cpu"] or order[first] < order[of["cpu"][0]] or all(self._at_hand(a) for a in first.args)
            )
            device = "gpu" if gpu_next else "cpu"
            if gpu_next:
                self._cut_for_the_cpu(first, of["cpu"])
            self._run_call(of[device].pop(0))

    def _calls_in_order(self) -> list[relay.Call]:
        """Calls of segment functions in the plan's order; in a chain the GPU's share first, what joins them last."""
        calls: list[relay.Call] = []

        def visit(node: relay.Expr) -> None:
            if isinstance(node, relay.Call) and isinstance(node.op, relay.GlobalVar):
                calls.append(node)

        relay.analysis.post_order_visit(self.main.body, visit)

        def key(call: relay.Call) -> tuple[int, int]:
            attrs = self._attrs(call)
            return attrs.segment, 0 if attrs.device == "gpu" else 2 if attrs.role == JOIN else 1

        return sorted(calls, key=key)

    def _attrs(self, call: relay.Call) -> SegmentAttrs:
        return attrs_of(self.mod[call.op])

    def _at_hand(self, expr: relay.Expr) -> bool:
        """Whether the GPU can have a value without the CPU's waiting for it."""
        if isinstance(expr, relay.Constant) or expr in self.where:
            return True
        if isinstance(expr, relay.Tuple):
            return all(self._at_hand(f) for f in expr.fields)
        if isinstance(expr, relay.TupleGetItem):
            return self._at_hand(expr.tuple_value)
        if isinstance(expr.op, relay.GlobalVar) or is_sum(expr):
            return False  # not computed yet; or a sum, which the CPU makes
        return all(self._at_hand(a) for a in expr.args)

    def _cut_for_the_cpu(self, gpu_call: relay.Call, cpu_calls: list[relay.Call]) -> None:
        """Slices that the CPU's share of the same chain needs of values on the GPU.

        The GPU cuts them out before it starts its share; after it, the CPU would wait for the whole share.
        """
        for call in cpu_calls[:1]:
            if self._attrs(call).segment != self._attrs(gpu_call).segment:
                return
            for arg in call.args:
                if is_slice(arg) and set(self.where.get(arg.args[0], ())) == {"gpu"}:
                    self._made(arg, "gpu", call.op.name_hint)

    def _bind(self, name: str, device: str, value: relay.Expr, wrap: bool = True) -> relay.Var:
        n = self.names.get(name, 0)
        self.names[name] = n + 1
        var = relay.var(f"{name}_{n}" if n else name)
        if wrap:
            value = relay.annotation.on_device(value, self.devices[device], constrain_result=True, constrain_body=True)
        self.binds.append((var, value))
        return var

    def _copy(self, name: str, var: relay.Expr, source: str, to: str) -> relay.Var:
        copy = relay.device_copy(var, self.devices[source], self.devices[to])
        return self._bind(binding_name(name, UPLOAD if to == "gpu" else DOWNLOAD), to, copy, wrap=False)

    def _run_call(self, call: relay.Call) -> None:
        func, device, name = self.mod[call.op], self._attrs(call).device, call.op.name_hint
        args = [self._on(a, device, name) for a in call.args]
        body = relay.bind(func.body, dict(zip(func.params, args, strict=True)))
        if isinstance(body, relay.Var):
            self.where[call] = {device: body}
        else:
            self.where[call] = {device: self._bind(name, device, body)}

    def _on(self, expr: relay.Expr, device: str, reader: str) -> relay.Expr:
        """The value of an expression of main on a device; copied there once if it is only on the other one."""
        if isinstance(expr, relay.Constant):
            return expr
        if isinstance(expr, relay.Tuple):
            return relay.Tuple([self._on(f, device, reader) for f in expr.fields])
        if expr in self.in_pieces:
            expr = self.in_pieces[expr]
        have = self._made(expr, device, reader)
        if device not in have:
            ((source, var),) = have.items()
            have[device] = self._copy(reader, var, source, device)
        return have[device]

    def _made(self, expr: relay.Expr, device: str, reader: str) -> dict[str, relay.Expr]:
        """Where the value is to be had; computed now if need be: slices where their source is, joins where they are
        read, sums on the CPU."""
        is_join_of_parts = is_concatenation(expr)
        if expr in self.where and (device in self.where[expr] or not is_join_of_parts):
            return self.where[expr]
        if isinstance(expr, relay.TupleGetItem):
            ((home, var),) = self._made(expr.tuple_value, device, reader).items()
            field = relay.TupleGetItem(var, expr.index)
            self.where[expr] = {home: self._bind(binding_name(reader, FIELD), home, field, wrap=False)}
            return self.where[expr]
        assert isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op), "segments run before they are read"
        if is_slice(expr):
            pieces = self._pieces(expr, device)
            if pieces is not None:
                self.in_pieces[expr] = pieces
                return self._made(pieces, device, reader)
            source = self._made(expr.args[0], device, reader)
            # Never have the GPU make a slice for the host: its queue may hold later work.
            home, role = device if device in source or device == "cpu" else next(iter(source)), SLICE
        else:
            home, role = device if is_join_of_parts else "cpu", naming.JOIN
        args = [self._on(a, home, reader) for a in expr.args]
        made = self._bind(binding_name(reader, role), home, relay.Call(expr.op, args, expr.attrs))
        self.where.setdefault(expr, {})[home] = made
        return self.where[expr]

    def _pieces(self, cut: relay.Call, device: str) -> relay.Expr | None:
        """A slice of joined parts as slices of the parts, where the device does not have the whole already.

        So of the other device's part only what is needed travels.
        """
        joined = cut.args[0]
        if not is_concatenation(joined) or device in self.where.get(joined, ()):
            return None
        dim = int(cut.attrs.axes[0])
        if dim != int(joined.attrs.axis):
            return None
        lo, hi = int(cut.attrs.begin[0]), int(cut.attrs.end[0])
        pieces, at = [], 0
        for part in joined.args[0].fields:
            extent = shape_of(part)[dim]
            begin, end = max(lo - at, 0), min(hi - at, extent)
            if begin < end:
                pieces.append(slice_expr(part, dim, (begin, end), extent))
            at += extent
        return pieces[0] if len(pieces) == 1 else relay.concatenate(pieces, axis=dim)

    def _result(self, expr: relay.Expr) -> relay.Expr:
        """Main's result, on the CPU."""
        if isinstance(expr, relay.Tuple):
            return relay.Tuple([self._result(f) for f in expr.fields])
        return self._on(expr, "cpu", RESULT)
