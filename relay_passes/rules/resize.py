"""Upsampling and resizing."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relay

from tvm_coexec.core.access import AccessMap, Range, identity
from tvm_coexec.core.op_kinds import OpKind

from .base import ArgAccess, OpSplit, Refusal, Rule, elements, ints, rule, shape_of, slice_expr, with_args, with_attrs
from .windows import plain_layout, spatial_letters

# With float32 coordinates a whole number of input rows is met to 1e-5, TVM's own tolerance, up to here.
_SAFE_ROWS = 64


@rule("nn.upsampling", "nn.upsampling3d", "image.resize1d", "image.resize2d", "image.resize3d")
class Resize(Rule):
    """Channels and batch always; rows where a share interpolates with the same weights as the whole.

    That holds for integer scales and coordinates that move with the data (half-pixel, asymmetric): the share takes
    neighbouring rows along and crops what its own clamped ends would spoil. The nearest row must also be the same one:
    TVM computes coordinates in float32, and where one falls between two rows the last bit decides, which differs
    between a share and the whole.
    """

    kind = OpKind.MOVE

    def flops(self, call: relay.Call) -> float:
        """One for each element of the output: it moves elements, and interpolates between them."""
        return elements(call)

    def _mode(self, call: relay.Call) -> str:
        if call.op.name == "nn.upsampling":
            return "align_corners" if bool(call.attrs.align_corners) else "asymmetric"
        return str(call.attrs.coordinate_transformation_mode)

    def _same_weights(self, call: relay.Call, scale: int, rows: int) -> bool:
        mode = self._mode(call)
        if mode not in ("half_pixel", "asymmetric"):
            return False
        if scale & (scale - 1) == 0:
            return True  # powers of two: the coordinates are exact
        resize = call.op.name.startswith("image.")
        if str(call.attrs.method) != "nearest_neighbor":
            return not (resize and int(call.attrs.cubic_exclude))
        if mode == "asymmetric" and call.op.name in ("image.resize2d", "nn.upsampling"):
            return True  # TVM divides integers here
        if resize and str(call.attrs.rounding_method).startswith("round"):
            return mode == "half_pixel" or scale % 2 == 1  # no coordinate is halfway between two rows
        return rows <= _SAFE_ROWS or (mode == "half_pixel" and scale % 2 == 0)  # no coordinate is a whole number

    def _halo(self, call: relay.Call) -> int:
        return 2 if "cubic" in str(call.attrs.method) else 1

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Channels, batch, and axes with an integer scale."""
        layout = plain_layout(str(call.attrs.layout))
        if len(call.args) > 1:
            raise Refusal("its size is computed at run time")
        data, out = shape_of(call.args[0]), shape_of(call)
        found = {}
        for d, letter in enumerate(layout):
            if letter in "NC":
                found[d] = OpSplit((ArgAccess(d, identity(data[d])),))
            elif out[d] % data[d] == 0 and self._same_weights(call, out[d] // data[d], data[d]):
                scale, halo = out[d] // data[d], self._halo(call)
                found[d] = OpSplit((ArgAccess(d, AccessMap(1, -halo * scale, halo * scale, scale, data[d])),))
        return found

    def rebuild(
        self, call: relay.Call, dim: int, r: Range, args: Sequence[relay.Expr], ranges: Sequence[Range | None]
    ) -> relay.Expr:
        """The share resized with its halo, then cropped."""
        layout = plain_layout(str(call.attrs.layout))
        if layout[dim] in "NC":
            return with_args(call, args)
        got = ranges[0]
        assert got is not None
        scale = shape_of(call)[dim] // shape_of(call.args[0])[dim]
        rows = (got[1] - got[0]) * scale
        if call.op.name.startswith("nn.upsampling"):
            out = with_args(call, args)
        else:
            size = ints(call.attrs.size)
            size[spatial_letters(layout).index(layout[dim])] = rows
            out = with_args(call, args, with_attrs(call, size=size))
        start = got[0] * scale
        return slice_expr(out, dim, (r[0] - start, r[1] - start), rows)
