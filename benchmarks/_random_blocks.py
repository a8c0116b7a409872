"""Blocks of random networks: each appends some layers to a value, or returns `None` where its shape does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks._network_maker import DEPTHWISE_MACS, ELEMENTS, Maker, Shape

if TYPE_CHECKING:
    from tvm import relay

_WIDTHS = (8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256)
_LEAST_SIDE = 4

Made = tuple["relay.Expr", Shape]


def conv(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """A convolution of any common window."""
    stride = 2 if min(shape[1:]) >= 2 * _LEAST_SIDE and m.chance(0.35) else 1
    kernel = m.pick((1, 1), (3, 3), (3, 3), (5, 5), (1, 7), (7, 1), (3, 1))
    return m.conv(x, shape, m.pick(*_WIDTHS), kernel, stride)


def depthwise(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """A depthwise convolution and one of a window of 1."""
    stride = 2 if min(shape[1:]) >= 2 * _LEAST_SIDE and m.chance(0.35) else 1
    size = m.pick(3, 3, 5)
    x, shape = m.conv(x, shape, shape[0], (size, size), stride, shape[0])
    return m.conv(x, shape, m.pick(*_WIDTHS))


def grouped(m: Maker, x: relay.Expr, shape: Shape) -> Made | None:
    """A grouped convolution, if the channels can be divided."""
    groups = [g for g in (2, 4, 8) if shape[0] % g == 0 and shape[0] > g]
    if not groups:
        return None
    g = m.pick(*groups)
    return m.conv(x, shape, g * m.pick(4, 8, 16), (3, 3), 1, g)


def residual(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """Three convolutions, added to the identity or to a projection."""
    out = shape[0] if m.chance(0.7) else m.pick(*_WIDTHS)
    inner = max(4, m.pick(out // 4, out // 2, out))
    y, s = m.conv(x, shape, inner)
    y, s = m.conv(y, s, inner, (3, 3))
    y, s = m.conv(y, s, out, activation=False)
    short = x if out == shape[0] else m.conv(x, shape, out, activation=False)[0]
    return m.act(y + short, s), s


def inverted(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """Expansion, a depthwise convolution and projection, added to the identity."""
    wide = shape[0] * m.pick(2, 3, 4, 6)
    y, s = m.conv(x, shape, wide)
    y, s = m.conv(y, s, wide, (3, 3), 1, wide)
    y, s = m.conv(y, s, shape[0], activation=False)
    return x + y, s


def branches(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """Two to four branches that are concatenated."""
    from tvm import relay

    made = []
    for kernel in ((1, 1), (3, 3), (5, 5), (0, 0))[: m.pick(2, 3, 3, 4)]:
        y, s = x, shape
        if kernel == (0, 0):
            m.spend(9 * math.prod(shape), DEPTHWISE_MACS)
            y = relay.nn.max_pool2d(y, (3, 3), (1, 1), padding=(1, 1, 1, 1))
        elif kernel != (1, 1):
            y, s = m.conv(y, s, m.pick(*_WIDTHS[:7]))
        made.append(m.conv(y, s, m.pick(*_WIDTHS[:9]), kernel if kernel != (0, 0) else (1, 1)))
    return relay.concatenate([y for y, _ in made], 1), (sum(s[0] for _, s in made), *shape[1:])


def dense_link(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """New channels, appended to all earlier ones."""
    from tvm import relay

    grown = m.pick(8, 12, 16, 24, 32)
    y, s = m.conv(x, shape, 4 * grown)
    y, s = m.conv(y, s, grown, (3, 3))
    return relay.concatenate([x, y], 1), (shape[0] + grown, *shape[1:])


def pool(m: Maker, x: relay.Expr, shape: Shape) -> Made | None:
    """Pooling that halves the size."""
    from tvm import relay

    c, h, w = shape
    if min(h, w) < 2 * _LEAST_SIDE:
        return None
    size = m.pick(2, 3)
    made = (c, (h + 2 * (size // 2) - size) // 2 + 1, (w + 2 * (size // 2) - size) // 2 + 1)
    m.spend(size * size * math.prod(made), DEPTHWISE_MACS)
    op = m.pick(relay.nn.max_pool2d, relay.nn.avg_pool2d)
    return op(x, (size, size), (2, 2), padding=(size // 2,) * 4), made


def gate(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """Channels scaled by what their means say."""
    from tvm import relay

    m.spend(2 * math.prod(shape), ELEMENTS)
    y, s = m.conv(relay.nn.global_avg_pool2d(x), (shape[0], 1, 1), max(4, shape[0] // 4))
    y, _ = m.conv(y, s, shape[0], activation=False)
    return x * relay.sigmoid(y), shape


def elementwise(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """A scale and a shift of each channel, and an activation."""
    scale, shift = (m.weight(shape[0], 1, 1, fan_in=2) for _ in range(2))
    return m.act(x * scale + shift, shape), shape


def enlarge(m: Maker, x: relay.Expr, shape: Shape) -> Made | None:
    """Twice the size, and a convolution."""
    from tvm import relay

    c, h, w = shape
    if max(h, w) > 40:
        return None
    m.spend(4 * math.prod(shape), ELEMENTS)
    y = relay.image.resize2d(x, (2 * h, 2 * w), method="nearest_neighbor", coordinate_transformation_mode="asymmetric")
    return m.conv(y, (c, 2 * h, 2 * w), m.pick(*_WIDTHS[:6]), (3, 3))


def image_attention(m: Maker, x: relay.Expr, shape: Shape) -> Made | None:
    """Attention over the pixels of a small image."""
    from tvm import relay

    c, h, w = shape
    if h * w > 400 or c < 16:
        return None
    rows = relay.transpose(relay.reshape(x, (c, h * w)), (1, 0))
    y = relay.transpose(m.attend(rows, (h * w, c)), (1, 0))
    return x + relay.reshape(y, (1, c, h, w)), shape


def attention(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """Attention, added to the identity, normalised before or after."""
    if m.chance(0.5):
        return x + m.attend(m.normalise(x, shape), shape), shape
    return m.normalise(x + m.attend(x, shape), shape), shape


def feed_forward(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """Two dense layers, added to the identity, with GELU or another activation between."""
    from tvm import relay

    y, s = m.dense(x, shape, shape[1] * m.pick(1, 2, 4))
    if m.chance(0.5):
        m.spend(3 * math.prod(s), ELEMENTS)
        y = y * (relay.erf(y * relay.const(math.sqrt(0.5))) + relay.const(1.0)) * relay.const(0.5)
    else:
        y = m.act(y, s)
    y, _ = m.dense(y, s, shape[1])
    return m.normalise(x + y, shape), shape


def gated(m: Maker, x: relay.Expr, shape: Shape) -> Made:
    """A dense layer gated by another, of a new width."""
    from tvm import relay

    units = 32 * m.pick(2, 3, 4, 6, 8, 12, 16)
    (y, s), (g, _) = m.dense(x, shape, units), m.dense(x, shape, units)
    return y * relay.sigmoid(g), s


IMAGE_BLOCKS: tuple[tuple[Callable, float], ...] = (
    *((conv, 3.0), (depthwise, 2.0), (grouped, 1.0), (residual, 2.0), (inverted, 1.5), (branches, 1.5)),
    *((dense_link, 1.0), (pool, 1.0), (gate, 0.7), (elementwise, 0.7), (enlarge, 0.4), (image_attention, 0.7)),
)
TOKEN_BLOCKS: tuple[tuple[Callable, float], ...] = ((attention, 2.0), (feed_forward, 2.0), (gated, 1.0))
