"""Upsampling and resizing."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relay

from tvm_coexec.core.access import AccessMap, Range, identity
from tvm_coexec.core.op_kinds import OpKind

from .base import (
    ArgAccess,
    NotSplittable,
    OpSplit,
    Rule,
    count_elements,
    int_list,
    rule,
    shape_of,
    slice_expr,
    with_args,
    with_attrs,
)
from .windows import plain_layout, spatial_letters

# Up to this size the float32 coordinate of an integer row is within 1e-5 of it, TVM's own tolerance.
_SAFE_ROWS = 64


@rule("nn.upsampling", "nn.upsampling3d", "image.resize1d", "image.resize2d", "image.resize3d")
class Resize(Rule):
    """Resize: channels and batch, and spatial axes on which a share interpolates with the weights of the whole.

    These have an integer scale and coordinates that are shifted with the data (half-pixel, asymmetric). The share reads
    halo rows and crops its ends, which were clamped. With the nearest method the share must also select the same rows:
    TVM computes coordinates in float32, and if one is halfway between two rows its last bit, which differs between a
    share and the whole, decides.
    """

    kind = OpKind.RESIZE

    def flops(self, call: relay.Call) -> float:
        """Count a multiply-add for each input element that an output element is interpolated from; one if it is copied.

        That is two along each spatial axis, four with the cubic method.
        """
        taps = {"nearest_neighbor": 1, "cubic": 4, "bicubic": 4}.get(str(call.attrs.method), 2)
        axes = len(spatial_letters(plain_layout(str(call.attrs.layout))))
        return count_elements(call) * (2.0 * taps**axes if taps > 1 else 1.0)

    def _mode(self, call: relay.Call) -> str:
        if call.op.name == "nn.upsampling":
            return "align_corners" if bool(call.attrs.align_corners) else "asymmetric"
        return str(call.attrs.coordinate_transformation_mode)

    def _same_weights(self, call: relay.Call, scale: int, rows: int) -> bool:
        mode = self._mode(call)
        if mode not in ("half_pixel", "asymmetric"):
            return False
        if scale & (scale - 1) == 0:
            return True  # the coordinates are exact
        resize = call.op.name.startswith("image.")
        if str(call.attrs.method) != "nearest_neighbor":
            return not (resize and int(call.attrs.cubic_exclude))
        if mode == "asymmetric" and call.op.name in ("image.resize2d", "nn.upsampling"):
            return True  # computed in integers
        if resize and str(call.attrs.rounding_method).startswith("round"):
            return mode == "half_pixel" or scale % 2 == 1  # no coordinate is halfway between two rows
        return rows <= _SAFE_ROWS or (mode == "half_pixel" and scale % 2 == 0)  # no coordinate is an integer

    def _halo(self, call: relay.Call) -> int:
        return 2 if "cubic" in str(call.attrs.method) else 1

    def splits(self, call: relay.Call) -> dict[int, OpSplit]:
        """Split along channels, batch, and axes with an integer scale."""
        layout = plain_layout(str(call.attrs.layout))
        if len(call.args) > 1:
            raise NotSplittable("its size is computed at run time")
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
        """Resize the share with its halo, and crop it."""
        layout = plain_layout(str(call.attrs.layout))
        if layout[dim] in "NC":
            return with_args(call, args)
        held = ranges[0]
        assert held is not None
        scale = shape_of(call)[dim] // shape_of(call.args[0])[dim]
        rows = (held[1] - held[0]) * scale
        if call.op.name.startswith("nn.upsampling"):
            out = with_args(call, args)
        else:
            size = int_list(call.attrs.size)
            size[spatial_letters(layout).index(layout[dim])] = rows
            out = with_args(call, args, with_attrs(call, size=size))
        start = held[0] * scale
        return slice_expr(out, dim, (r[0] - start, r[1] - start), rows)
