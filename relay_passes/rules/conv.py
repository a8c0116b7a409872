"""Convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tvm import relay

from tvm_coexec.core.access import AccessMap, NonEmptyMap, Range, identity
from tvm_coexec.core.kernel_graph import REDUCED
from tvm_coexec.core.op_kinds import OpKind

from .base import ArgAccess, OpSplit, Refusal, Rule, elements, rule, shape_of, slice_expr, with_args, with_attrs
from .windows import Window, each, pads, plain_layout, spatial_letters


class ConvLike(Rule):
    """What both kinds share: layouts, and the division of output channels."""

    def _layouts(self, call: relay.Call) -> tuple[str, str]:
        data, out = str(call.attrs.data_layout), str(call.attrs.out_layout)
        if out not in ("", data):
            raise Refusal(f"its output layout {out} differs from {data}")
        return plain_layout(data), plain_layout(str(call.attrs.kernel_layout))

    def _channel_attrs(self, call: relay.Call, dim: int, r: Range) -> dict:
        """Attributes of the share that computes output channels `r`; they are whole groups."""
        groups, size = int(call.attrs.groups), r[1] - r[0]
        share_groups = size * groups // shape_of(call)[dim] if groups > 1 else 1
        return {"channels": None if call.attrs.channels is None else size, "groups": share_groups}


def group_map(per_group_in: int, per_group_out: int, extent: int) -> AccessMap:
    """Input channels of the groups that an output channel range touches."""
    return AccessMap(per_group_in, 0, per_group_in - 1, per_group_out, extent)


@rule("nn.conv1d", "nn.conv2d", "nn.conv3d")
class Conv(ConvLike):
    """Convolution: output channels (whole groups at a time), rows, batch; if there are no groups, input channels."""

    kind = OpKind.CONV

    def flops(self, call: relay.Call) -> float:
        """A product and a sum for each element of the output and each weight of its channel."""
        layout = str(call.attrs.kernel_layout)
        outputs = layout.index("O") if layout.isalpha() else 0
        return 2.0 * elements(call) * prod(n for d, n in enumerate(shape_of(call.args[1])) if d != outputs)

    def _window(self, call: relay.Call, letter: str) -> Window:
        layout, kernel_layout = self._layouts(call)
        letters = spatial_letters(layout)
        i, n = letters.index(letter), len(letters)
        before, after = pads(call.attrs.padding, n)
        return Window(
            shape_of(call.args[1])[kernel_layout.index(letter)],
            each(call.attrs.strides, n)[i],
            each(call.attrs.dilation, n)[i],
            before[i],
            after[i],
            shape_of(call.args[0])[layout.index(letter)],
        )

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension; channels by groups; input channels where all of them are summed up."""
        layout, kernel_layout = self._layouts(call)
        data, weight, out = shape_of(call.args[0]), shape_of(call.args[1]), shape_of(call)
        groups = int(call.attrs.groups)
        c, n = layout.index("C"), layout.index("N")
        o, i = kernel_layout.index("O"), kernel_layout.index("I")
        found = {n: OpSplit((ArgAccess(n, identity(data[n])), None))}
        per_in, per_out = data[c] // groups, out[c] // groups
        if groups == 1:
            found[c] = OpSplit((None, ArgAccess(o, identity(out[c]))))
            found[REDUCED] = OpSplit((ArgAccess(c, identity(data[c])), ArgAccess(i, identity(data[c]))))
        elif weight[o] == out[c]:
            channels = ArgAccess(c, group_map(per_in, per_out, data[c]))
            found[c] = OpSplit((channels, ArgAccess(o, identity(out[c]))), per_out)
        elif weight[o] == groups and weight[i] == per_out:
            # TVM writes depthwise kernels in HWOI as (.., input channel, multiplier).
            channels = ArgAccess(c, group_map(per_in, per_out, data[c]))
            found[c] = OpSplit((channels, ArgAccess(o, group_map(1, per_out, groups))), per_out)
        for letter in spatial_letters(layout):
            window, d = self._window(call, letter), layout.index(letter)
            if window.ok():
                found[d] = OpSplit((ArgAccess(d, window.access_map(out[d])), None))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """The convolution of the share."""
        if dim == REDUCED:
            return with_args(call, args)
        layout, kernel_layout = self._layouts(call)
        letter = layout[dim]
        if letter == "N":
            return with_args(call, args)
        if letter == "C":
            attrs = self._channel_attrs(call, dim, r)
            if attrs["groups"] == 1 and int(call.attrs.groups) > 1 and kernel_layout == "HWOI":
                # One group is an ordinary convolution, and TVM compiles those with HWIO only. The array is the same:
                # (.., one input channel, multiplier).
                attrs["kernel_layout"] = "HWIO"
            return with_args(call, args, with_attrs(call, **attrs))
        assert ranges[0] is not None
        letters = spatial_letters(layout)
        i = letters.index(letter)
        before, after = pads(call.attrs.padding, len(letters))
        share = self._window(call, letter).share(r, ranges[0])
        before[i], after[i] = share.before, share.after
        out = with_args(call, args, with_attrs(call, padding=[*before, *after]))
        return slice_expr(out, dim, share.at, share.rows)


