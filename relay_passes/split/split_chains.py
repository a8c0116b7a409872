"""Split: turn every annotated chain into two shares and a join.

A chain function becomes `..._gpu`, which computes the range [0, cut) of each result, and `..._cpu`, which computes the
rest. Ranges are first worked out backwards from the results (a value read by several operators is computed once, on
the union of what they need), then the operators are written again forwards, each for its range; halo rows and slices
fall out of that. Constants are sliced here; inputs are sliced in main, so that only what a share needs travels. Main
joins the parts (see `join`). The module still computes the same on any single device, which makes the pass testable
alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import tvm
from tvm import relay

from tvm_coexec.core.kernel_graph import REDUCED, Range, round_out, union
from tvm_coexec.core.naming import function_name

from ..attrs import CHAIN, attrs_of
from ..rules import SplitMemo, extent_along, flat_args, rule_for, shape_of, slice_expr
from .join import Joiner, Share


@tvm.transform.module_pass(opt_level=0, name="CoExecSplit")
class SplitChains:
    """Divide all functions whose role is ``chain``."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Returns the split module; without chains the module as it is."""
        mod = relay.transform.InferType()(mod)
        out = tvm.IRModule({}, mod.type_definitions)
        functions = {v: f for v, f in mod.functions.items() if v.name_hint != "main"}
        chains = {v: _Chain(f) for v, f in functions.items() if attrs_of(f).role == CHAIN}
        main = mod["main"]
        joiner = Joiner(main, chains, {v: f for v, f in functions.items() if v not in chains})
        body = joiner.visit(main.body)
        for var, func in joiner.functions.items():
            out[var] = func
        for chain in chains.values():
            for share in chain.shares:
                out[share.var] = share.func
        out["main"] = relay.Function(main.params, body, main.ret_type, [], main.attrs)
        return relay.transform.InferType()(out)


@dataclass
class _Demand:
    """What one share computes: range per call, range per parameter (`None`: all of it)."""

    calls: dict[relay.Expr, tuple[int, Range]] = field(default_factory=dict)
    params: dict[relay.Var, tuple[int, Range] | None] = field(default_factory=dict)


