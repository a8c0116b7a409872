"""Operators that move elements: concatenation, transposition, reshape, padding, slicing, repetition."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import tvm
from tvm import relay

from tvm_coexec.core.access import AccessMap, ClampedMap, MirroredMap, Range, identity
from tvm_coexec.core.op_kinds import OpKind

from .base import (
    ArgAccess,
    NotSplittable,
    OpSplit,
    Rule,
    count_accesses,
    count_elements,
    flat_args,
    int_list,
    rule,
    shape_of,
    slice_expr,
    with_args,
    with_attrs,
)
from .windows import plain_layout


@rule("concatenate")
class Concatenate(Rule):
    """Concatenation: along its axis a range reads consecutive fields, along other axes the same range of each field.

    A cut along the axis assigns whole fields (branches of the network) to each device and splits at most one.
    """

    kind = OpKind.CONCAT

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension."""
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
        """Concatenate the fields that the share reads."""
        kept = [a for a, g in zip(args, ranges, strict=True) if g is None or g[0] < g[1]]
        if len(kept) == 1:
            return kept[0]
        return relay.concatenate(kept, axis=int(call.attrs.axis))


@rule("stack")
class Stack(Rule):
    """Stack: the dimensions of the fields are independent."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension except the new one."""
        out = shape_of(call)
        fields = flat_args(call)
        axis = int(call.attrs.axis) % len(out)
        dims = [d for d in range(len(out)) if d != axis]
        return {d: OpSplit((ArgAccess(i, identity(out[d])),) * len(fields)) for i, d in enumerate(dims)}


