"""Convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tvm import relay

from tvm_coexec.core.access import AccessMap, NonEmptyMap, Range, identity
from tvm_coexec.core.kernel_graph import REDUCED
from tvm_coexec.core.op_kinds import OpKind

from .base import (
    ArgAccess,
    NotSplittable,
    OpSplit,
    Rule,
    count_elements,
    rule,
    shape_of,
    slice_expr,
    with_args,
    with_attrs,
)
from .windows import Window, expand_attr, plain_layout, spatial_letters, split_padding


class ConvLike(Rule):
    """Common to both kinds: layouts, and attributes of shares of output channels."""

    def _layouts(self, call: relay.Call) -> tuple[str, str]:
        data, out = str(call.attrs.data_layout), str(call.attrs.out_layout)
        if out not in ("", data):
            raise NotSplittable(f"its output layout {out} differs from {data}")
        return plain_layout(data), plain_layout(str(call.attrs.kernel_layout))

    def _channel_attrs(self, call: relay.Call, dim: int, r: Range) -> dict:
        """Return the attributes of a share that computes the output channels `r`, which are whole groups."""
        groups, size = int(call.attrs.groups), r[1] - r[0]
        share_groups = size * groups // shape_of(call)[dim] if groups > 1 else 1
        return {"channels": None if call.attrs.channels is None else size, "groups": share_groups}


def group_map(per_group_in: int, per_group_out: int, extent: int) -> AccessMap:
    """Return the map from output channels to the input channels of their groups."""
    return AccessMap(per_group_in, 0, per_group_in - 1, per_group_out, extent)


@rule("nn.conv1d", "nn.conv2d", "nn.conv3d")
class Conv(ConvLike):
    """Convolution: output channels (in whole groups), spatial axes, batch; without groups also input channels."""

    kind = OpKind.CONV

    def flops(self, call: relay.Call) -> float:
        """Count a multiply-add for each output element and each weight of its channel."""
        layout = str(call.attrs.kernel_layout)
        outputs = layout.index("O") if layout.isalpha() else 0
        return 2.0 * count_elements(call) * prod(n for d, n in enumerate(shape_of(call.args[1])) if d != outputs)

    def _window(self, call: relay.Call, letter: str) -> Window:
        layout, kernel_layout = self._layouts(call)
        letters = spatial_letters(layout)
        i, n = letters.index(letter), len(letters)
        before, after = split_padding(call.attrs.padding, n)
        return Window(
            shape_of(call.args[1])[kernel_layout.index(letter)],
            expand_attr(call.attrs.strides, n)[i],
            expand_attr(call.attrs.dilation, n)[i],
            before[i],
            after[i],
            shape_of(call.args[0])[layout.index(letter)],
        )

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension: channels in whole groups, input channels if there is one group."""
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
            # TVM stores depthwise kernels of layout HWOI as (.., input channel, multiplier).
            channels = ArgAccess(c, group_map(per_in, per_out, data[c]))
            found[c] = OpSplit((channels, ArgAccess(o, group_map(1, per_out, groups))), per_out)
        for letter in spatial_letters(layout):
            window, d = self._window(call, letter), layout.index(letter)
            if window.reads_input:
                found[d] = OpSplit((ArgAccess(d, window.access_map(out[d])), None))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Return the convolution of the share."""
        if dim == REDUCED:
            return with_args(call, args)
        layout, kernel_layout = self._layouts(call)
        letter = layout[dim]
        if letter == "N":
            return with_args(call, args)
        if letter == "C":
            attrs = self._channel_attrs(call, dim, r)
            if attrs["groups"] == 1 and int(call.attrs.groups) > 1 and kernel_layout == "HWOI":
                # One group is an ordinary convolution, which TVM compiles for HWIO only. The array is the same,
                # (.., one input channel, multiplier).
                attrs["kernel_layout"] = "HWIO"
            return with_args(call, args, with_attrs(call, **attrs))
        assert ranges[0] is not None
        letters = spatial_letters(layout)
        i = letters.index(letter)
        before, after = split_padding(call.attrs.padding, len(letters))
        share = self._window(call, letter).pad_share(r, ranges[0])
        before[i], after[i] = share.before, share.after
        out = with_args(call, args, with_attrs(call, padding=[*before, *after]))
        return slice_expr(out, dim, share.crop, share.rows)


@rule("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")
class ConvTranspose(ConvLike):
    """Transposed convolution: an output row reads the input rows whose windows contain it."""

    kind = OpKind.TRANSPOSED_CONV

    def flops(self, call: relay.Call) -> float:
        """Count a multiply-add for each input element and each weight of its channel."""
        return 2.0 * count_elements(call.args[0]) * prod(shape_of(call.args[1])[1:])

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension: channels in whole groups, spatial axes without dilation."""
        layout, kernel_layout = self._layouts(call)
        data, weight, out = shape_of(call.args[0]), shape_of(call.args[1]), shape_of(call)
        groups = int(call.attrs.groups)
        letters = spatial_letters(layout)
        c, n = layout.index("C"), layout.index("N")
        # TVM names the kernel layout IOHW or (older) OIHW; in both dimension 0 is the input channel.
        i, o = 0, 1
        if kernel_layout[:2] not in ("IO", "OI") or weight[i] != data[c] or weight[o] * groups != out[c]:
            raise NotSplittable(f"kernel layout {kernel_layout} of a transposed convolution")
        found = {n: OpSplit((ArgAccess(n, identity(data[n])), None))}
        if groups == 1:
            found[c] = OpSplit((None, ArgAccess(o, identity(out[c]))))
        else:
            channels = group_map(data[c] // groups, out[c] // groups, data[c])
            found[c] = OpSplit((ArgAccess(c, channels), ArgAccess(i, channels)), out[c] // groups)
        for k, letter in enumerate(letters):
            if expand_attr(call.attrs.dilation, len(letters))[k] != 1:
                continue
            d = layout.index(letter)
            stride = expand_attr(call.attrs.strides, len(letters))[k]
            before = split_padding(call.attrs.padding, len(letters))[0][k]
            reach = weight[kernel_layout.index(letter)] - 1
            # ceil((lo + before - reach) / stride), at most the row whose window starts at or before lo
            low = min(before - reach + stride - 1, before)
            found[d] = OpSplit((ArgAccess(d, NonEmptyMap(1, low, before, stride, data[d])), None))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Return the transposed convolution of the share, cropped to its rows."""
        layout, kernel_layout = self._layouts(call)
        letter = layout[dim]
        if letter == "N":
            return with_args(call, args)
        if letter == "C":
            return with_args(call, args, with_attrs(call, **self._channel_attrs(call, dim, r)))
        held = ranges[0]
        assert held is not None
        letters = spatial_letters(layout)
        i, n = letters.index(letter), len(letters)
        before, after = split_padding(call.attrs.padding, n)
        extra = expand_attr(call.attrs.output_padding, n)
        stride, reach = expand_attr(call.attrs.strides, n)[i], shape_of(call.args[1])[kernel_layout.index(letter)] - 1
        first = held[0] * stride - before[i]  # output row of the first product, uncropped
        last = (held[1] - 1) * stride - before[i] + reach + 1
        # TVM's padding crops at most the width of the kernel; the rest is sliced off.
        front, back = r[0] - first, last - r[1]
        before[i] = max(0, min(front, reach))
        after[i] = max(0, min(back, reach))
        extra[i] = min(max(0, -back), stride - 1)
        attrs = with_attrs(call, padding=[*before, *after], output_padding=extra)
        start = first + before[i]
        total = last - after[i] + extra[i] - start
        return slice_expr(with_args(call, args, attrs), dim, (r[0] - start, r[1] - start), total)
