"""The axes of a fused kernel: the operators' rules, applied backwards from its last operator.

An axis is valid if a range of the kernel's output maps to one range of every value inside the kernel. The access to
each kernel input is stored as paths of access maps from the output to that input, so that halo rows can be computed
later for any range, without TVM. The reduction of a convolution or matrix product is an axis as well: its shares are
partial sums of the anchor, and the kernel's other operators run after the partial sums have been added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import lcm

from tvm import relay

from tvm_coexec.core.access import AccessMap, InputAccess, identity
from tvm_coexec.core.kernel_graph import REDUCED, SplitAxis
from tvm_coexec.core.op_kinds import OpKind

from ..rules import NotSplittable, SplitMemo, attr_names, extent_along, flat_args, kind_of, shape_of

Path = tuple[AccessMap, ...]
DimNames = dict[int, str]

# "h" is the outermost spatial axis that can be divided, for every rank, because its slices are the most contiguous.
_SPATIAL_NAMES = ("h", "w", "d")


@dataclass
class _AxisTrace:
    """Result of tracing an axis: dimension and paths per call and per argument of the kernel (`None`: all of it)."""

    calls: dict[relay.Call, tuple[int, list[Path]]] = field(default_factory=dict)
    args: dict[relay.Expr, tuple[int, list[Path]] | None] = field(default_factory=dict)
    granule: int = 1
    weights: bool = False


def kernel_axes(
    calls: list[relay.Call], args: dict[relay.Expr, int], names: dict[int, DimNames], memo: SplitMemo
) -> tuple[tuple[SplitAxis, ...], str]:
    """Return all axes along which a kernel can be split, the reduction last, and the reason if there is none.

    Parameters
    ----------
    calls : list of relay.Call
        The kernel's calls in post order.
    args : dict of relay.Expr to int
        Expressions that the kernel reads, and their values.
    names : dict of int to dict of int to str
        Known axis names by value and dimension.
    memo : SplitMemo
    """
    root = calls[-1]
    try:
        shape = shape_of(root)
        candidates = [d for d in memo[root] if d != REDUCED and shape[d] > 1]
    except NotSplittable as why:
        return (), str(why)
    axes: list[SplitAxis] = []
    reason = "none of its axes can be divided"
    for dim in sorted(candidates):
        try:
            trace = _trace_axis(calls, dim, memo)
        except NotSplittable as why:
            reason = str(why)
            continue
        needs = _input_accesses(trace, args)
        name = _axis_name(calls, dim, trace, needs, args, names)
        if any(a.name == name for a in axes):
            name = f"dim{dim}"
        extent = shape[dim]
        axes.append(SplitAxis(name, dim, extent, trace.granule, tile_alignment(name, extent), needs, trace.weights))
    axes += _reduction(calls, args, memo)
    return tuple(axes), "" if axes else reason


def anchor_of(calls: list[relay.Call]) -> relay.Call:
    """Return the anchor: the kernel's convolution or matrix product, else its last call."""
    return next((c for c in calls if kind_of(c).is_compute_intensive), calls[-1])


def _reduction(calls: list[relay.Call], args: dict[relay.Expr, int], memo: SplitMemo) -> list[SplitAxis]:
    """Return the anchor's reduction axis, if no operator of the kernel precedes the anchor."""
    anchor = anchor_of(calls)
    split = memo[anchor].get(REDUCED)
    factors = flat_args(anchor)
    if split is None or any(tuple_of(f) in calls for f in factors):
        return []
    extent = extent_along(anchor, REDUCED, split)
    if extent == 1:
        return []
    dims = {f: {n.dim for g, n in zip(factors, split.needs, strict=True) if n and g == f} for f in factors}
    late = {a for c in calls if c != anchor for a in flat_args(c)}
    needs: list[InputAccess | None] = []
    for value in dict.fromkeys(args.values()):
        exprs = [a for a, v in args.items() if v == value]
        found = set().union(*(dims.get(a, set()) for a in exprs))
        is_field = any(not isinstance(a, (relay.Call, relay.Var)) for a in exprs)
        if not found:
            needs.append(InputAccess(0, (), after_join=True))
        elif is_field or len(found) > 1:
            needs.append(None)
        else:
            needs.append(InputAccess(found.pop(), ((),), after_join=any(a in late for a in exprs)))
    weights = any(isinstance(f, relay.Constant) for f in factors)
    return [SplitAxis("ic", REDUCED, extent, 1, tile_alignment("oc", extent), tuple(needs), weights)]


