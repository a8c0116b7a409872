"""Operators that move elements about: concatenation, transposition, reshape, padding, slicing, repetition."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import tvm
from tvm import relay

from tvm_coexec.core.access import AccessMap, ClampedMap, MirroredMap, Range, identity
from tvm_coexec.core.op_kinds import OpKind

from .base import ArgAccess, OpSplit, Refusal, Rule, flat_args, ints, rule, shape_of, slice_expr, with_args, with_attrs
from .windows import plain_layout


@rule("concatenate")
class Concatenate(Rule):
    """Along other axes each field is divided alike; along its own axis a range falls on a run of fields.

    So a cut through concatenated channels gives whole branches to each device and divides at most one of them.
    """

    kind = OpKind.CONCAT

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension."""
        out = shape_of(call)
        fields = [shape_of(a) for a in flat_args(call)]
        axis = int(call.attrs.axis) % len(out)
        found = {d: OpSplit((ArgAccess(d, identity(n)),) * len(fields)) for d, n in enumerate(out) if d != axis}
        needs, offset = [], 0
        for shape in fields:
            needs.append(ArgAccess(axis, AccessMap(1, -offset, -offset, 1, shape[axis])))
            offset += shape[axis]
        found[axis] = OpSplit(tuple(needs))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """The fields that the share touches."""
        kept = [a for a, g in zip(args, ranges, strict=True) if g is None or g[0] < g[1]]
        if len(kept) == 1:
            return kept[0]
        return relay.concatenate(kept, axis=int(call.attrs.axis))


@rule("stack")
class Stack(Rule):
    """Every dimension of the fields."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension but the new one."""
        out = shape_of(call)
        fields = flat_args(call)
        axis = int(call.attrs.axis) % len(out)
        dims = [d for d in range(len(out)) if d != axis]
        return {d: OpSplit((ArgAccess(i, identity(out[d])),) * len(fields)) for i, d in enumerate(dims)}


