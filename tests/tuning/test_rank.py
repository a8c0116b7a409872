"""Costs of tiles order them as measurements on AVX2 and on pocl did, by large factors."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import pytest

pytestmark = pytest.mark.llvm

tvm = pytest.importorskip("tvm")

from tvm.autotvm.task.space import OtherOptionEntity, SplitEntity  # noqa: E402

from tests.tuning import made  # noqa: E402
from tvm_coexec.tuning.rank import has_model, modelled_cost  # noqa: E402


def packed(ic: int, oc: int, ow: int, unroll: bool = True) -> OrderedDict:
    splits = {"tile_ic": ic, "tile_oc": oc, "tile_ow": ow}
    knobs = OrderedDict((n, SplitEntity([-1, v])) for n, v in splits.items())
    return OrderedDict(knobs, unroll_kw=OtherOptionEntity(unroll))


def tiled(f, y, x, rc=4) -> OrderedDict:
    knobs = OrderedDict(tile_f=SplitEntity([-1, *f]), tile_y=SplitEntity([-1, *y]), tile_x=SplitEntity([-1, *x]))
    return OrderedDict(knobs, tile_rc=SplitEntity([-1, rc]))


def conv(outputs: int) -> tuple:
    return made.conv2d("conv2d_NCHWc.x86", (1, 64, 56, 56), (outputs, 64, 3, 3), 1, (1,) * 4)


def depthwise(channels: int) -> tuple:
    return made.conv2d("depthwise_conv2d_NCHWc.x86", (1, channels, 28, 28), (channels, 1, 3, 3), 1, (1,) * 4)


def on_gpu(outputs: int, channels: int = 16, size: int = 55) -> tuple:
    return made.conv2d("conv2d_nchw.cuda", (1, channels, size, size), (outputs, channels, 3, 3), 1, (1,) * 4)


# (workload, milliseconds and knobs of tiles)
MEASURED = [
    # in registers; bound by loads of weights; single channels
    (conv(64), [(2.42, packed(4, 32, 2)), (3.6, packed(64, 64, 1)), (31.0, packed(4, 1, 4))]),
    # seven vectors of 53 channels at one column, spilled at four, and with a long loop over inputs around them
    (
        conv(53),
        [(4.9, packed(4, 53, 1)), (6.4, packed(4, 53, 4)), (13.9, packed(16, 53, 4)), (39.0, packed(16, 53, 7, False))],
    ),
    # whole vectors, but no power of two of them
    (conv(120), [(4.9, packed(32, 8, 7)), (19.7, packed(32, 24, 2)), (31.0, packed(32, 40, 4))]),
    # accumulators in registers, and as many that are spilled, since the inputs of an unrolled row are there, too
    (conv(56), [(2.01, packed(64, 8, 7)), (3.19, packed(32, 8, 8))]),
    # the same with a loop over the columns of the kernel, which is worse
    (
        made.conv2d("conv2d_NCHWc.x86", (1, 16, 55, 55), (16, 16, 3, 3), 1, (1,) * 4),
        [(0.135, packed(16, 16, 5)), (0.194, packed(16, 8, 11)), (0.326, packed(16, 8, 11, False))],
    ),
    # whole vectors; five of them with a loop over inputs around them, unrolled and not
    (
        made.conv2d("conv2d_NCHWc.x86", (1, 256, 14, 14), (40, 256, 3, 3), 1, (1,) * 4),
        [(0.357, packed(128, 8, 7)), (0.574, packed(8, 40, 2)), (1.056, packed(8, 40, 2, False))],
    ),
    # three vectors and a half, and one and three quarters, which takes three pieces
    (
        made.conv2d("conv2d_NCHWc.x86", (1, 3, 112, 112), (28, 3, 3, 3), 2, (1,) * 4),
        [(0.0648, packed(3, 28, 2)), (0.1511, packed(3, 14, 4))],
    ),
    # loads side by side, or gathered
    (depthwise(171), [(0.14, packed(171, 19, 4)), (0.42, packed(1, 19, 2)), (0.87, packed(1, 19, 4, False))]),
    # vectors of channels; columns in two work-items; strided columns
    (
        on_gpu(64, 64, 56),
        [
            (6.0, tiled((4, 1, 16), (14, 4, 1), (1, 28, 1))),
            (25.0, tiled((1, 4, 4), (2, 1, 4), (1, 7, 4))),
            (180.0, tiled((4, 1, 16), (14, 4, 1), (1, 28, 2))),
        ],
    ),
    # a tile of channels that fits, and one that does not
    (
        made.conv2d("conv2d_nchw.cuda", (1, 256, 28, 28), (344, 256, 1, 1), 1, (0,) * 4),
        [(5.8, tiled((1, 1, 344), (2, 7, 1), (4, 1, 1), 8)), (37.9, tiled((2, 1, 128), (1, 28, 1), (7, 4, 1), 1))],
    ),
    # columns; channels that are no whole vectors, alone and of several work-items
    (
        on_gpu(53),
        [
            (3.2, tiled((1, 1, 53), (1, 1, 11), (1, 1, 55))),
            (7.3, tiled((1, 1, 53), (5, 1, 1), (11, 1, 1))),
            (12.4, tiled((1, 1, 53), (5, 1, 1), (1, 55, 1))),
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("workload", "tiles"), MEASURED, ids=[m[0][0] + str(m[0][2][1]) for m in MEASURED])
def test_tiles_are_ordered_as_measured(workload, tiles):
    target = made.target_of(workload)
    assert has_model(workload, target)
    costs = [(ms, modelled_cost(workload, target, knobs, 1.0, 1.0, 0.0)) for ms, knobs in tiles]
    for (fast_ms, less), (slow_ms, more) in pairwise(costs):
        assert more > 1.1 * less, (fast_ms, slow_ms)
        assert 1 / 3 < (more / less) / (slow_ms / fast_ms) < 3, (fast_ms, slow_ms, more / less)
