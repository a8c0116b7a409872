"""Place: say where every value lives, copy explicitly, and fix the order with a let chain.

The stock graph executor runs its nodes one after the other; a GPU launch returns at once, a copy to the CPU waits.
TVM emits nodes depth first, which would put the copy of the GPU's part right behind the GPU's kernels and before the
CPU's share: nothing would overlap. A `Let` is never moved and nothing is fused across it, so main becomes

    let s  = slice of the input for the GPU      (CPU)
    let xg = device_copy(s)                      upload
    let g  = the GPU's share                     launches, returns at once
    let c  = the CPU's share                     runs meanwhile
    let gc = device_copy(g)                      download, waits
    let y  = concatenate(gc, c)                  join (of partial sums: their addition, with what follows it)

A value stays where it was made until somebody on the other device reads it; then one copy is bound, once. "Lives on"
is a property of a bound value; "executes on" of the expression inside, which is wrapped in one `on_device`: all
operators between two copies belong to one device, so the result's device settles theirs. Model inputs and outputs
live on the CPU.
"""

from __future__ import annotations

import tvm
from tvm import relay

from .inline import inline_functions
from .join import device_of, is_join


@tvm.transform.module_pass(opt_level=0, name="CoExecPlace")
class Place:
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
        self.where: dict[relay.Expr, dict[str, relay.Expr]] = {p: {"cpu": p} for p in self.main.params}
        self.names: dict[str, int] = {}

    def run(self) -> relay.Function:
        main = self.main
        functions = [f for v, f in self.mod.functions.items() if v.name_hint != "main"]
        if all(device_of(f) == "cpu" for f in functions):
            # all on the CPU: a plain function, which TVM may fuse and plan as it would the model
            return inline_functions(self.mod)["main"]
        for call in self._calls_in_order():
            self._run_call(call)
        body = self._result(main.body)
        for var, value in reversed(self.binds):
            body = relay.Let(var, value, body)
        return relay.Function(main.params, body, main.ret_type, [], main.attrs)

    def _calls_in_order(self) -> list[relay.Call]:
        """Calls of segment functions in the plan's order; in a chain the GPU's share first, what joins them last."""
        calls: list[relay.Call] = []

        def visit(node: relay.Expr) -> None:
            if isinstance(node, relay.Call) and isinstance(node.op, relay.GlobalVar):
                calls.append(node)

        relay.analysis.post_order_visit(self.main.body, visit)

        def key(call: relay.Call) -> tuple[int, int]:
            func = self.mod[call.op]
            return int(func.attrs["coexec.segment"]), 0 if device_of(func) == "gpu" else 2 if is_join(func) else 1

        return sorted(calls, key=key)

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
        return self._bind(f"{name}_to_{to}", to, copy, wrap=False)

    def _run_call(self, call: relay.Call) -> None:
        func = self.mod[call.op]
        device, name = str(device_of(func)), call.op.name_hint
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
        have = self._made(expr, device, reader)
        if device not in have:
            ((source, var),) = have.items()
            have[device] = self._copy(reader, var, source, device)
        return have[device]

    def _made(self, expr: relay.Expr, device: str, reader: str) -> dict[str, relay.Expr]:
        """Where the value is to be had; computed now if need be: slices where their source is, joins on the CPU."""
        if expr in self.where:
            return self.where[expr]
        if isinstance(expr, relay.TupleGetItem):
            ((home, var),) = self._made(expr.tuple_value, device, reader).items()
            self.where[expr] = {home: self._bind(f"{reader}_in", home, relay.TupleGetItem(var, expr.index), wrap=False)}
            return self.where[expr]
        assert isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op), "segments run before they are read"
        if expr.op.name in ("concatenate", "add"):
            home, what = "cpu", "join"
        else:
            source = self._made(expr.args[0], device, reader)
            home, what = device if device in source else next(iter(source)), "slice"
        args = [self._on(a, home, reader) for a in expr.args]
        self.where[expr] = {home: self._bind(f"{reader}_{what}", home, relay.Call(expr.op, args, expr.attrs))}
        return self.where[expr]

    def _result(self, expr: relay.Expr) -> relay.Expr:
        """Main's result, on the CPU."""
        if isinstance(expr, relay.Tuple):
            return relay.Tuple([self._result(f) for f in expr.fields])
        return self._on(expr, "cpu", "result")
