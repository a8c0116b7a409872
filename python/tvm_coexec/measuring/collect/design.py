"""The designed set of kernels: shapes that cover a range evenly, so that models do not depend on a few networks.

Each class has a space of extents (channels, rows, batch...), filled by a Sobol sequence in log space, which is even for
any number of points and contains all shorter ones. Points whose work or size is out of bounds are skipped. All kernels
are independent outputs of one Relay module, so they go through the same passes as those of a network.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relay

from . import design_kinds as kinds
from .design_maker import Bounds, Make, Maker, Point, round_to_8

NAME = "designed"
MAX_MACS = 1.5e9
MAX_WEIGHT_BYTES, MAX_WIDE_BYTES = 8 << 20, 64 << 20  # the latter of matrices that no cache holds
MAX_TENSOR_BYTES = 32 << 20


@dataclass(frozen=True)
class Space:
    """One class of kernels.

    Attributes
    ----------
    name : str
    fraction : float
        Share of the whole set, relative to the others.
    bounds : dict of str to (float, float)
        Smallest and largest value of each extent.
    make : callable
        Makes the kernel of a point.
    """

    name: str
    fraction: float
    bounds: Bounds
    make: Make


def make_designed_module(count: int, seed: int = 0, names: Container[str] = ()) -> tvm.IRModule:
    """Make a module with about `count` kernels of all classes, one output each.

    Parameters
    ----------
    count : int
        Rounded to integers per class, at least one each.
    seed : int
        Of sequences and weights.
    names : container of str, optional
        Classes to make; all by default. `count` is that of all of them.

    Returns
    -------
    IRModule
    """
    return make_module(choose_points(count, seed, names), seed)


def choose_points(count: int, seed: int = 0, names: Container[str] = ()) -> list[tuple[Space, Point]]:
    """Choose the points of the designed set, in the order of its kernels; see `make_designed_module`."""
    chosen: list[tuple[Space, Point]] = []
    for number, space in enumerate(SPACES):
        if names and space.name not in names:
            continue
        points = _draw_points(space, seed + number)
        wanted = count_kernels(space, count)
        made = 0
        for tried, point in enumerate(points):
            if made == wanted or tried > 50 * wanted:
                break
            if is_in_bounds(point):
                chosen.append((space, point))
                made += 1
    return chosen


def make_module(points: Iterable[tuple[Space, Point]], seed: int = 0) -> tvm.IRModule:
    """Make a module with the kernel of each point, one output each."""
    maker = Maker(np.random.default_rng(seed))
    outputs = [space.make(maker, point) for space, point in points]
    func = relay.Function(maker.inputs, relay.Tuple(outputs))
    return relay.transform.InferType()(tvm.IRModule.from_expr(func))


def count_kernels(space: Space, count: int) -> int:
    """Return how many kernels of a class a set of about `count` has."""
    return max(1, round(count * space.fraction / sum(s.fraction for s in SPACES)))


def _draw_points(space: Space, seed: int) -> Iterator[Point]:
    from scipy.stats import qmc  # large, and only a designed sample needs it

    low, high = (np.log(np.array(b, float)) for b in zip(*space.bounds.values(), strict=True))
    sequence = qmc.Sobol(len(space.bounds), seed=seed)
    while True:
        for row in sequence.random(64):
            values = np.exp(low + row * (high - low))
            yield {n: max(1, round(float(v))) for n, v in zip(space.bounds, values, strict=True)}


def is_in_bounds(p: Point) -> bool:
    """Whether the work and the tensors of a kernel are small enough to be measured."""
    size, batch = p.get("size", 1), p.get("batch", 1)
    ic, oc, k = p.get("ic", 1), p.get("oc", 1), p.get("k", 1)
    if "size" not in p:  # matrices: rows and columns are bounded by their spaces
        table = 4 * p.get("rows", 1) * p.get("width", 1)
        in_bounds = 4 * oc * ic <= (MAX_WIDE_BYTES if "wide" in p else MAX_WEIGHT_BYTES) and table <= MAX_TENSOR_BYTES
        return in_bounds and batch * p.get("m", 1) * oc * ic <= MAX_MACS
    axes = 1 if "flat" in p else 3 if "depth" in p else 2
    positions = p.get("depth", 1) * size ** min(axes, 2)
    weights = 4 * ic * oc * k**axes
    macs = batch * weights / 4 * positions if "oc" in p else 0
    tensor = 4 * batch * max(ic, oc) * positions
    return macs <= MAX_MACS and weights <= MAX_WEIGHT_BYTES and tensor <= MAX_TENSOR_BYTES


def _conv(k: int | None = None, stride: int = 1, window: tuple[int, int] | None = None) -> Make:
    def make(m: Maker, p: Point) -> relay.Expr:
        batch, ic, oc, size = (
            p["batch"],
            p["ic"] if p["ic"] < 4 else round_to_8(p["ic"]),
            round_to_8(p["oc"]),
            p["size"],
        )
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


def _depthwise(m: Maker, p: Point) -> relay.Expr:
    c, size, k, stride = round_to_8(p["ic"]), max(p["size"], p["k"]), 3 if p["k"] < 5 else 5, p["stride"]
    out = relay.nn.conv2d(
        m.input(p["batch"], c, size, size), m.weight(c, 1, k, k), strides=(stride, stride), padding=(k // 2, k // 2),
        groups=c, channels=c, kernel_size=(k, k),
    )  # fmt: skip
    return m.finish(out, c, None, size)


def _grouped(m: Maker, p: Point) -> relay.Expr:
    groups = 2 ** round(np.log2(p["groups"]))
    ic, oc = (max(2, round(p[n] / groups / 2) * 2) * groups for n in ("ic", "oc"))
    k = 1 if p["k"] < 2 else 3
    out = relay.nn.conv2d(
        m.input(p["batch"], ic, p["size"], p["size"]), m.weight(oc, ic // groups, k, k), padding=(k // 2, k // 2),
        groups=groups, channels=oc, kernel_size=(k, k),
    )  # fmt: skip
    return m.finish(out, oc, None, p["size"])


def _transposed(m: Maker, p: Point) -> relay.Expr:
    ic, oc, size, k = round_to_8(p["ic"]), round_to_8(p["oc"]), p["size"], p["k"]
    stride = min(p["stride"], k)
    out = relay.nn.conv2d_transpose(
        m.input(p["batch"], ic, size, size), m.weight(ic, oc, k, k), strides=(stride, stride),
        padding=((k - stride) // 2,) * 2, channels=oc, kernel_size=(k, k),
    )  # fmt: skip
    return m.finish(out, oc, None, size)


def _dense(m: Maker, p: Point) -> relay.Expr:
    ic, oc = round_to_8(p["ic"]), round_to_8(p["oc"])
    return m.finish(relay.nn.dense(m.input(p["m"], ic), m.weight(oc, ic)), oc, None, oc // 8)


def _batch_matmul(m: Maker, p: Point) -> relay.Expr:
    return relay.nn.batch_matmul(m.input(p["batch"], p["m"], p["ic"]), m.input(p["batch"], p["oc"], p["ic"]))


def _pool(m: Maker, p: Point) -> relay.Expr:
    c, k = round_to_8(p["ic"]), p["k"]
    size = max(p["size"], k)
    x = m.input(p["batch"], c, size, size)
    if (c + size) % 7 == 0:
        return relay.nn.global_avg_pool2d(x)
    op = relay.nn.max_pool2d if size % 2 else relay.nn.avg_pool2d
    stride = min(p["stride"], k)
    return op(x, pool_size=(k, k), strides=(stride, stride), padding=(k // 2, k // 2))


def _elementwise(m: Maker, p: Point) -> relay.Expr:
    shape = (p["batch"], round_to_8(p["ic"]), p["size"], p["size"])
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


def _reduce(m: Maker, p: Point) -> relay.Expr:
    which = (p["m"] + p["ic"]) % 4
    if which < 2:
        return relay.nn.softmax(m.input(p["m"], p["ic"]), axis=-1)
    x = m.input(p["m"], p["ic"])
    return relay.mean(x, axis=1, keepdims=True) if which == 2 else relay.max(x, axis=0)


def _concat(m: Maker, p: Point) -> relay.Expr:
    first, second = round_to_8(p["ic"]), round_to_8(p["oc"])
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
    # Classes of other networks. They are last, since a space's sequence follows from its position.
    Space("conv1d", 0.03, kinds.SIGNAL | {"k": (1, 9), "stride": (1, 2)}, kinds.conv1d),
    Space("conv3d", 0.03, kinds.VOLUME | {"k": (1, 3)}, kinds.conv3d),
    Space("transposed1d", 0.02, kinds.SIGNAL | {"ic": (8, 256), "k": (2, 8), "stride": (1, 4)}, kinds.transposed1d),
    Space("transposed3d", 0.015, kinds.VOLUME | {"ic": (4, 64), "k": (2, 3), "size": (4, 20)}, kinds.transposed3d),
    Space("normalisation", 0.05, kinds.TOKENS | {"groups": (1, 8)}, kinds.normalisation),
    Space("softmax", 0.025, kinds.TOKENS, kinds.softmax),
    Space("function", 0.05, kinds.TOKENS, kinds.special_function),
    Space("pool_odd", 0.03, _LIGHT | {"k": (3, 9), "stride": (1, 3)}, kinds.odd_pool),
    Space("resize", 0.025, _LIGHT | {"size": (4, 64), "scale": (1.6, 4)}, kinds.resize),
    Space("lookup", 0.02, {"m": (1, 512), "rows": (512, 32768), "width": (16, 256)}, kinds.lookup),
    Space("slice", 0.02, kinds.TOKENS, kinds.slice_of),
    Space("lstm", 0.03, {"m": (1, 8), "ic": (16, 512), "oc": (16, 512)}, kinds.lstm_cell),
    Space("int8", 0.05, _MAP | {"ic": (8, 512), "oc": (8, 512), "k": (1, 3), "size": (5, 64)}, kinds.int8_conv),
    Space("int8_dense", 0.02, {"m": (1, 128), "ic": (16, 2048), "oc": (10, 2048)}, kinds.int8_dense),
    Space("dense_wide", 0.02, {"m": (1, 4), "ic": (2048, 16384), "oc": (1024, 8192), "wide": (1, 1)}, _dense),
    Space("lrn", 0.015, {"batch": (1, 1.6), "ic": (8, 256), "size": (5, 64)}, kinds.lrn),
    Space("shuffle", 0.03, {"ic": (16, 512), "groups": (2, 8), "size": (5, 56)}, kinds.shuffle),
)
