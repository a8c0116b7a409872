"""Upsampling and resizing: what is divided is exact, what can't be is refused."""

from __future__ import annotations

import pytest
from tvm import relay

pytestmark = [pytest.mark.llvm, pytest.mark.slow]

METHODS = ["nearest_neighbor", "linear", "cubic"]
MODES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
ROUNDING = ["round", "floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]


def every_cut(axis) -> list[int]:
    return list(range(axis.granule, axis.extent, axis.granule))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", MODES)
def test_resize2d(splits, method, mode):
    x = relay.var("x", shape=(2, 3, 5, 4))
    y = relay.image.resize2d(x, (15, 8), method=method, coordinate_transformation_mode=mode)
    rows = {"h", "w"} if mode in ("half_pixel", "asymmetric") else set()
    splits.check(y, expect={"batch", "oc"} | rows, cuts=every_cut)


@pytest.mark.parametrize("mode", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize("rounding", ROUNDING)
def test_nearest(splits, rounding, mode):
    x = relay.var("x", shape=(1, 2, 5, 4))
    y = relay.image.resize2d(
        x, (15, 8), method="nearest_neighbor", coordinate_transformation_mode=mode, rounding_method=rounding
    )
    splits.check(y, expect={"oc", "h", "w"}, cuts=every_cut)


@pytest.mark.parametrize("scale", [3, 6, 8])
@pytest.mark.parametrize("mode", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize("rounding", ROUNDING)
def test_nearest_far_from_the_origin(splits, rounding, mode, scale):
    """Coordinates that lie between two rows must round the same way in a share, however far from row 0."""
    x = relay.var("x", shape=(1, 1, 61))
    y = relay.image.resize1d(
        x, (61 * scale,), method="nearest_neighbor", coordinate_transformation_mode=mode, rounding_method=rounding
    )
    halfway = scale == 6 and mode == "asymmetric" and "round" in rounding
    splits.check(y, cuts=lambda a: [scale * 7, scale * 50 + 1], expect=set() if halfway else {"h"}, build="all")


@pytest.mark.parametrize(
    "rows,scale,mode,divides",
    [
        (65, 3, "asymmetric", False),
        (65, 3, "half_pixel", False),
        (65, 6, "half_pixel", True),
        (500, 4, "asymmetric", True),
    ],
)
def test_last_bit_of_a_coordinate_decides(splits, rows, scale, mode, divides):
    x = relay.var("x", shape=(1, 1, rows))
    y = relay.image.resize1d(x, (rows * scale,), method="nearest_neighbor", coordinate_transformation_mode=mode)
    splits.check(y, expect={"h"} if divides else set(), build="all")


@pytest.mark.parametrize("scale,axes", [(2, {"h"}), (3, set())])
def test_cubic_that_excludes_the_outside(splits, scale, axes):
    x = relay.var("x", shape=(1, 1, 6, 5))
    y = relay.image.resize2d(x, (6 * scale, 5), method="cubic", cubic_alpha=-0.75, cubic_exclude=1)
    splits.check(y, axes={"h"}, expect=axes, cuts=every_cut)


@pytest.mark.parametrize("size", [(12, 9), (5, 3), (10, 4)])
def test_fractional_scale_divides_channels_only(splits, size):
    """(10, 4): rows double and columns stay, so both divide."""
    x = relay.var("x", shape=(1, 4, 5, 4))
    y = relay.image.resize2d(x, size, method="linear")
    whole = {"h": size[0] % 5 == 0, "w": size[1] % 4 == 0}
    splits.check(y, expect={"oc"} | {a for a, w in whole.items() if w})


def test_crop_and_resize_mode_is_refused(splits):
    x = relay.var("x", shape=(1, 2, 4, 4))
    y = relay.image.resize2d(x, (8, 8), roi=(0.1, 0.1, 0.9, 0.9), coordinate_transformation_mode="tf_crop_and_resize")
    _, graph = splits.prepare(y)
    assert {a.name for a in graph.kernels[0].axes} == {"oc"}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("method", ["nearest_neighbor", "bilinear", "bicubic"])
def test_upsampling(splits, layout, method):
    x = relay.var("x", shape=(1, 2, 4, 5) if layout == "NCHW" else (1, 4, 5, 2))
    y = relay.nn.upsampling(x, 2, 3, layout=layout, method=method)
    splits.check(y, expect={"oc", "h", "w"}, cuts=every_cut)


def test_upsampling_with_aligned_corners_divides_channels_only(splits):
    x = relay.var("x", shape=(1, 4, 4, 5))
    splits.check(relay.nn.upsampling(x, 2, 2, method="bilinear", align_corners=True), expect={"oc"})


def test_upsampling_by_a_fraction(splits):
    x = relay.var("x", shape=(1, 4, 4, 6))
    splits.check(relay.nn.upsampling(x, 1.5, 1.5), expect={"oc"})


@pytest.mark.parametrize("method", ["nearest_neighbor", "trilinear"])
@pytest.mark.parametrize("mode", ["half_pixel", "asymmetric", "align_corners"])
def test_upsampling3d(splits, method, mode):
    x = relay.var("x", shape=(1, 2, 3, 4, 3))
    y = relay.nn.upsampling3d(x, 2, 2, 3, method=method, coordinate_transformation_mode=mode)
    splits.check(y, expect={"oc"} | ({"h", "w", "d"} if mode != "align_corners" else set()))


@pytest.mark.parametrize("method", METHODS)
def test_resize1d_and_3d(splits, method):
    x = relay.var("x", shape=(1, 2, 6))
    splits.check(relay.image.resize1d(x, (12,), method=method), expect={"oc", "h"}, cuts=every_cut)
    x = relay.var("x", shape=(1, 2, 3, 4, 3))
    splits.check(relay.image.resize3d(x, (6, 4, 9), method=method), expect={"oc", "h", "w", "d"})
