"""Designed kernels of other networks than image classifiers: signals, volumes, sequences, quantised models.

Composite operators are taken apart as TVM does it: of a normalisation each kernel stands alone, with the results of the
others as inputs.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import relay

from .design_maker import Bounds, Maker, Point, round_to_8

SIGNAL: Bounds = {"batch": (1, 1.6), "ic": (8, 512), "oc": (8, 512), "size": (32, 4096), "flat": (1, 1)}
VOLUME: Bounds = {"batch": (1, 1.6), "ic": (3, 128), "oc": (8, 128), "size": (5, 48), "depth": (3, 16)}
TOKENS: Bounds = {"m": (1, 512), "ic": (16, 2048)}


def conv1d(m: Maker, p: Point) -> relay.Expr:
    """Convolution of a signal as it is computed, sometimes depthwise.

    A quarter is of width 1. Wider ones are convolutions of height 1 (see `relay_passes.prepare.conv1d`).
    """
    which = m.next_turn("conv1d", 4)
    k = 1 if which == 0 else max(2, p["k"])
    ic, oc, size = round_to_8(p["ic"]), round_to_8(p["oc"]), max(p["size"], k)
    groups = ic if which == 3 else 1
    oc = ic if groups > 1 else oc
    if k == 1:
        signal = m.input(p["batch"], ic, size)
        out = relay.nn.conv1d(signal, m.weight(oc, ic, 1), strides=(p["stride"],), channels=oc, kernel_size=(1,))
        return m.finish(out, oc, None, size)
    out = relay.nn.conv2d(
        m.input(p["batch"], ic, 1, size), m.weight(oc, ic // groups, 1, k), strides=(1, p["stride"]),
        padding=(0, k // 2), channels=oc, kernel_size=(1, k), groups=groups,
    )  # fmt: skip
    return m.finish(out, oc, None, size)


def conv3d(m: Maker, p: Point) -> relay.Expr:
    """Convolution of a volume."""
    ic, oc, k, size, depth = p["ic"], round_to_8(p["oc"]), 1 if p["k"] < 2 else 3, p["size"], p["depth"]
    out = relay.nn.conv3d(
        m.input(p["batch"], ic, depth, size, size), m.weight(oc, ic, k, k, k), padding=(k // 2,) * 3, channels=oc,
        kernel_size=(k, k, k),
    )  # fmt: skip
    return m.finish(out, oc, None, size)


def transposed1d(m: Maker, p: Point) -> relay.Expr:
    """Transposed convolution of a signal as it is computed, of height 1 (see `relay_passes.prepare.conv1d`)."""
    ic, oc, k, stride = round_to_8(p["ic"]), round_to_8(p["oc"]), p["k"], min(p["stride"], p["k"])
    out = relay.nn.conv2d_transpose(
        m.input(p["batch"], ic, 1, p["size"]), m.weight(ic, oc, 1, k), strides=(1, stride),
        padding=(0, (k - stride) // 2), channels=oc, kernel_size=(1, k),
    )  # fmt: skip
    return m.finish(out, oc, None, p["size"])


def transposed3d(m: Maker, p: Point) -> relay.Expr:
    """Transposed convolution of a volume."""
    ic, oc, k = p["ic"], round_to_8(p["oc"]), p["k"]
    out = relay.nn.conv3d_transpose(
        m.input(p["batch"], ic, p["depth"], p["size"], p["size"]), m.weight(ic, oc, k, k, k), strides=(2, 2, 2),
        channels=oc, kernel_size=(k, k, k),
    )  # fmt: skip
    return m.finish(out, oc, None, p["size"])


def normalisation(m: Maker, p: Point) -> relay.Expr:
    """One kernel of a layer, instance, group or RMS normalisation."""
    rows, width = p["m"], p["ic"]
    side = max(2, round(width**0.5))
    epsilon = relay.const(1e-5)
    x = m.input(rows, width)
    one_each = (rows, 1)
    which = m.next_turn("normalisation", 8)
    if which == 0:
        return relay.mean(x, axis=-1, keepdims=True)
    if which == 1:  # layer: variance
        return relay.variance(x, axis=-1, keepdims=True, with_mean=m.input(*one_each))
    if which == 2:  # layer: scale and shift
        scaled = (x - m.input(*one_each)) * relay.rsqrt(m.input(*one_each) + epsilon)
        return scaled * m.weight(width) + m.weight(width)
    if which == 3:  # RMS
        return relay.mean(x * x, axis=-1, keepdims=True)
    if which == 4:
        return x / relay.sqrt(m.input(*one_each) + epsilon) * m.weight(width)
    if which == 5:  # instance: one mean for each channel of a map
        return relay.mean(m.input(1, rows, side, side), axis=(2, 3), keepdims=True)
    if which == 6:  # group
        return relay.mean(m.input(p["groups"], max(1, rows // p["groups"]), width), axis=(1, 2), keepdims=True)
    maps = m.input(1, rows, side, side)  # instance and group: scale and shift by channel
    scaled = (maps - m.input(1, rows, 1, 1)) * relay.rsqrt(m.input(1, rows, 1, 1) + epsilon)
    return scaled * m.weight(rows, 1, 1) + m.weight(rows, 1, 1)


def lrn(m: Maker, p: Point) -> relay.Expr:
    """Local response normalisation over channels."""
    return relay.nn.lrn(m.input(p["batch"], round_to_8(p["ic"]), p["size"], p["size"]), size=5, alpha=1e-4, beta=0.75)


def shuffle(m: Maker, p: Point) -> relay.Expr:
    """Channels dealt out to groups, or heads of features brought in front: a transposition between two reshapes."""
    groups, size = p["groups"], p["size"]
    if m.next_turn("shuffle", 3) == 2:
        width = round_to_8(p["ic"])
        heads = relay.reshape(m.input(size * size, groups * width), (size * size, groups, width))
        return relay.transpose(heads, (1, 0, 2))
    each = max(1, round_to_8(p["ic"]) // groups)
    x = relay.reshape(m.input(1, groups * each, size, size), (1, groups, each, size, size))
    return relay.reshape(relay.transpose(x, (0, 2, 1, 3, 4)), (1, groups * each, size, size))


def softmax(m: Maker, p: Point) -> relay.Expr:
    """Softmax of scores, along the last axis or another one, or its logarithm; reductions over the first axis."""
    x, which = m.input(p["m"], p["ic"]), m.next_turn("softmax", 5)
    if which == 0:
        return relay.nn.log_softmax(x, axis=-1)
    if which == 1:
        return relay.nn.softmax(x, axis=0)
    if which == 2:
        return relay.argmax(x, axis=-1)
    return relay.sum(x, axis=0) if which == 3 else relay.cumsum(x, axis=-1)


def gelu(x: relay.Expr) -> relay.Expr:
    """Gaussian error linear unit, with the error function."""
    return x * (relay.erf(x * relay.const(0.70710678)) + relay.const(1.0)) * relay.const(0.5)


def gelu_tanh(x: relay.Expr) -> relay.Expr:
    """Gaussian error linear unit, with the hyperbolic tangent."""
    cubed = x + x * x * x * relay.const(0.044715)
    return x * (relay.tanh(cubed * relay.const(0.79788456)) + relay.const(1.0)) * relay.const(0.5)


_FUNCTIONS: tuple[Callable[[relay.Expr], relay.Expr], ...] = (
    gelu,
    gelu_tanh,
    lambda x: x * relay.sigmoid(x),
    relay.tanh,
    relay.exp,
    lambda x: relay.log(relay.abs(x) + relay.const(1.0)),
    lambda x: relay.sqrt(relay.abs(x)),
    lambda x: relay.power(relay.abs(x), relay.const(0.3)),
    lambda x: relay.const(1.0) / (relay.abs(x) + relay.const(1.0)),
    lambda x: relay.sin(x) + relay.cos(x),
)


def special_function(m: Maker, p: Point) -> relay.Expr:
    """An activation or another function of each element."""
    return _FUNCTIONS[m.next_turn("function", len(_FUNCTIONS))](m.input(p["m"], p["ic"]))


def odd_pool(m: Maker, p: Point) -> relay.Expr:
    """Pooling over windows of odd, unequal or one-dimensional extents."""
    c, k, size = round_to_8(p["ic"]), p["k"] | 1, max(p["size"], 9)
    other, stride = max(1, k - 2), min(p["stride"], 3)
    op = relay.nn.max_pool2d if size % 2 else relay.nn.avg_pool2d
    if m.next_turn("pool", 4) == 3:
        op1d = relay.nn.max_pool1d if size % 2 else relay.nn.avg_pool1d
        x = m.input(p["batch"], c, size * 8)
        return op1d(x, pool_size=(k,), strides=(min(stride, k),), padding=(k // 2, k // 2))
    window = (k, other) if size % 3 else (k, k)
    padding = (window[0] // 2, window[1] // 2)
    return op(m.input(p["batch"], c, size, size), window, (min(stride, window[1]),) * 2, padding=padding)


def resize(m: Maker, p: Point) -> relay.Expr:
    """Nearest, linear and cubic resizing of a map, and upsampling."""
    c, size = max(1, round_to_8(p["ic"]) // 8), p["size"]
    x, which = m.input(p["batch"], c, size, size), m.next_turn("resize", 4)
    if which == 0:
        return relay.nn.upsampling(x, p["scale"], p["scale"])
    method = ("nearest_neighbor", "linear", "cubic")[which - 1]
    rounding = "round" if method == "nearest_neighbor" else ""
    return relay.image.resize2d(x, (size * p["scale"],) * 2, method=method, rounding_method=rounding)


def lookup(m: Maker, p: Point) -> relay.Expr:
    """Rows of a table: an embedding."""
    indices = m.input(p["m"], dtype="int32")
    if m.next_turn("lookup", 2):
        return relay.take(m.weight(p["rows"], p["width"]), indices, axis=0)
    return relay.take(m.input(p["rows"], p["width"]), indices, axis=0)


def slice_of(m: Maker, p: Point) -> relay.Expr:
    """A part of each row, or every second row."""
    rows, width = p["m"], p["ic"]
    x = m.input(rows, width)
    if m.next_turn("slice", 2) and rows > 1:
        return relay.strided_slice(x, [0, 0], [rows, width], [2, 1])
    return relay.strided_slice(x, [0, width // 4], [rows, width - width // 4])


def lstm_cell(m: Maker, p: Point) -> relay.Expr:
    """The product of an LSTM cell's gates, or all that follows it."""
    rows, inputs, hidden = p["m"], p["ic"], round_to_8(p["oc"])
    if m.next_turn("lstm", 2):
        product = relay.nn.dense(m.input(rows, inputs), m.weight(4 * hidden, inputs))
        return relay.nn.bias_add(product, m.weight(4 * hidden))
    gates, state = m.input(rows, 4 * hidden), m.input(rows, hidden)
    i, o, f, g = (relay.strided_slice(gates, [0, n * hidden], [rows, (n + 1) * hidden]) for n in range(4))
    state = relay.sigmoid(f) * state + relay.sigmoid(i) * relay.tanh(g)
    return relay.sigmoid(o) * relay.tanh(state)


