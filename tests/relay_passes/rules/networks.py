"""Random small networks: straight runs, residual blocks and concatenations of all kinds of layers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from tvm import relay


@dataclass
class Network:
    """A network under construction: values that later layers may read, and its random weights."""

    draw: object
    rng: np.random.Generator
    values: list[tuple[relay.Expr, tuple[int, int, int, int]]] = field(default_factory=list)

    def pick(self, *choices):
        return self.draw(st.sampled_from(choices))

    def const(self, *shape: int) -> relay.Expr:
        return relay.const(self.rng.standard_normal(shape).astype("float32"))

    def add(self, expr: relay.Expr, shape: tuple[int, int, int, int]) -> None:
        self.values.append((expr, shape))

    def window(self, rows: int, most: int = 5) -> tuple[int, int, int, tuple[int, int], int]:
        """Kernel, stride, dilation, padding and output rows of one axis; the output has at least one row."""
        kernel, stride = self.draw(st.integers(1, most)), self.draw(st.integers(1, 3))
        dilation = self.draw(st.integers(1, 3)) if kernel > 1 else 1
        reach = (kernel - 1) * dilation
        before, after = self.draw(st.integers(0, reach)), self.draw(st.integers(0, reach))
        before += max(0, reach + 1 - rows - before - after)  # the window must fit
        return kernel, stride, dilation, (before, after), (rows + before + after - reach - 1) // stride + 1


def conv(net: Network, x, shape):
    n, c, h, w = shape
    groups = net.pick(*[g for g in (1, 1, 1, 2, 3, c) if c % g == 0])
    out = groups * net.pick(1, 2, 3)
    kh, sh, dh, (top, bottom), oh = net.window(h)
    kw, sw, dw, (left, right), ow = net.window(w, 3)
    y = relay.nn.conv2d(
        x,
        net.const(out, c // groups, kh, kw),
        strides=(sh, sw),
        dilation=(dh, dw),
        padding=(top, left, bottom, right),
        groups=groups,
    )
    if net.draw(st.booleans()):
        y = relay.nn.bias_add(y, net.const(out))
    if net.draw(st.booleans()):
        y = relay.nn.relu(y)
    net.add(y, (n, out, oh, ow))


def conv_transpose(net: Network, x, shape):
    n, c, h, w = shape
    kernel, stride, out = net.draw(st.integers(1, 4)), net.draw(st.integers(1, 3)), net.pick(1, 2, 3)
    before, after = net.draw(st.integers(0, kernel - 1)), net.draw(st.integers(0, kernel - 1))
    extra = net.draw(st.integers(0, stride - 1))
    rows = (h - 1) * stride + kernel - before - after + extra
    if rows < 1 or rows > 40:
        return
    y = relay.nn.conv2d_transpose(
        x,
        net.const(c, out, kernel, 1),
        channels=out,
        kernel_size=(kernel, 1),
        strides=(stride, 1),
        padding=(before, 0, after, 0),
        output_padding=(extra, 0),
    )
    net.add(y, (n, out, rows, w))


def pool(net: Network, x, shape):
    n, c, h, w = shape
    kh, sh, dh, (top, bottom), oh = net.window(h, 3)
    kind, ceil = net.pick("max", "avg"), net.draw(st.booleans())
    total = h + top + bottom - (kh - 1) * dh - 1
    if ceil and total % sh and (oh * sh) - top < h:  # no window of what ceil_mode adds alone
        oh += 1
    else:
        ceil = ceil and total % sh == 0
    extra = {"count_include_pad": net.draw(st.booleans())} if kind == "avg" else {}
    op = getattr(relay.nn, f"{kind}_pool2d")
    y = op(x, (kh, 1), (sh, 1), (dh, 1), (top, 0, bottom, 0), ceil_mode=ceil, **extra)
    net.add(y, (n, c, oh, w))


def pad(net: Network, x, shape):
    n, c, h, w = shape
    mode = net.pick("constant", "edge", "reflect")
    most = h - 1 if mode == "reflect" else 4
    before, after = net.draw(st.integers(0, min(most, 4))), net.draw(st.integers(0, min(most, 4)))
    net.add(relay.nn.pad(x, ((0, 0), (0, 0), (before, after), (0, 0)), 0.25, mode), (n, c, h + before + after, w))


def resize(net: Network, x, shape):
    n, c, h, w = shape
    scale, method = net.pick(1, 2, 3), net.pick("nearest_neighbor", "linear", "cubic")
    mode = net.pick("half_pixel", "asymmetric")
    if h * scale <= 40:
        y = relay.image.resize2d(x, (h * scale, w), method=method, coordinate_transformation_mode=mode)
        net.add(y, (n, c, h * scale, w))


def slice_rows(net: Network, x, shape):
    n, c, h, w = shape
    lo = net.draw(st.integers(0, h - 1))
    hi, stride = net.draw(st.integers(lo + 1, h)), net.pick(1, 1, 2)
    net.add(relay.strided_slice(x, [lo], [hi], [stride], axes=[2]), (n, c, -(-(hi - lo) // stride), w))


def elementwise(net: Network, x, shape):
    _, c, h, _ = shape
    kind = net.pick("scale", "tanh", "lrn", "clip", "leaky", "prelu", "row")
    y = {
        "scale": lambda: relay.multiply(x, net.const(c, 1, 1)),
        "tanh": lambda: x * relay.tanh(x),
        "lrn": lambda: relay.nn.lrn(x, net.pick(1, 3, 5), axis=1, alpha=0.5),
        "clip": lambda: relay.clip(x, -1.0, 1.5),
        "leaky": lambda: relay.nn.leaky_relu(x, 0.1),
        "prelu": lambda: relay.nn.prelu(x, net.const(c)),
        "row": lambda: relay.add(x, net.const(1, 1, h, 1)),
    }[kind]()
    net.add(y, shape)


def add(net: Network, x, shape):
    """A residual: any earlier value of that shape, or one that broadcasts over rows and columns."""
    same = [v for v, s in net.values if s == shape]
    other = net.draw(st.sampled_from(same))
    kind = net.pick("add", "maximum", "gate")
    if kind == "gate":
        other = relay.sigmoid(relay.mean(other, axis=[2, 3], keepdims=True))
    net.add(relay.maximum(x, other) if kind == "maximum" else relay.add(x, other), shape)


def concatenate(net: Network, x, shape):
    axis = net.pick(1, 1, 2)
    fits = [
        (v, s) for v, s in net.values if all(a == b for i, (a, b) in enumerate(zip(s, shape, strict=True)) if i != axis)
    ]
    fields = [net.draw(st.sampled_from(fits)) for _ in range(net.pick(1, 2))]
    total = shape[axis] + sum(s[axis] for _, s in fields)
    if total <= 40:
        made = list(shape)
        made[axis] = total
        net.add(relay.concatenate([x, *[v for v, _ in fields]], axis=axis), tuple(made))


def depth_to_space(net: Network, x, shape):
    n, c, h, w = shape
    if c % 4 == 0 and h * 2 <= 40:
        y = relay.nn.depth_to_space(x, 2, mode=net.pick("DCR", "CRD"))
        net.add(y, (n, c // 4, h * 2, w * 2))


def space_to_depth(net: Network, x, shape):
    n, c, h, w = shape
    if h % 2 == w % 2 == 0 and c <= 3:
        net.add(relay.nn.space_to_depth(x, 2), (n, c * 4, h // 2, w // 2))


def shuffle(net: Network, x, shape):
    n, c, h, w = shape
    if c % 2 == 0:
        y = relay.transpose(relay.reshape(x, (n, 2, c // 2, h, w)), (0, 2, 1, 3, 4))
        net.add(relay.reshape(y, shape), shape)


LAYERS = [
    conv, conv, conv, conv_transpose, pool, pad, resize, slice_rows, elementwise, elementwise, add, concatenate,
    depth_to_space, space_to_depth, shuffle,
]  # fmt: skip


@st.composite
def networks(draw, most: int = 7) -> relay.Function:
    """A function of one image with one or two results."""
    net = Network(draw, np.random.default_rng(draw(st.integers(0, 2**16))))
    shape = (
        draw(st.sampled_from([1, 1, 2])),
        draw(st.integers(1, 6)),
        draw(st.integers(4, 16)),
        draw(st.integers(2, 5)),
    )
    x = relay.var("x", shape=shape)
    net.add(x, shape)
    for _ in range(draw(st.integers(3, most))):
        # mostly go on from the newest value, sometimes branch off an older one
        at = -1 if draw(st.integers(0, 3)) else draw(st.integers(0, len(net.values) - 1))
        draw(st.sampled_from(LAYERS))(net, *net.values[at])
    result = net.values[-1][0]
    if draw(st.integers(0, 4)) == 0:
        result = relay.Tuple([result, draw(st.sampled_from(net.values))[0]])
    return relay.Function([x], result)