@rule("transpose")
class Transpose(Rule):
    """Transposition: an output dimension reads the input dimension that it is permuted from."""

    kind = OpKind.MOVE

    def _order(self, call: relay.Call) -> list[int]:
        rank, axes = len(shape_of(call)), call.attrs.axes
        return list(reversed(range(rank))) if axes is None or not len(axes) else [a % rank for a in int_list(axes)]

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension."""
        order = self._order(call)
        return {d: OpSplit((ArgAccess(order[d], identity(n)),)) for d, n in enumerate(shape_of(call))}


@rule("layout_transform")
class LayoutTransform(Transpose):
    """Layout transform: between plain layouts a transposition."""

    def _order(self, call: relay.Call) -> list[int]:
        source, target = plain_layout(str(call.attrs.src_layout)), plain_layout(str(call.attrs.dst_layout))
        return [source.index(c) for c in target]


@rule("reshape", "contrib_reverse_reshape", "nn.batch_flatten", "squeeze", "expand_dims")
class Reshape(Rule):
    """Reshape: an output dimension can be split if it corresponds to an input dimension.

    Two dimensions correspond if the dimensions before them have equal products and one size divides the other: output
    row ``row`` of ``(h * d)`` is in input row ``row // d`` of ``(h, d)``; an output row of ``(h, d)`` is `d` input rows
    of ``(h * d)``.
    """

    kind = OpKind.VIEW

    def _source(self, call: relay.Call, dim: int) -> tuple[int, int, int] | None:
        """Return the corresponding input dimension, and the numbers of input and of output rows that correspond."""
        out, data = shape_of(call), shape_of(call.args[0])
        for d, n in enumerate(data):
            if n > 1 < out[dim] and prod(data[:d]) == prod(out[:dim]):
                if out[dim] % n == 0:
                    return d, 1, out[dim] // n
                if n % out[dim] == 0:
                    return d, n // out[dim], 1
        return None

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension that corresponds to an input dimension."""
        if len(call.args) > 1:
            raise NotSplittable("its new shape is computed at run time")
        found = {}
        for dim in range(len(shape_of(call))):
            source = self._source(call, dim)
            if source is not None:
                d, rows_in, rows_out = source
                reads = AccessMap(rows_in, 0, rows_in - 1, rows_out, shape_of(call.args[0])[d])
                found[dim] = OpSplit((ArgAccess(d, reads),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Reshape the share, and crop it if it holds more than its part of merged rows."""
        source, held = self._source(call, dim), ranges[0]
        assert source is not None and held is not None
        _, rows_in, rows_out = source
        shape = shape_of(call)
        shape[dim] = (held[1] - held[0]) * rows_out // rows_in
        start = held[0] * rows_out // rows_in
        return slice_expr(relay.reshape(args[0], shape), dim, (r[0] - start, r[1] - start), shape[dim])


@rule("nn.pad", "nn.mirror_pad")
class Pad(Rule):
    """Padding: each share pads its own end; mirrored padding also reads the rows that it mirrors."""

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
        """Split along every dimension."""
        data = shape_of(call.args[0])
        rest = (None,) * (len(call.args) - 1)
        found = {}
        for dim, (n, width) in enumerate(zip(data, call.attrs.pad_width, strict=True)):
            before, after = int_list(width)
            reads = identity(n) if before == after == 0 else self._access_map(call, n, before, after)
            if reads is not None:
                found[dim] = OpSplit((ArgAccess(dim, reads), *rest))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Pad the share at its own end, and crop it."""
        widths = [int_list(w) for w in call.attrs.pad_width]
        before, after = widths[dim]
        if before == after == 0:
            return with_args(call, args)
        held = ranges[0]
        assert held is not None
        # In coordinates of the padded output, the rows that the share holds are [first, last).
        first, last = held[0] + before, held[1] + before
        widths[dim] = [max(0, first - r[0]), max(0, r[1] - last)]
        start = first - widths[dim][0]
        values = [[tvm.tir.IntImm("int32", w) for w in p] for p in widths]
        out = with_args(call, args, with_attrs(call, pad_width=values))
        total = held[1] - held[0] + sum(widths[dim])
        return slice_expr(out, dim, (r[0] - start, r[1] - start), total)


@rule("strided_slice")
class StridedSlice(Rule):
    """Strided slice: every dimension with a positive stride."""

    kind = OpKind.MOVE

    def _bounds(self, call: relay.Call) -> dict[int, tuple[int, int]]:
        """Return begin and stride of each dimension that the operator names."""
        data = shape_of(call.args[0])
        begin, axes = int_list(call.attrs.begin), call.attrs.axes
        strides = int_list(call.attrs.strides) if call.attrs.strides else [1]
        if str(call.attrs.slice_mode) == "size":
            strides = [1]  # TVM ignores them
        strides = strides * len(begin) if len(strides) == 1 else strides
        found = {}
        for i, axis in enumerate(range(len(begin)) if axes is None else int_list(axes)):
            n = data[axis % len(data)]
            stride = strides[i] if i < len(strides) else 1
            first = begin[i] + n if begin[i] < 0 else begin[i]
            found[axis % len(data)] = (max(0, min(first, n if stride > 0 else n - 1)), stride)
        return found

    def reads(self, call: relay.Call) -> tuple[float | None, ...]:
        """Count the elements in the cache lines of the slice, not all of the data."""
        data, out = shape_of(call.args[0]), shape_of(call)
        rest = (None,) * (len(call.args) - 1)
        if rest:
            return (count_elements(call), *rest)
        bounds = self._bounds(call)
        strided = [d for d in range(len(out)) if abs(bounds.get(d, (0, 1))[1]) > 1 and out[d] > 1]
        inner = strided[-1] + 1 if strided else 0
        run = prod(out[inner:])
        step = abs(bounds[inner - 1][1]) * prod(data[inner:]) if strided else None
        times = count_elements(call) / max(1, run)
        return (min(count_elements(call.args[0]), count_accesses(times, call.args[0], run, step)),)

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension with a positive stride."""
        data = shape_of(call.args[0])
        if len(call.args) > 1:
            raise NotSplittable("its bounds are computed at run time")
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
        """Slice what remains: along `dim` the share holds its first row at 0, and keeps the stride."""
        out, bounds = shape_of(call), self._bounds(call)
        bounds = {d: b for d, b in bounds.items() if d != dim} | {dim: (0, bounds.get(dim, (0, 1))[1])}
        out[dim] = r[1] - r[0]
        data = shape_of(call.args[0])
        held = ranges[0]
        assert held is not None
        data[dim] = held[1] - held[0]
        named = [d for d, b in sorted(bounds.items()) if b != (0, 1) or out[d] != data[d]]
        if not named:
            return args[0]
        begin, strides = [bounds[d][0] for d in named], [bounds[d][1] for d in named]
        end = [b + (out[d] - 1) * s + (1 if s > 0 else -1) for d, b, s in zip(named, begin, strides, strict=True)]
        # With a negative stride a slice down to row 0 ends before it; -1 would mean the last row, -n - 1 does not.
        end = [e if e >= 0 else -data[d] - 1 for d, e in zip(named, end, strict=True)]
        return relay.strided_slice(args[0], begin=begin, end=end, strides=strides, axes=named)


@rule("tile")
class Tile(Rule):
    """Tile: every dimension that is not repeated."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension that is not repeated."""
        out, data = shape_of(call), shape_of(call.args[0])
        skip = len(out) - len(data)
        return {d + skip: OpSplit((ArgAccess(d, identity(n)),)) for d, n in enumerate(data) if out[d + skip] == n}


@rule("repeat")
class Repeat(Rule):
    """Repeat: along its axis output row ``i`` reads input row ``i // repeats``."""

    kind = OpKind.MOVE

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension."""
        data = shape_of(call.args[0])
        if call.attrs.axis is None:
            raise NotSplittable("repeat works on the flattened array")
        axis, repeats = int(call.attrs.axis) % len(data), int(call.attrs.repeats)
        found = {d: OpSplit((ArgAccess(d, identity(n)),)) for d, n in enumerate(data)}
        found[axis] = OpSplit((ArgAccess(axis, AccessMap(1, 0, 0, repeats, data[axis])),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Repeat the share's rows, and crop it."""
        held = ranges[0]
        assert held is not None
        repeats = shape_of(call)[dim] // shape_of(call.args[0])[dim]
        start, rows = held[0] * repeats, (held[1] - held[0]) * repeats
        return slice_expr(with_args(call, args), dim, (r[0] - start, r[1] - start), rows)
