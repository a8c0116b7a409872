"""Operators that slide a window: convolutions, transposed convolutions, pooling, resizing.

Along a spatial axis a range of output rows needs the rows under its windows (the halo included). The share's own
padding is what is left of the operator's padding at that end, so the arithmetic of every element stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relay

from tvm_coexec.kernel_graph import Range, Step, identity

from .base import ArgNeed, OpSplit, Refusal, Rule, flat_args, ints, rule, shape_of, slice_expr, with_args, with_attrs


def plain_layout(layout: str) -> str:
    """The layout when it has one letter per dimension; raises `Refusal` for packed ones such as NCHW16c."""
    if not layout.isalpha() or not layout.isupper():
        raise Refusal(f"layout {layout} is packed")
    return layout


def pads(values: object, n: int) -> tuple[list[int], list[int]]:
    """Padding before and after each of `n` spatial axes, from any of TVM's spellings."""
    p = ints(values)
    if len(p) == 1:
        p = p * n
    return (p, list(p)) if len(p) == n else (p[:n], p[n:])


def spatial_letters(layout: str) -> list[str]:
    """The spatial letters of a data layout, outermost first (``NCHW`` -> ``['H', 'W']``)."""
    return [c for c in layout if c not in "NC"]


class Window:
    """Geometry of one spatial axis of a windowed operator."""

    def __init__(self, kernel: int, stride: int, dilation: int, before: int, after: int, extent: int):
        self.reach = (kernel - 1) * dilation
        self.stride, self.before, self.after, self.extent = stride, before, after, extent

    def step(self) -> Step:
        """Rows under the windows of an output range."""
        return Step(self.stride, -self.before, self.reach - self.before, 1, self.extent)

    def ok(self) -> bool:
        """Whether every window touches the input, so that no share is made of padding alone."""
        return self.before <= self.reach and self.after <= self.reach

    def share_pads(self, r: Range, got: Range) -> tuple[int, int]:
        """Padding of the share that computes output rows `r` from input rows `got`."""
        first = r[0] * self.stride - self.before
        last = (r[1] - 1) * self.stride - self.before + self.reach + 1
        return got[0] - first, last - got[1]


def _padding_attr(before: list[int], after: list[int]) -> list[int]:
    return [*before, *after]


@rule("nn.conv1d", "nn.conv2d", "nn.conv3d")
class Conv(Rule):
    """Convolution: output channels (whole groups at a time), rows, batch."""

    def _layouts(self, call: relay.Call) -> tuple[str, str]:
        data, out = str(call.attrs["data_layout"]), str(call.attrs["out_layout"])
        if out not in ("", data):
            raise Refusal(f"its output layout {out} differs from {data}")
        return plain_layout(data), plain_layout(str(call.attrs["kernel_layout"]))

    def _window(self, call: relay.Call, letter: str) -> Window:
        layout, kernel_layout = self._layouts(call)
        i = spatial_letters(layout).index(letter)
        n = len(spatial_letters(layout))
        before, after = pads(call.attrs["padding"], n)
        return Window(
            shape_of(call.args[1])[kernel_layout.index(letter)],
            ints(call.attrs["strides"])[i],
            ints(call.attrs["dilation"])[i],
            before[i],
            after[i],
            shape_of(call.args[0])[layout.index(letter)],
        )

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        layout, kernel_layout = self._layouts(call)
        data, weight, out = shape_of(call.args[0]), shape_of(call.args[1]), shape_of(call)
        groups = int(call.attrs["groups"])
        c, n = layout.index("C"), layout.index("N")
        found = {n: OpSplit((ArgNeed(n, identity(data[n])), None))}
        o = kernel_layout.index("O")
        if weight[o] == out[c]:
            per_group_in, per_group_out = data[c] // groups, out[c] // groups
            group_step = Step(per_group_in, 0, per_group_in - 1, per_group_out, data[c])
            channels = ArgNeed(c, group_step) if groups > 1 else None
            granule = per_group_out if groups > 1 else 1
            found[c] = OpSplit((channels, ArgNeed(o, identity(out[c]))), granule)
        for letter in spatial_letters(layout):
            window, d = self._window(call, letter), layout.index(letter)
            if window.ok():
                found[d] = OpSplit((ArgNeed(d, window.step()), None))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        layout, _ = self._layouts(call)
        letter = layout[dim]
        if letter == "N":
            return with_args(call, args)
        if letter == "C":
            groups = int(call.attrs["groups"])
            size = r[1] - r[0]
            share_groups = size * groups // shape_of(call)[dim] if groups > 1 else 1
            channels = None if call.attrs["channels"] is None else size
            return with_args(call, args, with_attrs(call, channels=channels, groups=share_groups))
        assert ranges[0] is not None
        i = spatial_letters(layout).index(letter)
        before, after = pads(call.attrs["padding"], len(spatial_letters(layout)))
        before, after = list(before), list(after)
        before[i], after[i] = self._window(call, letter).share_pads(r, ranges[0])
        return with_args(call, args, with_attrs(call, padding=_padding_attr(before, after)))