@rule("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")
class ConvTranspose(ConvLike):
    """Transposed convolution: an output row needs the input rows whose windows fall on it."""

    kind = OpKind.TRANSPOSED_CONV

    def flops(self, call: relay.Call) -> float:
        """A product and a sum for each element of the input and each weight that it meets."""
        return 2.0 * elements(call.args[0]) * prod(shape_of(call.args[1])[1:])

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Every dimension; channels by groups, rows where nothing is dilated."""
        layout, kernel_layout = self._layouts(call)
        data, weight, out = shape_of(call.args[0]), shape_of(call.args[1]), shape_of(call)
        groups = int(call.attrs.groups)
        letters = spatial_letters(layout)
        c, n = layout.index("C"), layout.index("N")
        # TVM spells the kernel layout IOHW or (older) OIHW; either way dimension 0 runs over the input channels.
        i, o = 0, 1
        if kernel_layout[:2] not in ("IO", "OI") or weight[i] != data[c] or weight[o] * groups != out[c]:
            raise Refusal(f"kernel layout {kernel_layout} of a transposed convolution")
        found = {n: OpSplit((ArgAccess(n, identity(data[n])), None))}
        if groups == 1:
            found[c] = OpSplit((None, ArgAccess(o, identity(out[c]))))
        else:
            channels = group_map(data[c] // groups, out[c] // groups, data[c])
            found[c] = OpSplit((ArgAccess(c, channels), ArgAccess(i, channels)), out[c] // groups)
        for k, letter in enumerate(letters):
            if each(call.attrs.dilation, len(letters))[k] != 1:
                continue
            d = layout.index(letter)
            stride = each(call.attrs.strides, len(letters))[k]
            before = pads(call.attrs.padding, len(letters))[0][k]
            reach = weight[kernel_layout.index(letter)] - 1
            # ceil((lo + before - reach) / stride), but never past the row whose window starts at or before lo
            low = min(before - reach + stride - 1, before)
            found[d] = OpSplit((ArgAccess(d, NonEmptyMap(1, low, before, stride, data[d])), None))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """The transposed convolution of the share, cropped to its rows."""
        layout, kernel_layout = self._layouts(call)
        letter = layout[dim]
        if letter == "N":
            return with_args(call, args)
        if letter == "C":
            return with_args(call, args, with_attrs(call, **self._channel_attrs(call, dim, r)))
        got = ranges[0]
        assert got is not None
        letters = spatial_letters(layout)
        i, n = letters.index(letter), len(letters)
        before, after = pads(call.attrs.padding, n)
        extra = each(call.attrs.output_padding, n)
        stride, reach = each(call.attrs.strides, n)[i], shape_of(call.args[1])[kernel_layout.index(letter)] - 1
        first = got[0] * stride - before[i]  # output row of the first product, uncropped
        last = (got[1] - 1) * stride - before[i] + reach + 1
        # A crop wider than the kernel is not a padding TVM can express: crop the rest afterwards.
        front, back = r[0] - first, last - r[1]
        before[i] = max(0, min(front, reach))
        after[i] = max(0, min(back, reach))
        extra[i] = min(max(0, -back), stride - 1)
        attrs = with_attrs(call, padding=[*before, *after], output_padding=extra)
        start = first + before[i]
        total = last - after[i] + extra[i] - start
        return slice_expr(with_args(call, args, attrs), dim, (r[0] - start, r[1] - start), total)