@rule("transpose")
class Transpose(Rule):
    """The split dimension moves with the permutation."""

    kind = OpKind.MOVE

    def _order(self, call: relay.Call) -> list[int]:
        rank, axes = len(shape_of(call)), call.attrs.axes
        return list(reversed(range(rank))) if axes is None or not len(axes) else [a % rank for a in ints(axes)]

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension."""
        order = self._order(call)
        return {d: OpSplit((ArgAccess(order[d], identity(n)),)) for d, n in enumerate(shape_of(call))}


@rule("layout_transform")
class LayoutTransform(Transpose):
    """Between plain layouts it is a transposition."""

    def _order(self, call: relay.Call) -> list[int]:
        source, target = plain_layout(str(call.attrs.src_layout)), plain_layout(str(call.attrs.dst_layout))
        return [source.index(c) for c in target]


@rule("reshape", "contrib_reverse_reshape", "nn.batch_flatten", "squeeze", "expand_dims")
class Reshape(Rule):
    """A dimension survives where it begins at the same place of the array: as it is, merged, or divided.

    With as many elements before them, output dimension ``(h)`` and input dimension ``(h)`` are one; output rows of
    ``(h * d)`` lie in input row ``row // d`` of ``(h, d)``; an output row of ``(h, d)`` is `d` rows of ``(h * d)``.
    """

    kind = OpKind.VIEW

    def _source(self, call: relay.Call, dim: int) -> tuple[int, int, int] | None:
        """Input dimension, input rows and output rows that correspond to each other."""
        out, data = shape_of(call), shape_of(call.args[0])
        for d, n in enumerate(data):
            if n > 1 < out[dim] and prod(data[:d]) == prod(out[:dim]):
                if out[dim] % n == 0:
                    return d, 1, out[dim] // n
                if n % out[dim] == 0:
                    return d, n // out[dim], 1
        return None

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Dimensions with a counterpart."""
        if len(call.args) > 1:
            raise Refusal("its new shape is computed at run time")
        found = {}
        for dim in range(len(shape_of(call))):
            source = self._source(call, dim)
            if source is not None:
                d, rows, made = source
                found[dim] = OpSplit((ArgAccess(d, AccessMap(rows, 0, rows - 1, made, shape_of(call.args[0])[d])),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """The share reshaped, and cropped where it holds parts of merged rows too many."""
        source, got = self._source(call, dim), ranges[0]
        assert source is not None and got is not None
        _, rows, made = source
        shape = shape_of(call)
        shape[dim] = (got[1] - got[0]) * made // rows
        start = got[0] * made // rows
        return slice_expr(relay.reshape(args[0], shape), dim, (r[0] - start, r[1] - start), shape[dim])


@rule("nn.pad", "nn.mirror_pad")
class Pad(Rule):
    """Each share pads its own end; a mirrored end needs the rows that are seen in the mirror."""

    kind = OpKind.MOVE

    def _access_map(self, call: relay.Call, n: int, before: int, after: int) -> AccessMap | None:
        mode = str(call.attrs.pad_mode) if call.op.name == "nn.pad" else str(call.attrs.mode).lower()
        if min(before, after) < 0:
            return None
        if mode in ("constant", "edge"):
            return ClampedMap(1, -before, -before, 1, n, before, before + n - 1)
        if mode in ("reflect", "symmetric"):
            return MirroredMap(1, -before, -before, 1, n, int(mode == "reflect"))
        return None

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension."""
        data = shape_of(call.args[0])
        rest = (None,) * (len(call.args) - 1)
        found = {}
        for dim, (n, width) in enumerate(zip(data, call.attrs.pad_width, strict=True)):
            before, after = ints(width)
            reads = identity(n) if before == after == 0 else self._access_map(call, n, before, after)
            if reads is not None:
                found[dim] = OpSplit((ArgAccess(dim, reads), *rest))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """The share padded at its own end, then cropped."""
        widths = [ints(w) for w in call.attrs.pad_width]
        before, after = widths[dim]
        if before == after == 0:
            return with_args(call, args)
        got = ranges[0]
        assert got is not None
        # In the coordinates of the padded output the rows we hold start at got[0] + before.
        first, last = got[0] + before, got[1] + before
        widths[dim] = [max(0, first - r[0]), max(0, r[1] - last)]
        start = first - widths[dim][0]
        values = [[tvm.tir.IntImm("int32", w) for w in p] for p in widths]
        out = with_args(call, args, with_attrs(call, pad_width=values))
        total = got[1] - got[0] + sum(widths[dim])
        return slice_expr(out, dim, (r[0] - start, r[1] - start), total)


@rule("strided_slice")
class StridedSlice(Rule):
    """Dimensions that the slice leaves whole, and those that it walks through forwards."""

    kind = OpKind.MOVE

    def _bounds(self, call: relay.Call) -> dict[int, tuple[int, int]]:
        """Begin and stride of each dimension that the operator names."""
        data = shape_of(call.args[0])
        begin, axes = ints(call.attrs.begin), call.attrs.axes
        strides = ints(call.attrs.strides) if call.attrs.strides else [1]
        if str(call.attrs.slice_mode) == "size":
            strides = [1]  # TVM ignores them
        strides = strides * len(begin) if len(strides) == 1 else strides
        found = {}
        for i, axis in enumerate(range(len(begin)) if axes is None else ints(axes)):
            n = data[axis % len(data)]
            stride = strides[i] if i < len(strides) else 1
            first = begin[i] + n if begin[i] < 0 else begin[i]
            found[axis % len(data)] = (max(0, min(first, n if stride > 0 else n - 1)), stride)
        return found

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension but those that are walked through backwards."""
        data = shape_of(call.args[0])
        if len(call.args) > 1:
            raise Refusal("its bounds are computed at run time")
        bounds = self._bounds(call)
        found = {}
        for d, n in enumerate(data):
            begin, stride = bounds.get(d, (0, 1))
            if stride > 0:
                found[d] = OpSplit((ArgAccess(d, AccessMap(stride, begin, begin, 1, n)),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """What is left of the slice: the share begins where it must and keeps its stride."""
        out, bounds = shape_of(call), self._bounds(call)
        bounds = {d: b for d, b in bounds.items() if d != dim} | {dim: (0, bounds.get(dim, (0, 1))[1])}
        out[dim] = r[1] - r[0]
        data = shape_of(call.args[0])
        got = ranges[0]
        assert got is not None
        data[dim] = got[1] - got[0]
        named = [d for d, b in sorted(bounds.items()) if b != (0, 1) or out[d] != data[d]]
        if not named:
            return args[0]
        begin, strides = [bounds[d][0] for d in named], [bounds[d][1] for d in named]
        end = [b + (out[d] - 1) * s + (1 if s > 0 else -1) for d, b, s in zip(named, begin, strides, strict=True)]
        # Backwards down to the first row ends before row 0, which is spelled as far to the left as it takes.
        end = [e if e >= 0 else -data[d] - 1 for d, e in zip(named, end, strict=True)]
        return relay.strided_slice(args[0], begin=begin, end=end, strides=strides, axes=named)


@rule("tile")
class Tile(Rule):
    """Dimensions that are not repeated."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension with repetition 1."""
        out, data = shape_of(call), shape_of(call.args[0])
        skip = len(out) - len(data)
        return {d + skip: OpSplit((ArgAccess(d, identity(n)),)) for d, n in enumerate(data) if out[d + skip] == n}


@rule("repeat")
class Repeat(Rule):
    """Along its axis output row `i` is input row ``i // repeats``."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension."""
        data = shape_of(call.args[0])
        if call.attrs.axis is None:
            raise Refusal("repeat works on the flattened array")
        axis, repeats = int(call.attrs.axis) % len(data), int(call.attrs.repeats)
        found = {d: OpSplit((ArgAccess(d, identity(n)),)) for d, n in enumerate(data)}
        found[axis] = OpSplit((ArgAccess(axis, AccessMap(1, 0, 0, repeats, data[axis])),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """The share repeated, then cropped."""
        got = ranges[0]
        assert got is not None
        repeats = shape_of(call)[dim] // shape_of(call.args[0])[dim]
        start, rows = got[0] * repeats, (got[1] - got[0]) * repeats
        return slice_expr(with_args(call, args), dim, (r[0] - start, r[1] - start), rows)