def _requantise(out: relay.Expr, bias: relay.Expr) -> relay.Expr:
    """From sums to 8 bits, as quantised models are lowered."""
    scaled = relay.fixed_point_multiply(relay.nn.bias_add(out, bias), 1288490189, -7)
    return relay.cast(relay.clip(scaled, -128, 127), "int8")


def int8_conv(m: Maker, p: Point) -> relay.Expr:
    """Convolution of 8-bit integers, or the requantisation on its own."""
    ic, oc, k, size = round_to_8(p["ic"]), round_to_8(p["oc"]), 1 if p["k"] < 2 else 3, p["size"]
    if m.next_turn("int8", 4) == 3:
        return _requantise(m.input(1, oc, size, size, dtype="int32"), m.integers(oc, dtype="int32"))
    out = relay.nn.conv2d(
        m.input(p["batch"], ic, size, size, dtype="int8"), m.integers(oc, ic, k, k), padding=(k // 2, k // 2),
        channels=oc, kernel_size=(k, k), out_dtype="int32",
    )  # fmt: skip
    return _requantise(out, m.integers(oc, dtype="int32"))


def int8_dense(m: Maker, p: Point) -> relay.Expr:
    """Product of 8-bit integers."""
    ic, oc = round_to_8(p["ic"]), round_to_8(p["oc"])
    out = relay.nn.dense(m.input(p["m"], ic, dtype="int8"), m.integers(oc, ic), out_dtype="int32")
    return _requantise(out, m.integers(oc, dtype="int32"))
