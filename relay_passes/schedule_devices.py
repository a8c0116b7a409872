"""Schedule devices: assign a device to every value, make copies explicit, and fix the order with a let chain.

The stock graph executor runs its nodes in sequence; a GPU launch returns immediately, a copy to the CPU waits. TVM
emits nodes depth first, which would put the copy of the GPU's part directly after the GPU's kernels and before the
CPU's share, so that nothing would overlap. TVM never moves a `Let` or fuses across it, so main becomes

    let s  = slice of the input for the GPU      (CPU)
    let xg = device_copy(s)                      upload
    let g  = the GPU's share                     launches, returns immediately
    let c  = the CPU's share                     runs concurrently
    let cg = device_copy(c)                      upload of the CPU's part
    let yg = concatenate(g, cg)                  join on the GPU, for
    let g2 = the GPU's share of the next chain   which is launched before the host waits
    let gc = device_copy(g)                      download, waits for g alone
    let y  = concatenate(gc, c)                  join on the CPU (partial sums: addition and what follows)
    let c2 = the CPU's share of the next chain

So the GPU has its next work before the host waits for its results, each device joins the values that it reads, and only
the part that a device lacks is copied. The work of each device keeps the plan's order; between two functions of the
CPU, all work that the GPU can start by then is launched.

TVM's own OpenCL runtime waits for all of the GPU's work at each copy. For it (`blocking`) the host copies all that a
chain's shares read before it launches any of the chain's kernels, and work is launched in the plan's order.

A value stays on its device until a function on the other device reads it; then one copy is bound, once. "Lives on"
is a property of a bound value; "executes on" of the expression inside, which is wrapped in one `on_device`: all
operators between two copies belong to one device, so the result's device determines theirs. Model inputs and outputs
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


@tvm.transform.module_pass(opt_level=0, name="CoExecScheduleDevices")
class ScheduleDevices(ModulePass):
    """Inline all functions into main as a let chain with explicit copies.

    Parameters
    ----------
    cpu, gpu : tvm.target.Target
        Only their device types are used.
    blocking : bool
        Whether copies wait for all of the GPU's work.
    """

    def __init__(self, cpu: tvm.target.Target, gpu: tvm.target.Target, blocking: bool = False):
        self.blocking = blocking
        self.devices = {"cpu": device_of_target(cpu), "gpu": device_of_target(gpu)}

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return a module with only main."""
        out = tvm.IRModule({}, mod.type_definitions)
        out["main"] = _DeviceScheduler(mod, self.devices, self.blocking).run()
        return relay.transform.InferType()(out)


def device_of_target(target: tvm.target.Target) -> tvm.runtime.Device:
    """Device 0 of the target's kind."""
    return tvm.runtime.Device(target.get_target_device_type(), 0)


