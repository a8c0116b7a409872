"""Split: turn every outlined chain into two shares and a join.

A chain function becomes `..._gpu`, which computes the range [0, cut) of each result, and `..._cpu`, which computes the
rest. Ranges are first propagated backwards from the results (a value that several operators read is computed once, on
the union of their ranges), then the operators are rewritten forwards, each for its range; halo rows and slices follow
from that. Constants are sliced here; inputs are sliced in main, so that only the needed rows are copied. Main joins the
parts (see `join`). The module still computes the same on any single device, so the pass can be tested alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import tvm
from tvm import relay

from tvm_coexec.core.access import Node, Range, Region, propagate, unite
from tvm_coexec.core.kernel_graph import REDUCED
from tvm_coexec.core.naming import function_name

from ..attrs import CHAIN, attrs_of
from ..ir_utils import ModulePass
from ..rules import SplitMemo, extent_along, flat_args, rule_for, shape_of, slice_expr
from .join import Joiner, Share

Regions = dict[relay.Expr, Region]


@tvm.transform.module_pass(opt_level=0, name="CoExecSplit")
class SplitChains(ModulePass):
    """Split all functions whose role is ``chain``."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the split module, or the module itself if it has no chains."""
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

    def _regions(self, ranges: list[Range]) -> Regions:
        """Return the regions that one share computes of each call and reads of each parameter, without empty ones."""
        regions: Regions = {}
        for result, dim, r in zip(self.results, self.dims, ranges, strict=True):
            wanted = Region(dim, *r)
            regions[result] = unite(regions[result], wanted) if result in regions else wanted
        propagate(self._nodes(regions), regions)
        return {e: r for e, r in regions.items() if not r.is_empty}

    def _nodes(self, regions: Regions) -> Iterator[Node]:
        """Iterate backwards over the calls that a share needs; a call's dimension is known when it is reached."""
        for call in reversed(self.calls):
            if call not in regions or regions[call].is_empty:
                continue
            dim = regions[call].dim
            assert dim is not None, "plans with a chain that needs a whole inner value are refused"
            split = self.splits[call][dim]
            reads = [
                (arg, need)
                for arg, need in zip(flat_args(call), split.needs, strict=True)
                if isinstance(arg, (relay.Call, relay.Var))
            ]
            yield Node(call, split.granule, self._extent(call, dim), reads)

    def _share(self, device: str, ranges: list[Range]) -> Share | None:
        results = [i for i, r in enumerate(ranges) if r[0] < r[1]]
        if not results:
            return None
        regions = self._regions(ranges)
        params: dict[relay.Var, relay.Var] = {}
        inputs: list[tuple[int, int, Range | None]] = []
        for i, p in enumerate(self.func.params):
            if p not in regions:
                continue
            region, ty, shape = regions[p], p.checked_type, shape_of(p)
            if region.dim is not None and region.range == (0, shape[region.dim]):
                region = regions[p] = Region(None, 0, 1)
            if region.dim is not None:
                shape[region.dim] = region.hi - region.lo
                ty = relay.TensorType(shape, ty.dtype)
            params[p] = relay.Var(p.name_hint, ty)
            inputs.append((i, region.dim or 0, region.range if region.dim is not None else None))
        values = self._write(regions, params)
        parts = []
        for i in results:
            dim, have, want = self.dims[i], regions[self.results[i]].range, ranges[i]
            if dim == REDUCED:
                parts.append(values[self.results[i]])
                continue
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

    def _write(self, regions: Regions, params: dict[relay.Var, relay.Var]) -> dict[relay.Expr, relay.Expr]:
        """Rewrite the chain's operators, each for its range."""
        values: dict[relay.Expr, relay.Expr] = {}
        for call in self.calls:
            if call not in regions:
                continue
            dim, r = regions[call].dim, regions[call].range
            assert dim is not None, "a call that is computed is divided along a dimension"
            args: list[relay.Expr | None] = []
            got: list[Range | None] = []
            for arg, need in zip(flat_args(call), self.splits[call][dim].needs, strict=True):
                if need is None:
                    got.append(None)
                    args.append(params.get(arg, arg) if isinstance(arg, relay.Var) else arg)
                    continue
                want = need.apply(*r)
                got.append(want)
                args.append(None if want == (0, 0) else self._at(arg, need.dim, want, regions, params, values))
            values[call] = rule_for(call).rebuild(call, dim, r, args, got)
        return values

    def _at(
        self,
        arg: relay.Expr,
        dim: int,
        want: Range,
        regions: Regions,
        params: dict[relay.Var, relay.Var],
        values: dict[relay.Expr, relay.Expr],
    ) -> relay.Expr:
        """Slice an argument's range `want` from the region that the share holds."""
        have, base = (0, shape_of(arg)[dim]), arg
        if isinstance(arg, (relay.Call, relay.Var)):
            base = values[arg] if isinstance(arg, relay.Call) else params[arg]
            if regions[arg].dim is not None:
                have = regions[arg].range
        return slice_expr(base, dim, (want[0] - have[0], want[1] - have[0]), have[1] - have[0])