def _trace_axis(calls: list[relay.Call], dim: int, memo: SplitMemo) -> _AxisTrace:
    """Trace one output dimension; raise `NotSplittable` if an inner value is needed whole or along two dimensions."""
    inside = set(calls)
    trace = _AxisTrace({calls[-1]: (dim, [()])})
    for call in reversed(calls):
        if call not in trace.calls:
            raise NotSplittable("it has more than one result")
        d, paths = trace.calls[call]
        split = memo[call].get(d)
        if split is None:
            raise NotSplittable(f"{call.op.name} mixes elements along that axis")
        if split.granule > 1:
            if any(paths):
                raise NotSplittable(f"groups of {call.op.name} do not line up with the kernel's output")
            trace.granule = lcm(trace.granule, split.granule)
        unchanged = identity(shape_of(call)[d])
        for arg, need in zip(flat_args(call), split.needs, strict=True):
            if isinstance(arg, relay.Constant):
                trace.weights = trace.weights or need is not None
                continue
            if isinstance(arg, relay.TupleGetItem) and tuple_of(arg) in inside:
                raise NotSplittable(f"{call.op.name} reads a field of a tuple inside the kernel")
            if need is None:
                if arg in inside:
                    raise NotSplittable(f"{call.op.name} needs all of a value inside the kernel")
                trace.args[arg] = None
                continue
            if len(paths) > 1 and _is_partial(need.map, unchanged.extent):
                # Two ranges are read, and the operator is computed on everything between them; paths can't express
                # which rows of that fall on this field of a concatenation.
                if arg in inside:
                    raise NotSplittable(f"several parts of {call.op.name} are read at once")
                trace.args[arg] = None
                continue
            target = trace.calls if arg in inside else trace.args
            # Identity maps are left out, which gives fewer paths and makes equal paths compare equal.
            new = paths if need.map == unchanged else [(*p, need.map) for p in paths]
            known = target.setdefault(arg, (need.dim, []))
            if known is None:
                continue
            if known[0] != need.dim:
                raise NotSplittable("an input would be divided along two axes at once")
            known[1].extend(p for p in new if p not in known[1])
    return trace


def _is_partial(access: AccessMap, extent: int) -> bool:
    """Whether some output rows read nothing of this argument."""
    return (0, 0) in (access.apply(0, 1), access.apply(extent - 1, extent))


def _input_accesses(trace: _AxisTrace, args: dict[relay.Expr, int]) -> tuple[InputAccess | None, ...]:
    """Return one entry per value that the kernel reads."""
    needs: list[InputAccess | None] = []
    for value in dict.fromkeys(args.values()):
        exprs = [a for a, v in args.items() if v == value]
        found = [f for a in exprs if (f := trace.args.get(a)) is not None]
        is_field = any(not isinstance(a, (relay.Call, relay.Var)) for a in exprs)
        if is_field or len(found) < len(exprs) or len({dim for dim, _ in found}) > 1:
            needs.append(None)
        else:
            needs.append(InputAccess(found[0][0], tuple(dict.fromkeys(p for _, paths in found for p in paths))))
    return tuple(needs)


def tuple_of(expr: relay.Expr) -> relay.Expr:
    """Return the tuple expression of which `expr` is a (nested) field."""
    while isinstance(expr, relay.TupleGetItem):
        expr = expr.tuple_value
    return expr


def _axis_name(
    calls: list[relay.Call],
    dim: int,
    trace: _AxisTrace,
    needs: tuple[InputAccess | None, ...],
    args: dict[relay.Expr, int],
    names: dict[int, DimNames],
) -> str:
    """Name an output dimension: as in the nearest operator with a layout, else as in the producer."""
    for call in reversed(calls):
        d = trace.calls[call][0]
        if kind_of(call) in (OpKind.DENSE, OpKind.BATCH_MATMUL):
            return rank_names(shape_of(call))[d]
        for key in ("data_layout", "layout"):
            if key in attr_names(call):
                layout = str(getattr(call.attrs, key))
                if layout.isalpha() and layout.isupper() and len(layout) == len(shape_of(call)):
                    return _layout_names(layout, shape_of(call))[d]
    for value, need in zip(dict.fromkeys(args.values()), needs, strict=True):
        if need is not None and need.dim in names.get(value, {}):
            return names[value][need.dim]
    return rank_names(shape_of(calls[-1]))[dim]


def rank_names(shape: Sequence[int]) -> list[str]:
    """Name a tensor's dimensions if only its shape is known: matrices, then NCHW and similar layouts."""
    rank = len(shape)
    if rank <= 2:
        return ["m", "n"][2 - rank :] if rank else []
    if rank == 3:
        return ["batch", "m", "n"]
    if rank > 5:
        return [f"dim{d}" for d in range(rank)]
    return _layout_names("NC" + "DHW"[-(rank - 2) :], shape)


def _layout_names(layout: str, shape: Sequence[int]) -> list[str]:
    """Name the dimensions of a layout; of a map of height 1 the width is ``h``, as it is without that dimension."""
    names = [{"N": "batch", "C": "oc"}.get(c, "") for c in layout]
    spatial = [d for d, name in enumerate(names) if not name]
    first = next((i for i, d in enumerate(spatial) if shape[d] > 1), 0)
    for d, name in zip(spatial[first:] + spatial[:first], _SPATIAL_NAMES, strict=False):
        names[d] = name
    return names


def tile_alignment(name: str, extent: int) -> int:
    """Return what a planner's cuts are multiples of: channel blocks of CPU schedules, rows of GPU tiles."""
    steps, pieces = ((8, 4, 2), 8) if name in ("oc", "n") else ((4, 2), 8)
    return next((s for s in steps if extent % s == 0 and extent // s >= pieces), 1)