@rule("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")
class ConvTranspose(Conv):
    """Transposed convolution: an output row needs the input rows whose windows fall on it."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        layout, kernel_layout = self._layouts(call)
        data, weight, out = shape_of(call.args[0]), shape_of(call.args[1]), shape_of(call)
        groups = int(call.attrs["groups"])
        c, n = layout.index("C"), layout.index("N")
        # TVM spells the kernel layout IOHW or (older) OIHW; either way dimension 0 runs over the input channels.
        i, o = 0, 1
        if kernel_layout[:2] not in ("IO", "OI") or weight[i] != data[c] or weight[o] * groups != out[c]:
            raise Refusal(f"kernel layout {kernel_layout} of a transposed convolution")
        found = {n: OpSplit((ArgNeed(n, identity(data[n])), None))}
        if groups == 1:
            found[c] = OpSplit((None, ArgNeed(o, identity(out[c]))))
        else:
            per_in, per_out = data[c] // groups, out[c] // groups
            step = Step(per_in, 0, per_in - 1, per_out, data[c])
            found[c] = OpSplit((ArgNeed(c, step), ArgNeed(i, step)), per_out)
        for k, letter in enumerate(spatial_letters(layout)):
            if ints(call.attrs["dilation"])[k] != 1:
                continue
            d = layout.index(letter)
            stride = ints(call.attrs["strides"])[k]
            before = pads(call.attrs["padding"], len(spatial_letters(layout)))[0][k]
            reach = weight[kernel_layout.index(letter)] - 1
            # ceil((lo + before - reach) / stride), but never past the row whose window starts at or before lo
            low = min(before - reach + stride - 1, before)
            found[d] = OpSplit((ArgNeed(d, _NonEmpty(1, low, before, stride, data[d])), None))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        layout, kernel_layout = self._layouts(call)
        letter = layout[dim]
        if letter in "NC":
            return super().rebuild(call, dim, r, args, ranges)
        got = ranges[0]
        assert got is not None
        n = len(spatial_letters(layout))
        i = spatial_letters(layout).index(letter)
        before, after = (list(p) for p in pads(call.attrs["padding"], n))
        extra = ints(call.attrs["output_padding"])
        extra = extra * n if len(extra) == 1 else list(extra)
        stride, reach = ints(call.attrs["strides"])[i], shape_of(call.args[1])[kernel_layout.index(letter)] - 1
        first = got[0] * stride - before[i]  # output row of the first product, uncropped
        last = (got[1] - 1) * stride - before[i] + reach + 1
        # A crop wider than the kernel is not a padding TVM can express: crop the rest afterwards.
        front, back = r[0] - first, last - r[1]
        before[i] = max(0, min(front, reach))
        after[i] = max(0, min(back, reach))
        extra[i] = min(max(0, -back), stride - 1)
        attrs = with_attrs(call, padding=_padding_attr(before, after), output_padding=extra)
        start = first + before[i]
        total = last - after[i] + extra[i] - start
        return slice_expr(with_args(call, args, attrs), dim, (r[0] - start, r[1] - start), total)


class _NonEmpty(Step):
    """A map that reads at least one row: output rows that no window reaches are zeros, still made by the operator."""

    def apply(self, r: Range) -> Range:
        lo, hi = super().apply(r)
        if lo < hi or r[0] >= r[1]:
            return (lo, hi)
        row = min(max((r[0] + self.e) // self.c, 0), self.extent - 1)
        return (row, row + 1)


@rule("nn.max_pool1d", "nn.max_pool2d", "nn.max_pool3d", "nn.avg_pool1d", "nn.avg_pool2d", "nn.avg_pool3d")
class Pool(Rule):
    """Pooling: channels and batch pass through, rows like a convolution's."""

    def _window(self, call: relay.Call, letter: str) -> Window:
        layout = plain_layout(str(call.attrs["layout"]))
        letters = spatial_letters(layout)
        i = letters.index(letter)
        before, after = pads(call.attrs["padding"], len(letters))
        extent = shape_of(call.args[0])[layout.index(letter)]
        kernel, stride = ints(call.attrs["pool_size"])[i], ints(call.attrs["strides"])[i]
        return Window(kernel, stride, ints(call.attrs["dilation"])[i], before[i], after[i], extent)

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        layout = plain_layout(str(call.attrs["layout"]))
        data = shape_of(call.args[0])
        found = {d: OpSplit((ArgNeed(d, identity(data[d])),)) for d, c in enumerate(layout) if c in "NC"}
        for letter in spatial_letters(layout):
            window, d = self._window(call, letter), layout.index(letter)
            # with ceil_mode the last window may begin in the padding; such rows are left whole
            out = shape_of(call)[d]
            if window.ok() and (out - 1) * window.stride - window.before < window.extent:
                found[d] = OpSplit((ArgNeed(d, window.step()),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        layout = plain_layout(str(call.attrs["layout"]))
        letter = layout[dim]
        if letter in "NC":
            return with_args(call, args)
        assert ranges[0] is not None
        letters = spatial_letters(layout)
        before, after = (list(p) for p in pads(call.attrs["padding"], len(letters)))
        if bool(call.attrs["ceil_mode"]):
            # Say what ceil_mode adds as padding: the share's own last window must not be rounded again.
            for i, other in enumerate(letters):
                n = shape_of(call)[layout.index(other)]
                window = self._window(call, other)
                after[i] = window.share_pads((0, n), (0, window.extent))[1]
        i = letters.index(letter)
        before[i], after[i] = self._window(call, letter).share_pads(r, ranges[0])
        if any(p < 0 for p in after):
            # Rows that no window reads (floor mode leaves them): drop them from the other axes' padding only.
            after = [max(0, p) for p in after]
        return with_args(call, args, with_attrs(call, padding=_padding_attr(before, after), ceil_mode=False))


@rule("nn.global_max_pool2d", "nn.global_avg_pool2d", "nn.adaptive_max_pool1d", "nn.adaptive_avg_pool1d")
class GlobalPool(Rule):
    """Pooling over whole maps: only channels and batch can be divided."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        layout = plain_layout(str(call.attrs["layout"]))
        data = shape_of(call.args[0])
        return {d: OpSplit((ArgNeed(d, identity(data[d])),)) for d, c in enumerate(layout) if c in "NC"}


@rule("nn.adaptive_max_pool2d", "nn.adaptive_avg_pool2d", "nn.adaptive_max_pool3d", "nn.adaptive_avg_pool3d")
class AdaptivePool(GlobalPool):
    """As global pooling; the windows of an adaptive pooling differ in size from row to row."""


@rule("nn.upsampling", "nn.upsampling3d", "image.resize1d", "image.resize2d", "image.resize3d")
class Resize(Rule):
    """Channels and batch always; rows where a share interpolates with the same weights as the whole.

    That holds for integer scales and coordinates that move with the data (half-pixel, asymmetric): the share takes
    neighbouring rows along and crops what its own clamped ends would spoil.
    """

    def _method(self, call: relay.Call) -> str:
        return str(call.attrs["method"])

    def _translates(self, call: relay.Call) -> bool:
        if call.op.name.startswith("nn.upsampling"):
            if call.op.name.endswith("3d"):
                return str(call.attrs["coordinate_transformation_mode"]) in ("half_pixel", "asymmetric")
            return not bool(call.attrs["align_corners"])
        mode = str(call.attrs["coordinate_transformation_mode"])
        if self._method(call) == "nearest_neighbor" and mode == "asymmetric":
            return str(call.attrs["rounding_method"]) in ("", "floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        return mode in ("half_pixel", "asymmetric")

    def _halo(self, call: relay.Call) -> int:
        return {"nearest_neighbor": 1, "linear": 1, "bilinear": 1, "trilinear": 1}.get(self._method(call), 2)

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        layout = plain_layout(str(call.attrs["layout"]))
        args = flat_args(call)
        if len(args) > 1:
            raise Refusal("its size is computed at run time")
        data, out = shape_of(args[0]), shape_of(call)
        found = {}
        for d, letter in enumerate(layout):
            if letter in "NC":
                found[d] = OpSplit((ArgNeed(d, identity(data[d])),))
            elif out[d] % data[d] == 0 and self._translates(call):
                scale, halo = out[d] // data[d], self._halo(call)
                found[d] = OpSplit((ArgNeed(d, Step(1, -halo * scale, halo * scale, scale, data[d])),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        layout = plain_layout(str(call.attrs["layout"]))
        if layout[dim] in "NC":
            return with_args(call, args)
        got = ranges[0]
        assert got is not None
        scale = shape_of(call)[dim] // shape_of(call.args[0])[dim]
        rows = (got[1] - got[0]) * scale
        if call.op.name.startswith("nn.upsampling"):
            out = with_args(call, args)
        else:
            size = ints(call.attrs["size"])
            size[spatial_letters(layout).index(layout[dim])] = rows
            out = with_args(call, args, with_attrs(call, size=size))
        start = got[0] * scale
        return slice_expr(out, dim, (r[0] - start, r[1] - start), rows)
