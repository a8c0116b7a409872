"""Operators that move elements about: concatenation, transposition, reshape, padding, slicing."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relay

from tvm_coexec.kernel_graph import Range, Step, identity

from .base import ArgNeed, OpSplit, Refusal, Rule, flat_args, ints, rule, shape_of, slice_expr, with_args, with_attrs


@rule("concatenate")
class Concatenate(Rule):
    """Along other axes each field is divided alike; along its own axis a range falls on a run of fields.

    So a cut through concatenated channels gives whole branches to each device and divides at most one of them.
    """

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        out = shape_of(call)
        fields = [shape_of(a) for a in flat_args(call)]
        axis = int(call.attrs["axis"]) % len(out)
        found = {d: OpSplit(tuple(ArgNeed(d, identity(n)) for _ in fields)) for d, n in enumerate(out) if d != axis}
        needs, offset = [], 0
        for shape in fields:
            needs.append(ArgNeed(axis, Step(1, -offset, -offset, 1, shape[axis])))
            offset += shape[axis]
        found[axis] = OpSplit(tuple(needs))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        kept = [a for a, g in zip(args, ranges) if g is None or g[0] < g[1]]
        if len(kept) == 1:
            return kept[0]
        return relay.concatenate(kept, axis=int(call.attrs["axis"]))


@rule("transpose")
class Transpose(Rule):
    """The split dimension moves with the permutation."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        out = shape_of(call)
        axes = call.attrs["axes"]
        order = list(reversed(range(len(out)))) if axes is None or not len(axes) else [a % len(out) for a in ints(axes)]
        return {d: OpSplit((ArgNeed(order[d], identity(n)),)) for d, n in enumerate(out)}


@rule("reshape", "nn.batch_flatten", "squeeze", "expand_dims")
class Reshape(Rule):
    """A dimension survives a reshape where the same size stands behind the same number of elements."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        out, data = shape_of(call), shape_of(call.args[0])
        if len(call.args) > 1:
            raise Refusal("its new shape is computed at run time")
        found = {}
        for dim, extent in enumerate(out):
            if extent == 1:
                continue
            for d, n in enumerate(data):
                if n == extent and _product(data[:d]) == _product(out[:dim]):
                    found[dim] = OpSplit((ArgNeed(d, identity(extent)),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        shape = shape_of(call)
        shape[dim] = r[1] - r[0]
        return relay.reshape(args[0], shape)


@rule("nn.pad", "nn.mirror_pad")
class Pad(Rule):
    """Unpadded dimensions pass through; with a constant value a padded one is divided and each share pads its own end."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        data = shape_of(call.args[0])
        rest = (None,) * (len(call.args) - 1)
        constant = call.op.name == "nn.pad" and str(call.attrs["pad_mode"]) == "constant"
        found = {}
        for dim, (n, (before, after)) in enumerate(zip(data, (ints(w) for w in call.attrs["pad_width"]))):
            if before == after == 0:
                found[dim] = OpSplit((ArgNeed(dim, identity(n)), *rest))
            elif constant and before >= 0 and after >= 0:
                found[dim] = OpSplit((ArgNeed(dim, _NonEmptyShift(1, -before, -before, 1, n)), *rest))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        widths = [ints(w) for w in call.attrs["pad_width"]]
        before, after = widths[dim]
        if before == after == 0:
            return with_args(call, args)
        got = ranges[0]
        assert got is not None
        # In the coordinates of the padded output the rows we hold start at got[0] + before.
        first, last = got[0] + before, got[1] + before
        widths[dim] = [max(0, first - r[0]), max(0, r[1] - last)]
        start = first - widths[dim][0]
        out = with_args(call, args, with_attrs(call, pad_width=[[tvm.tir.IntImm("int32", w) for w in p] for p in widths]))
        total = got[1] - got[0] + sum(widths[dim])
        return slice_expr(out, dim, (r[0] - start, r[1] - start), total)


class _NonEmptyShift(Step):
    """A shift that never asks for nothing: a share that lies all in the padding still reads one row to pad from."""

    def apply(self, r: Range) -> Range:
        lo, hi = super().apply(r)
        if lo < hi or r[0] >= r[1]:
            return (lo, hi)
        row = min(max(r[0] + self.b, 0), self.extent - 1)
        return (row, row + 1)


@rule("strided_slice")
class StridedSlice(Rule):
    """Dimensions that the slice leaves whole."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        out, data = shape_of(call), shape_of(call.args[0])
        if len(call.args) > 1:
            raise Refusal("its bounds are computed at run time")
        axes = call.attrs["axes"]
        named = range(len(ints(call.attrs["begin"]))) if axes is None else [a % len(data) for a in ints(axes)]
        begin, strides = ints(call.attrs["begin"]), ints(call.attrs["strides"]) if call.attrs["strides"] else []
        touched = {
            a
            for i, a in enumerate(named)
            if data[a] != out[a] or begin[i] not in (0, -data[a]) or (strides and strides[i % len(strides)] != 1)
        }
        return {d: OpSplit((ArgNeed(d, identity(n)),)) for d, n in enumerate(data) if d not in touched}

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        out, data = shape_of(call), shape_of(call.args[0])
        axes = call.attrs["axes"]
        begin, end = ints(call.attrs["begin"]), ints(call.attrs["end"])
        strides = ints(call.attrs["strides"]) if call.attrs["strides"] else [1]
        named = list(range(len(begin))) if axes is None else [a % len(data) for a in ints(axes)]
        keep = [i for i, a in enumerate(named) if a != dim]
        if not keep:
            return args[0]
        if str(call.attrs["slice_mode"]) == "size":
            end = [begin[i] + out[named[i]] for i in range(len(begin))]
        return relay.strided_slice(
            args[0],
            begin=[begin[i] for i in keep],
            end=[end[i] for i in keep],
            strides=[strides[i % len(strides)] for i in keep],
            axes=[named[i] for i in keep],
        )


def _product(values: Sequence[int]) -> int:
    total = 1
    for v in values:
        total *= v
    return total
