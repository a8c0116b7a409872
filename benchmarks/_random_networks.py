"""Networks of random structure, by seed: images through convolutions of all kinds, and tokens through attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import _modules
from benchmarks._network_maker import Maker, Shape, TooLong
from benchmarks._random_blocks import IMAGE_BLOCKS, TOKEN_BLOCKS

if TYPE_CHECKING:
    from tvm import relay

MOST_BLOCKS = 16
_TRIES = 60


def random_network(seed: int) -> _modules.Network:
    """The network of a seed; the same in every process."""
    import tvm
    from tvm import relay

    maker = Maker(seed)
    tokens = maker.chance(0.25)
    if tokens:
        shape: Shape = (maker.pick(16, 48, 77, 128, 197, 256, 384), 32 * maker.pick(2, 3, 4, 6, 8, 12, 16))
        full, blocks = shape, TOKEN_BLOCKS
    else:
        side = int(maker.dice.integers(14, 113))
        shape = (maker.pick(3, 3, 8, 16, 32, 64), side, side + maker.pick(0, 0, 0, 7, 32))
        full, blocks = (1, *shape), IMAGE_BLOCKS
    inputs = {"x": maker.dice.standard_normal(full, "float32")}
    x = relay.var("x", shape=full, dtype="float32")
    y, names = _grow(maker, x, shape, blocks)
    mod = tvm.IRModule.from_expr(relay.Function([x], y))
    what = ", ".join(f"{names.count(n)} {n}" for n in dict.fromkeys(names))
    return _modules.Network(f"random_{seed:03d} ({what})", mod, {}, inputs)


def _grow(
    maker: Maker, x: relay.Expr, shape: Shape, blocks: Sequence[tuple[Callable, float]]
) -> tuple[relay.Expr, list[str]]:
    """Append blocks until the time is used up, and then a head."""
    weights = np.array([w for _, w in blocks])
    names: list[str] = []
    for _ in range(_TRIES):
        if len(names) >= MOST_BLOCKS or maker.left_ms < 0.1 * maker.total_ms:
            break
        block = blocks[int(maker.dice.choice(len(blocks), p=weights / weights.sum()))][0]
        before = maker.left_ms
        try:
            made = block(maker, x, shape)
        except TooLong:
            made = None
        if made is None:  # too long for what is left, or not of a fitting shape
            maker.left_ms = before
            continue
        x, shape = made
        names.append(block.__name__)
    return _end(maker, x, shape), names


def _end(maker: Maker, x: relay.Expr, shape: Shape) -> relay.Expr:
    """A classifier, or the features as they are."""
    from tvm import relay

    if maker.chance(0.4):
        return x
    if len(shape) == 3:
        x = relay.nn.batch_flatten(relay.nn.global_avg_pool2d(x))
    else:
        x = relay.mean(x, axis=[0], keepdims=True)
    features = shape[0] if len(shape) == 3 else shape[1]
    maker.left_ms = maker.total_ms  # small, whatever is left
    x, _ = maker.dense(x, (1, features), int(maker.dice.integers(2, 1001)))
    return relay.nn.softmax(x) if maker.chance(0.5) else x
