"""Analytic terms: what the time of a kernel of each class may be a sum of.

A term is a function of the workload's extents with a meaning: multiply-adds, bytes, or multiply-adds of whole tiles or
waves, so that what a tile computes beside the output counts. `fit` finds how many seconds one unit of each costs, and
most get none. Terms are written with operators alone, so that one formula serves numbers and arrays.

Sources: ceilings over blocks and waves, and the three parts of Winograd and of packed GEMM: CoDL (MobiSys 2022, section
5.2); work and bytes by algorithm: Paleo (ICLR 2017, section 4); the bytes of each memory level: the roofline model
(Williams et al., CACM 2009).
"""

from __future__ import annotations

from collections.abc import Callable

from .workload import Number, Workload

Terms = dict[str, Number]


def terms_of(w: Workload) -> Terms:
    """Terms of a workload by name; those of one class always have the same names.

    Parameters
    ----------
    w : Workload

    Returns
    -------
    dict of str to number or array
        Not negative.
    """
    found = {"one": 1.0 + 0 * w.out_bytes, "in": w.in_bytes, "out": w.out_bytes, "weights": w.weight_bytes}
    found["flops"] = w.flops
    found["epilogue"] = w.fused * w.out_bytes
    return _BY_KIND[w.kind](w, found)


def up(extent: Number, tile: int) -> Number:
    """``extent`` rounded up to whole tiles."""
    return -(-extent // tile) * tile


# Outputs that a work-group computes: channels, columns, rows; or channels and places, rows and columns being one.
_TILES = ((4, 2, 2), (8, 2, 2), (4, 8, 4), (8, 16, 4), (4, 16, 8), (16, 8, 2), (8, 32, 2))
_FLAT_TILES = ((4, 32), (8, 64), (4, 128), (8, 256))
_AT_ONCE = (8, 32)  # work-groups that a device has in flight


def _tiles(w: Workload, t: Terms, depth: Number) -> None:
    """Multiply-adds of whole work-groups, and of whole waves of them; input channels are read four at a time."""
    depth = depth / w.ic * up(w.ic, 4)
    for channels, columns, rows in _TILES:
        outputs = up(w.oc, channels) * up(w.ow, columns) * up(w.oh, rows) * w.batch
        _waves(t, f"{channels}x{columns}x{rows}", channels * columns * rows, outputs, depth)
    for channels, places in _FLAT_TILES:
        outputs = up(w.oc, channels) * up(w.ow * w.oh, places) * w.batch
        _waves(t, f"{channels}x{places}", channels * places, outputs, depth)


def _waves(t: Terms, name: str, tile: int, outputs: Number, depth: Number) -> None:
    t[f"tile{name}"] = outputs * depth
    for groups in _AT_ONCE:
        t[f"tile{name}.wave{groups}"] = up(outputs // tile, groups) * tile * depth


def _convolution(w: Workload, t: Terms) -> Terms:
    taps = w.kh * w.kw
    depth = taps * w.ic / w.groups  # multiply-adds behind one output
    rows = w.batch * w.oh
    places = rows * w.ow
    work = w.oc * depth
    t["macs"] = work * places
    for tile in (4, 8, 16, 32):
        t[f"oc{tile}"] = up(w.oc, tile) * depth * places
    for tile in (2, 4, 8):
        t[f"ow{tile}"] = work * rows * up(w.ow, tile)
    for tile in (4, 16, 64):
        t[f"place{tile}"] = work * up(places, tile)
    t["oc4.place4"] = up(w.oc, 4) * depth * up(places, 4)
    t["oc8.ow8"] = up(w.oc, 8) * depth * rows * up(w.ow, 8)
    # What waits for one output's chain of additions, and whole waves of threads that compute four channels each.
    t["depth"] = depth + 0 * t["macs"]
    for wave in (64, 256, 1024):
        t[f"wave{wave}"] = up(-(-w.oc // 4) * places, wave) * depth
    _tiles(w, t, depth)
    t["accumulate"] = w.oc * places * w.ic / w.groups
    t["columns"] = places * depth * w.groups  # im2col or the packed input
    t["rows"] = w.oc * rows
    t["weights.rows"] = w.weight_bytes * rows
    t["in.oc32"] = w.in_bytes * -(-w.oc // 32)
    if w.algorithm.startswith("nchwc"):
        _blocked(w, t)
    return t


def _blocked(w: Workload, t: Terms) -> None:
    """TVM's NCHWc schedules block channels and columns by their divisors: a prime extent is computed one by one."""
    block = divisor(w.oc, 16)
    register = divisor(w.ow, 28)
    for lanes in (4, 8, 16):
        t[f"vector{lanes}"] = t["macs"] / least(block, lanes)
    t["broadcast"] = t["macs"] / block
    t["vector.register"] = t["macs"] / (block * register)


def _winograd(w: Workload, t: Terms) -> Terms:
    """A convolution that may be computed by Winograd's algorithm: 3x3 kernels of stride one."""
    t = _convolution(w, t)
    for tile in (2, 4):
        tiles = w.batch * -(-w.oh // tile) * -(-w.ow // tile) * (tile + 2) ** 2
        t[f"winograd{tile}"] = tiles * w.ic * w.oc / w.groups
        t[f"winograd{tile}.in"] = tiles * w.ic
        t[f"winograd{tile}.out"] = tiles * w.oc
    return t


def _any_convolution(w: Workload, t: Terms) -> Terms:
    return _winograd(w, t) if "3x3" in w.algorithm or "winograd" in w.algorithm else _convolution(w, t)


def _transposed(w: Workload, t: Terms) -> Terms:
    t["macs"] = w.macs
    t["dilated"] = w.batch * w.oc * w.ic / w.groups * w.kh * w.kw * w.oh * w.ow  # as a convolution of a dilated input
    t["columns"] = w.batch * w.oh * w.ow * w.ic * w.kh * w.kw
    for tile in (4, 8, 16):
        t[f"oc{tile}"] = t["dilated"] / w.oc * up(w.oc, tile)
    t["ow8"] = t["dilated"] / w.ow * up(w.ow, 8)
    t["depth"] = w.ic * w.kh * w.kw + 0 * t["macs"]
    if w.algorithm.startswith("nchwc"):
        _blocked(w, t)
    return t


def _product(w: Workload, t: Terms) -> Terms:
    rows = w.ow
    t["macs"] = w.batch * w.oc * rows * w.ic
    for tile in (4, 8, 16, 32):
        t[f"oc{tile}"] = w.batch * up(w.oc, tile) * rows * w.ic
    for tile in (4, 8, 32):
        t[f"rows{tile}"] = w.batch * w.oc * up(rows, tile) * w.ic
    t["oc16.rows4"] = w.batch * up(w.oc, 16) * up(rows, 4) * w.ic
    t["ic16"] = w.batch * w.oc * rows * up(w.ic, 16)
    t["depth"] = w.ic + 0 * t["macs"]
    t["pack"] = w.batch * (w.ic * w.oc + w.ic * rows)
    t["outputs"] = w.batch * w.oc * rows
    for wave in (64, 256, 1024):
        t[f"wave{wave}"] = up(w.batch * w.oc * rows, wave) * w.ic
    block, register = divisor(w.oc, 16), divisor(rows, 16)
    t["broadcast"] = t["macs"] / block
    t["by.rows"] = t["macs"] / register
    t["by.both"] = t["macs"] / (block * register)
    return t


def _pool(w: Workload, t: Terms) -> Terms:
    t["macs"] = w.macs
    t["ow4"] = t["macs"] / w.ow * up(w.ow, 4)
    t["ow8"] = t["macs"] / w.ow * up(w.ow, 8)
    t["oc8"] = t["macs"] / w.oc * up(w.oc, 8)
    t["rows"] = w.batch * w.oc * w.oh
    t["outputs"] = w.batch * w.oc * w.oh * w.ow
    t["depth"] = w.kh * w.kw + 0 * t["macs"]
    return t


def _elements(w: Workload, t: Terms) -> Terms:
    t["elements"] = w.ow
    t["reduced"] = w.ow * w.kw
    t["element.bytes"] = t["in"] + t["out"]
    for wave in (1024, 65536):
        t[f"wave{wave}"] = up(w.ow, wave)
    return t


_BY_KIND: dict[str, Callable[[Workload, Terms], Terms]] = {
    "conv": _any_convolution,
    "depthwise_conv": _convolution,
    "group_conv": _any_convolution,
    "transposed_conv": _transposed,
    "dense": _product,
    "batch_matmul": _product,
    "pool": _pool,
    "reduce": _elements,
    "injective": _elements,
    "other": _elements,
}


def divisor(extent: Number, most: int) -> Number:
    """The largest divisor up to ``most``: how TVM's fallback configurations block an extent."""
    best = 1 + 0 * extent
    for candidate in range(2, most + 1):
        best = best + (candidate - best) * (extent % candidate == 0)
    return best


def least(value: Number, limit: int) -> Number:
    """The smaller of the two."""
    return value + (limit - value) * (value > limit)
