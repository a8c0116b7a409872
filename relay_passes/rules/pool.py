"""Pooling: with windows, global and adaptive."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tvm import relay

from tvm_coexec.core.access import AccessMap, Range, identity
from tvm_coexec.core.op_kinds import OpKind

from .base import ArgAccess, OpSplit, Rule, count_elements, int_list, rule, shape_of, slice_expr, with_args, with_attrs
from .windows import Window, expand_attr, plain_layout, spatial_letters, split_padding


def split_channels_and_batch(layout: str, data: list[int]) -> dict[int, OpSplit]:
    """Split along channels and batch, which are independent in every pooling."""
    return {d: OpSplit((ArgAccess(d, identity(data[d])),)) for d, c in enumerate(layout) if c in "NC"}


@rule("nn.max_pool1d", "nn.max_pool2d", "nn.max_pool3d", "nn.avg_pool1d", "nn.avg_pool2d", "nn.avg_pool3d")
class Pool(Rule):
    """Pooling with windows: spatial axes as in a convolution, channels and batch independent."""

    kind = OpKind.POOL

    def flops(self, call: relay.Call) -> float:
        """Count an operation for each element of each window."""
        return count_elements(call) * prod(int_list(call.attrs.pool_size))

    def _window(self, call: relay.Call, letter: str) -> Window:
        layout = plain_layout(str(call.attrs.layout))
        letters = spatial_letters(layout)
        i, n = letters.index(letter), len(letters)
        before, after = split_padding(call.attrs.padding, n)
        return Window(
            expand_attr(call.attrs.pool_size, n)[i],
            expand_attr(call.attrs.strides, n)[i],
            expand_attr(call.attrs.dilation, n)[i],
            before[i],
            after[i],
            shape_of(call.args[0])[layout.index(letter)],
        )

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along every dimension."""
        layout = plain_layout(str(call.attrs.layout))
        found = split_channels_and_batch(layout, shape_of(call.args[0]))
        for letter in spatial_letters(layout):
            window, d = self._window(call, letter), layout.index(letter)
            if window.reads_input:
                found[d] = OpSplit((ArgAccess(d, window.access_map(shape_of(call)[d])),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Return the pooling of the share."""
        layout = plain_layout(str(call.attrs.layout))
        letter = layout[dim]
        if letter in "NC":
            return with_args(call, args)
        assert ranges[0] is not None
        letters = spatial_letters(layout)
        before, after = split_padding(call.attrs.padding, len(letters))
        i = letters.index(letter)
        share = self._window(call, letter).pad_share(r, ranges[0])
        # Rows that ceil_mode adds after the padding are not padding (averages do not count them): ceil_mode adds them.
        limit = after[i] if bool(call.attrs.ceil_mode) else share.after
        before[i], after[i] = share.before, min(share.after, limit)
        out = with_args(call, args, with_attrs(call, padding=[*before, *after]))
        return slice_expr(out, dim, share.crop, share.rows)


@rule("nn.global_max_pool2d", "nn.global_avg_pool2d")
class GlobalPool(Rule):
    """Global pooling: only channels and batch can be split."""

    kind = OpKind.POOL

    def flops(self, call: relay.Call) -> float:
        """Count an operation for each input element."""
        return count_elements(call.args[0])

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along channels and batch."""
        return split_channels_and_batch(plain_layout(str(call.attrs.layout)), shape_of(call.args[0]))


@rule(*[f"nn.adaptive_{kind}_pool{n}d" for kind in ("max", "avg") for n in (1, 2, 3)])
class AdaptivePool(GlobalPool):
    """Adaptive pooling: channels and batch, and spatial axes whose output size divides the input size."""

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along channels, batch, and axes on which all windows have the same size."""
        layout = plain_layout(str(call.attrs.layout))
        data, out = shape_of(call.args[0]), shape_of(call)
        found = split_channels_and_batch(layout, data)
        for d, letter in enumerate(layout):
            if letter not in "NC" and data[d] % out[d] == 0:
                window = data[d] // out[d]
                found[d] = OpSplit((ArgAccess(d, AccessMap(window, 0, window - 1, 1, data[d])),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """Return the pooling of the share, with the share's output size."""
        layout = plain_layout(str(call.attrs.layout))
        if layout[dim] in "NC":
            return with_args(call, args)
        letters = spatial_letters(layout)
        size = [shape_of(call)[layout.index(c)] for c in letters]
        size[letters.index(layout[dim])] = r[1] - r[0]
        return with_args(call, args, with_attrs(call, output_size=size))