class _DeviceScheduler:
    def __init__(self, mod: tvm.IRModule, devices: dict[str, tvm.runtime.Device], blocking: bool):
        self.mod, self.main, self.devices, self.blocking = mod, mod["main"], devices, blocking
        self.binds: list[tuple[relay.Var, relay.Expr]] = []
        # value of main -> device -> expression that holds it there
        self.where: dict[relay.Expr, dict[str, relay.Expr]] = {p: {"cpu": p} for p in self.main.params}
        self.attrs = {v: attrs_of(f) for v, f in mod.functions.items() if v.name_hint != "main"}
        self.names: dict[str, int] = {}
        self.in_pieces: dict[relay.Call, relay.Expr] = {}

    def run(self) -> relay.Function:
        main = self.main
        if all(attrs.device == "cpu" for attrs in self.attrs.values()):
            # all on the CPU: a plain function, which TVM fuses and plans like the original model
            return inline_functions(self.mod)["main"]
        self._run_calls()
        body = self._result(main.body)
        for var, value in reversed(keep_apart(self.binds)):
            body = relay.Let(var, value, body)
        return relay.Function(main.params, body, main.ret_type, [], main.attrs)

    def _run_calls(self) -> None:
        """Run each device's calls in the plan's order; the GPU's as soon as they need no wait."""
        calls = self._calls_in_order()
        of = {d: [c for c in calls if self._attrs(c).device == d] for d in ("gpu", "cpu")}
        order = {c: n for n, c in enumerate(calls)}
        while of["gpu"] or of["cpu"]:
            first = of["gpu"][0] if of["gpu"] else None
            gpu_next = first is not None and (
                not of["cpu"]
                or order[first] < order[of["cpu"][0]]
                or (not self.blocking and all(self._is_available(a) for a in first.args))
            )
            device = "gpu" if gpu_next else "cpu"
            if gpu_next and self.blocking:
                self._copy_for_cpu(first, of["cpu"])
            elif gpu_next:
                self._slice_for_cpu(first, of["cpu"])
            self._run_call(of[device].pop(0))

    def _calls_in_order(self) -> list[relay.Call]:
        """Return calls of segment functions in the plan's order; in a chain the GPU's share first and the join last."""
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
        return self.attrs[call.op]

    def _is_available(self, expr: relay.Expr) -> bool:
        """Whether the GPU can get a value without a wait of the CPU."""
        if isinstance(expr, relay.Constant) or expr in self.where:
            return True
        if isinstance(expr, relay.Tuple):
            return all(self._is_available(f) for f in expr.fields)
        if isinstance(expr, relay.TupleGetItem):
            return self._is_available(expr.tuple_value)
        if isinstance(expr.op, relay.GlobalVar) or is_sum(expr):
            return False  # not computed yet, or a sum, which the CPU computes
        return all(self._is_available(a) for a in expr.args)

    def _copy_for_cpu(self, gpu_call: relay.Call, cpu_calls: list[relay.Call]) -> None:
        """Bind what the CPU's share of the same chain reads: later, a copy would wait for the GPU's share."""
        for call in cpu_calls[:1]:
            if self._attrs(call).segment == self._attrs(gpu_call).segment:
                for arg in call.args:
                    self._value_on(arg, "cpu", call.op.name_hint)

    def _slice_for_cpu(self, gpu_call: relay.Call, cpu_calls: list[relay.Call]) -> None:
        """Bind the slices of values on the GPU that the CPU's share of the same chain reads.

        The GPU computes them before its own share; otherwise the CPU would wait for that whole share.
        """
        for call in cpu_calls[:1]:
            if self._attrs(call).segment != self._attrs(gpu_call).segment:
                return
            for arg in call.args:
                if is_slice(arg) and set(self.where.get(arg.args[0], ())) == {"gpu"}:
                    self._materialise(arg, "gpu", call.op.name_hint)

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
        args = [self._value_on(a, device, name) for a in call.args]
        body = relay.bind(func.body, dict(zip(func.params, args, strict=True)))
        if isinstance(body, relay.Var):
            self.where[call] = {device: body}
        else:
            self.where[call] = {device: self._bind(name, device, body)}

    def _value_on(self, expr: relay.Expr, device: str, reader: str) -> relay.Expr:
        """Return an expression's value on a device; it is copied there, once, if only the other device has it."""
        if isinstance(expr, relay.Constant):
            return expr
        if isinstance(expr, relay.Tuple):
            return relay.Tuple([self._value_on(f, device, reader) for f in expr.fields])
        if expr in self.in_pieces:
            expr = self.in_pieces[expr]
        have = self._materialise(expr, device, reader)
        if device not in have:
            ((source, var),) = have.items()
            have[device] = self._copy(reader, var, source, device)
        return have[device]

    def _materialise(self, expr: relay.Expr, device: str, reader: str) -> dict[str, relay.Expr]:
        """Return the devices that have a value; compute it first if necessary.

        Slices run on the device of their source, joins on the device that reads them, sums on the CPU.
        """
        is_join_of_parts = is_concatenation(expr)
        if expr in self.where and (device in self.where[expr] or not is_join_of_parts):
            return self.where[expr]
        if isinstance(expr, relay.TupleGetItem):
            ((owner, var),) = self._materialise(expr.tuple_value, device, reader).items()
            field = relay.TupleGetItem(var, expr.index)
            self.where[expr] = {owner: self._bind(binding_name(reader, FIELD), owner, field, wrap=False)}
            return self.where[expr]
        assert isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op), "segments run before they are read"
        if is_slice(expr):
            pieces = self._pieces(expr, device)
            if pieces is not None:
                self.in_pieces[expr] = pieces
                return self._materialise(pieces, device, reader)
            source = self._materialise(expr.args[0], device, reader)
            # Never have the GPU make a slice for the host: its queue may hold later work.
            owner, role = device if device in source or device == "cpu" else next(iter(source)), SLICE
        else:
            owner, role = device if is_join_of_parts else "cpu", naming.JOIN
        args = [self._value_on(a, owner, reader) for a in expr.args]
        made = self._bind(binding_name(reader, role), owner, relay.Call(expr.op, args, expr.attrs))
        self.where.setdefault(expr, {})[owner] = made
        return self.where[expr]

    def _pieces(self, cut: relay.Call, device: str) -> relay.Expr | None:
        """Rewrite a slice of joined parts as slices of the parts, unless the device already has the whole value.

        So only the needed rows of the other device's part are copied.
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
        """Return main's result, on the CPU."""
        if isinstance(expr, relay.Tuple):
            return relay.Tuple([self._result(f) for f in expr.fields])
        return self._value_on(expr, "cpu", RESULT)