class _Chain:
    def __init__(self, func: relay.Function):
        self.func, self.attrs = func, attrs_of(func)
        self.splits = SplitMemo()
        self.results = list(func.body.fields) if isinstance(func.body, relay.Tuple) else [func.body]
        self.dims, self.cuts = list(self.attrs.result_dims), list(self.attrs.result_cuts)
        self.calls: list[relay.Call] = []
        relay.analysis.post_order_visit(
            func.body, lambda n: self.calls.append(n) if isinstance(n, relay.Call) else None
        )
        extents = [self._extent(r, d) for r, d in zip(self.results, self.dims, strict=True)]
        ranges = {
            "gpu": [(0, c) for c in self.cuts],
            "cpu": [(c, n) for c, n in zip(self.cuts, extents, strict=True)],
        }
        self.shares = [s for device in ("gpu", "cpu") if (s := self._share(device, ranges[device])) is not None]

    def _extent(self, call: relay.Call, dim: int) -> int:
        return extent_along(call, dim, self.splits[call][dim])

    def _demand(self, ranges: list[Range]) -> _Demand:
        demand = _Demand()
        for result, dim, r in zip(self.results, self.dims, ranges, strict=True):
            old = demand.calls.get(result, (dim, (0, 0)))[1]
            demand.calls[result] = (dim, union(old, r))
        for call in reversed(self.calls):
            if call not in demand.calls or demand.calls[call][1] == (0, 0):
                continue
            dim, r = demand.calls[call]
            split = self.splits[call][dim]
            r = round_out(r, split.granule, self._extent(call, dim))
            demand.calls[call] = (dim, r)
            for arg, need in zip(flat_args(call), split.needs, strict=True):
                if isinstance(arg, relay.Call):
                    assert need is not None, "annotate lets no chain through that needs a whole inner value"
                    old = demand.calls.get(arg, (need.dim, (0, 0)))[1]
                    demand.calls[arg] = (need.dim, union(old, need.step.apply(r)))
                elif isinstance(arg, relay.Var):
                    self._need_param(demand, arg, None if need is None else (need.dim, need.step.apply(r)))
        return demand

    @staticmethod
    def _need_param(demand: _Demand, param: relay.Var, need: tuple[int, Range] | None) -> None:
        if need is not None and need[1] == (0, 0):
            return
        if param not in demand.params:
            demand.params[param] = need
            return
        old = demand.params[param]
        if old is None or need is None or old[0] != need[0]:
            demand.params[param] = None
        else:
            demand.params[param] = (old[0], union(old[1], need[1]))

    def _share(self, device: str, ranges: list[Range]) -> Share | None:
        results = [i for i, r in enumerate(ranges) if r[0] < r[1]]
        if not results:
            return None
        demand = self._demand(ranges)
        params: dict[relay.Var, relay.Var] = {}
        inputs: list[tuple[int, int, Range | None]] = []
        for i, p in enumerate(self.func.params):
            if p not in demand.params:
                continue
            need, ty = demand.params[p], p.checked_type
            if need is not None:
                shape = shape_of(p)
                if need[1] == (0, shape[need[0]]):
                    need = demand.params[p] = None
                else:
                    shape[need[0]] = need[1][1] - need[1][0]
                    ty = relay.TensorType(shape, ty.dtype)
            params[p] = relay.Var(p.name_hint, ty)
            inputs.append((i, need[0] if need else 0, need[1] if need else None))
        values = self._write(demand, params)
        parts = []
        for i in results:
            dim, have = demand.calls[self.results[i]]
            if dim == REDUCED:
                parts.append(values[self.results[i]])
                continue
            want = ranges[i]
            at = (want[0] - have[0], want[1] - have[0])
            parts.append(slice_expr(values[self.results[i]], dim, at, have[1] - have[0]))
        types = [self._part_type(i, ranges[i]) for i in results]
        body, ty = (parts[0], types[0]) if len(parts) == 1 else (relay.Tuple(parts), relay.TupleType(types))
        func = relay.Function(list(params.values()), body, ty, [], self.attrs.of_share(device).to_attrs())
        return Share(relay.GlobalVar(function_name(self.attrs.segment, device)), func, inputs, results)

    def _part_type(self, result: int, r: Range) -> relay.TensorType:
        ty = self.results[result].checked_type
        shape = shape_of(self.results[result])
        if self.dims[result] != REDUCED:
            shape[self.dims[result]] = r[1] - r[0]
        return relay.TensorType(shape, ty.dtype)

    def _write(self, demand: _Demand, params: dict[relay.Var, relay.Var]) -> dict[relay.Expr, relay.Expr]:
        """The chain's operators again, each for its range."""
        values: dict[relay.Expr, relay.Expr] = {}
        for call in self.calls:
            if call not in demand.calls or demand.calls[call][1] == (0, 0):
                continue
            dim, r = demand.calls[call]
            args: list[relay.Expr | None] = []
            got: list[Range | None] = []
            for arg, need in zip(flat_args(call), self.splits[call][dim].needs, strict=True):
                want = None if need is None else need.step.apply(r)
                got.append(want)
                if need is None:
                    args.append(params.get(arg, arg) if isinstance(arg, relay.Var) else arg)
                elif want == (0, 0):
                    args.append(None)
                else:
                    args.append(self._at(arg, need.dim, want, demand, params, values))
            values[call] = rule_for(call).rebuild(call, dim, r, args, got)
        return values

    def _at(self, arg, dim: int, want: Range, demand: _Demand, params, values) -> relay.Expr:
        """An argument's range `want`, cut out of what the share holds of it."""
        if isinstance(arg, relay.Call):
            have, base = demand.calls[arg][1], values[arg]
        elif isinstance(arg, relay.Var):
            need = demand.params[arg]
            have, base = (need[1] if need is not None else (0, shape_of(arg)[dim])), params[arg]
        else:
            have, base = (0, shape_of(arg)[dim]), arg
        return slice_expr(base, dim, (want[0] - have[0], want[1] - have[0]), have[1] - have[0])
