"""A designed sample: kernels spread over the shapes, so that a model knows more than the networks it was fitted to.

Every class has a space of extents (channels, rows, batch...), filled by a Sobol sequence in log space: even for any
number of points, and a longer sample contains the shorter one. Points whose work or size is out of bounds are passed
over. All kernels lie side by side in one Relay module, so they go through the same passes as a network's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tvm
from scipy.stats import qmc
from tvm import relay

NAME = "designed"
MAX_MACS = 1.5e9
MAX_WEIGHT_BYTES = 8 << 20
MAX_TENSOR_BYTES = 32 << 20

Point = dict[str, int]
Bounds = dict[str, tuple[float, float]]
Make = Callable[["_Maker", Point], relay.Expr]


@dataclass(frozen=True)
class Space:
    """One class of kernels.

    Attributes
    ----------
    name : str
    part : float
        Of the whole sample.
    bounds : dict of str to (float, float)
        Smallest and largest value of every extent; chosen evenly in log space.
    make : callable
        Writes the kernel for a point.
    """

    name: str
    part: float
    bounds: Bounds
    make: Make


def designed_module(count: int, seed: int = 0) -> tvm.IRModule:
    """About `count` kernels of all classes in one module, one output each.

    Parameters
    ----------
    count : int
        Rounded to whole numbers per class, at least one each.
    seed : int
        Of sequences and weights.
    """
    maker = _Maker(np.random.default_rng(seed))
    outputs = []
    for number, space in enumerate(SPACES):
        points = _points(space, seed + number)
        wanted = max(1, round(count * space.part))
        made = 0
        for tried, point in enumerate(points):
            if made == wanted or tried > 50 * wanted:
                break
            if _fits(point):
                outputs.append(space.make(maker, point))
                made += 1
    func = relay.Function(maker.inputs, relay.Tuple(outputs))
    return relay.transform.InferType()(tvm.IRModule.from_expr(func))


def _points(space: Space, seed: int) -> Iterator[Point]:
    low, high = (np.log(np.array(b, float)) for b in zip(*space.bounds.values(), strict=True))
    sequence = qmc.Sobol(len(space.bounds), seed=seed)
    while True:
        for row in sequence.random(64):
            values = np.exp(low + row * (high - low))
            yield {n: max(1, round(float(v))) for n, v in zip(space.bounds, values, strict=True)}


def _channels(n: int) -> int:
    """Most networks have channels in multiples of 8 or 16; one shape in five stays as it came."""
    return n if n % 5 == 0 else max(8, round(n / 16) * 16 if n > 48 else round(n / 8) * 8)


def _fits(p: Point) -> bool:
    size, batch = p.get("size", 1), p.get("batch", 1)
    ic, oc, k = p.get("ic", 1), p.get("oc", 1), p.get("k", 1)
    if "size" not in p:  # matrices: rows and columns are bounded by their spaces
        return batch * p.get("m", 1) * oc * ic <= MAX_MACS and 4 * oc * ic <= MAX_WEIGHT_BYTES
    macs = batch * ic * oc * k * k * size * size if "oc" in p else 0
    tensor = 4 * batch * max(ic, oc) * size * size
    return macs <= MAX_MACS and 4 * ic * oc * k * k <= MAX_WEIGHT_BYTES and tensor <= MAX_TENSOR_BYTES


class _Maker:
    """Writes kernels; remembers their inputs."""

    def __init__(self, rng: np.random.Generator):
        self.inputs: list[relay.Var] = []
        self.noise = (rng.standard_normal(1 << 16) * 0.1).astype("float32")

    def input(self, *shape: int) -> relay.Var:
        self.inputs.append(relay.var(f"x{len(self.inputs)}", shape=shape))
        return self.inputs[-1]

    def weight(self, *shape: int) -> relay.Constant:
        return relay.const(np.resize(self.noise, shape))

    def finish(self, out: relay.Expr, channels: int, shape: tuple[int, ...] | None, which: int) -> relay.Expr:
        """Bias and activation as networks have them; now and then a residual, or nothing at all."""
        if which % 4 == 3:
            return out
        out = relay.nn.bias_add(out, self.weight(channels))
        if which % 4 == 2 and shape is not None:
            out = relay.add(out, self.input(*shape))
        return relay.nn.relu(out)


def _conv(k: int | None = None, stride: int = 1, window: tuple[int, int] | None = None) -> Make:
    def make(m: _Maker, p: Point) -> relay.Expr:
        batch, ic, oc, size = p["batch"], p["ic"] if p["ic"] < 4 else _channels(p["ic"]), _channels(p["oc"]), p["size"]
        n = k or (5 if p["k"] < 6 else 7)
        kh, kw = window if window and p["size"] % 2 else (window[::-1] if window else (n, n))
        size = max(size, kh, kw)
        out = relay.nn.conv2d(
            m.input(batch, ic, size, size), m.weight(oc, ic, kh, kw), strides=(stride, stride),
            padding=(kh // 2, kw // 2), channels=oc, kernel_size=(kh, kw),
        )  # fmt: skip
        after = ((size - 1) // stride) + 1
        return m.finish(out, oc, (batch, oc, after, after), size + oc)

    return make


def _depthwise(m: _Maker, p: Point) -> relay.Expr:
    c, size, k, stride = _channels(p["ic"]), max(p["size"], p["k"]), 3 if p["k"] < 5 else 5, p["stride"]
    out = relay.nn.conv2d(
        m.input(p["batch"], c, size, size), m.weight(c, 1, k, k), strides=(stride, stride), padding=(k // 2, k // 2),
        groups=c, channels=c, kernel_size=(k, k),
    )  # fmt: skip
    return m.finish(out, c, None, size)


def _grouped(m: _Maker, p: Point) -> relay.Expr:
    groups = 2 ** round(np.log2(p["groups"]))
    ic, oc = (max(2, round(p[n] / groups / 2) * 2) * groups for n in ("ic", "oc"))
    k = 1 if p["k"] < 2 else 3
    out = relay.nn.conv2d(
        m.input(p["batch"], ic, p["size"], p["size"]), m.weight(oc, ic // groups, k, k), padding=(k // 2, k // 2),
        groups=groups, channels=oc, kernel_size=(k, k),
    )  # fmt: skip
    return m.finish(out, oc, None, p["size"])


def _transposed(m: _Maker, p: Point) -> relay.Expr:
    ic, oc, size, k = _channels(p["ic"]), _channels(p["oc"]), p["size"], p["k"]
    stride = min(p["stride"], k)
    out = relay.nn.conv2d_transpose(
        m.input(p["batch"], ic, size, size), m.weight(ic, oc, k, k), strides=(stride, stride),
        padding=((k - stride) // 2,) * 2, channels=oc, kernel_size=(k, k),
    )  # fmt: skip
    return m.finish(out, oc, None, size)


def _dense(m: _Maker, p: Point) -> relay.Expr:
    ic, oc = _channels(p["ic"]), _channels(p["oc"])
    return m.finish(relay.nn.dense(m.input(p["m"], ic), m.weight(oc, ic)), oc, None, oc // 8)


def _batch_matmul(m: _Maker, p: Point) -> relay.Expr:
    return relay.nn.batch_matmul(m.input(p["batch"], p["m"], p["ic"]), m.input(p["batch"], p["oc"], p["ic"]))


def _pool(m: _Maker, p: Point) -> relay.Expr:
    c, k = _channels(p["ic"]), p["k"]
    size = max(p["size"], k)
    x = m.input(p["batch"], c, size, size)
    if (c + size) % 7 == 0:
        return relay.nn.global_avg_pool2d(x)
    op = relay.nn.max_pool2d if size % 2 else relay.nn.avg_pool2d
    stride = min(p["stride"], k)
    return op(x, pool_size=(k, k), strides=(stride, stride), padding=(k // 2, k // 2))


def _elementwise(m: _Maker, p: Point) -> relay.Expr:
    shape = (p["batch"], _channels(p["ic"]), p["size"], p["size"])
    x = m.input(*shape)
    which = (p["ic"] + p["size"]) % 5
    if which == 0:
        return relay.nn.relu(x)
    if which == 1:
        return relay.nn.relu(relay.add(x, m.input(*shape)))
    if which == 2:
        scale, shift = m.weight(shape[1], 1, 1), m.weight(shape[1], 1, 1)
        return relay.nn.relu(relay.add(relay.multiply(x, scale), shift))
    if which == 3:
        return relay.multiply(x, relay.sigmoid(x))
    return relay.transpose(x, (0, 2, 3, 1))


def _reduce(m: _Maker, p: Point) -> relay.Expr:
    which = (p["m"] + p["ic"]) % 4
    if which < 2:
        return relay.nn.softmax(m.input(p["m"], p["ic"]), axis=-1)
    x = m.input(p["m"], p["ic"])
    return relay.mean(x, axis=1, keepdims=True) if which == 2 else relay.max(x, axis=0)


def _concat(m: _Maker, p: Point) -> relay.Expr:
    first, second = _channels(p["ic"]), _channels(p["oc"])
    parts = [m.input(p["batch"], c, p["size"], p["size"]) for c in (first, second)]
    return relay.concatenate(parts, axis=1)


_MAP: Bounds = {"batch": (1, 1.6), "ic": (8, 1024), "oc": (8, 1024), "size": (5, 128)}
_LARGE: Bounds = {"batch": (1, 1.6), "ic": (3, 256), "oc": (8, 512), "size": (7, 224)}
_LIGHT: Bounds = {"batch": (1, 1.6), "ic": (8, 1024), "size": (5, 224)}
SPACES = (
    Space("conv1x1", 0.17, _MAP, _conv(1)),
    Space("conv3x3", 0.16, _MAP | {"k": (3, 3)}, _conv(3)),
    Space("conv1x1_stride2", 0.03, _MAP, _conv(1, 2)),
    Space("conv3x3_stride2", 0.06, _LARGE | {"k": (3, 3)}, _conv(3, 2)),
    Space("conv_wide", 0.07, _LARGE | {"k": (5, 7)}, _conv()),
    Space("conv_wide_stride2", 0.03, _LARGE | {"k": (5, 7)}, _conv(None, 2)),
    Space("conv_row", 0.03, _MAP | {"k": (3, 3)}, _conv(window=(1, 7))),
    Space("depthwise", 0.09, _LIGHT | {"k": (3, 6), "stride": (1, 2)}, _depthwise),
    Space("grouped", 0.06, _MAP | {"k": (1, 3), "groups": (2, 32)}, _grouped),
    Space("transposed", 0.05, _LARGE | {"ic": (8, 256), "k": (2, 4), "stride": (1, 2), "size": (4, 64)}, _transposed),
    Space("dense", 0.05, {"m": (1, 128), "ic": (16, 4096), "oc": (10, 4096)}, _dense),
    Space("batch_matmul", 0.04, {"batch": (1, 16), "m": (8, 512), "ic": (16, 512), "oc": (8, 512)}, _batch_matmul),
    Space("pool", 0.05, _LIGHT | {"k": (2, 7), "stride": (1, 3)}, _pool),
    Space("elementwise", 0.06, _LIGHT, _elementwise),
    Space("reduce", 0.03, {"m": (1, 512), "ic": (16, 4096)}, _reduce),
    Space("concat", 0.02, _LIGHT | {"oc": (8, 512)}, _concat),
)
