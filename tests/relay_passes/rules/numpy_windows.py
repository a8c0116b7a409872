"""What Relay's operators mean, in numpy: sliding windows, resampling, and matrix products."""

from __future__ import annotations

import itertools

import numpy as np
from tvm import relay

from tests.relay_passes.rules.numpy_operators import NotKnown, ints, op, out_shape

Array = np.ndarray


def pads(values, n: int) -> list[tuple[int, int]]:
    p = ints(values)
    p = p * n if len(p) == 1 else p
    p = p * 2 if len(p) == n else p
    return list(zip(p[:n], p[n:], strict=True))


def each(values, n: int) -> list[int]:
    v = ints(values)
    return v * n if len(v) == 1 else v


def to_first(a: Array, layout: str, order: str) -> Array:
    return a.transpose([layout.index(c) for c in order])


def layouts(call: relay.Call) -> tuple[str, str, list[str]]:
    """Return the layouts of a convolution's data and kernel, and the letters of its spatial axes."""
    layout = str(call.attrs.data_layout)
    return layout, str(call.attrs.kernel_layout), [c for c in layout if c not in "NC"]


@op("nn.conv1d", "nn.conv2d", "nn.conv3d")
def _conv(call, a, w):
    layout, kernel_layout, letters = layouts(call)
    n, groups = len(letters), int(call.attrs.groups)
    a = to_first(a, layout, "NC" + "".join(letters))
    channels = a.shape[1]
    w = to_first(w, kernel_layout, "OI" + "".join(letters))
    if w.shape[0] * w.shape[1] != out_shape(call)[layout.index("C")] * (channels // groups):
        raise NotKnown(f"weights {w.shape}")
    # depthwise kernels in HWOI are written channels by multiplier
    w = w.reshape(out_shape(call)[layout.index("C")], channels // groups, *w.shape[2:])
    a = np.pad(a, [(0, 0), (0, 0), *pads(call.attrs.padding, n)])
    strides, dilation = each(call.attrs.strides, n), each(call.attrs.dilation, n)
    out = [out_shape(call)[layout.index(c)] for c in letters]
    a = a.reshape(a.shape[0], groups, -1, *a.shape[2:])
    w = w.reshape(groups, -1, *w.shape[1:])
    total = 0
    for offset in itertools.product(*[range(k) for k in w.shape[3:]]):
        index = [
            slice(o * d, o * d + (m - 1) * s + 1, s) for o, d, m, s in zip(offset, dilation, out, strides, strict=True)
        ]
        part, weight = a[(slice(None), slice(None), slice(None), *index)], w[(..., *offset)]
        if a.dtype.kind != "f":
            part, weight = part.astype("int64"), weight.astype("int64")
        total = total + np.einsum("ngc...,goc->ngo...", part, weight)
    total = total.reshape(total.shape[0], -1, *out)
    return total.transpose([("NC" + "".join(letters)).index(c) for c in layout])


@op("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")
def _conv_transpose(call, a, w):
    layout, kernel_layout, letters = layouts(call)
    n, groups = len(letters), int(call.attrs.groups)
    a = to_first(a, layout, "NC" + "".join(letters))
    w = to_first(w, kernel_layout, kernel_layout[:2] + "".join(letters))
    strides, padding = each(call.attrs.strides, n), pads(call.attrs.padding, n)
    extra, k = each(call.attrs.output_padding, n), w.shape[2:]
    full = [(m - 1) * s + q + e for m, s, q, e in zip(a.shape[2:], strides, k, extra, strict=True)]
    a = a.reshape(a.shape[0], groups, -1, *a.shape[2:])
    w = w.reshape(groups, -1, *w.shape[1:])
    total = np.zeros((a.shape[0], groups, w.shape[2], *full))
    for offset in itertools.product(*[range(q) for q in k]):
        index = [slice(o, o + (m - 1) * s + 1, s) for o, m, s in zip(offset, a.shape[3:], strides, strict=True)]
        total[(..., *index)] += np.einsum("ngc...,gco->ngo...", a, w[(..., *offset)])
    total = total.reshape(total.shape[0], -1, *full)
    crop = [slice(b, f - e) for (b, e), f in zip(padding, full, strict=True)]
    total = total[(slice(None), slice(None), *crop)]
    return total.transpose([("NC" + "".join(letters)).index(c) for c in layout])


@op(*[f"nn.{kind}_pool{n}d" for kind in ("max", "avg") for n in (1, 2, 3)])
def _pool(call, a):
    layout = str(call.attrs.layout)
    letters = [c for c in layout if c not in "NC"]
    n = len(letters)
    a = to_first(a, layout, "NC" + "".join(letters))
    k, strides = each(call.attrs.pool_size, n), each(call.attrs.strides, n)
    dilation, out = each(call.attrs.dilation, n), [out_shape(call)[layout.index(c)] for c in letters]
    widths = [
        (b, e + s - 1) for (b, e), s in zip(pads(call.attrs.padding, n), strides, strict=True)
    ]  # room for ceil_mode
    is_max = "max" in call.op.name
    fill = float(np.finfo("float32").min) if is_max else 0  # what a window of padding alone gives
    b = np.pad(a.astype("float64"), [(0, 0), (0, 0), *widths], constant_values=fill)
    # an average counts elements, and padding if asked to, but never what ceil_mode adds
    counted = [(0, 0)] * n
    if not is_max and bool(call.attrs.count_include_pad):
        counted = pads(call.attrs.padding, n)
    inside = np.pad(np.ones(a.shape[2:]), counted, constant_values=1)
    inside = np.pad(inside, [(w[0] - c[0], w[1] - c[1]) for w, c in zip(widths, counted, strict=True)])
    total, count = np.full((*a.shape[:2], *out), fill, dtype="float64"), np.zeros(out)
    for offset in itertools.product(*[range(q) for q in k]):
        index = [
            slice(o * d, o * d + (m - 1) * s + 1, s) for o, d, m, s in zip(offset, dilation, out, strides, strict=True)
        ]
        part = b[(slice(None), slice(None), *index)]
        total = np.maximum(total, part) if is_max else total + part
        count += inside[tuple(index)]
    if not is_max:
        total = total / np.maximum(count, 1)
    if a.dtype.kind != "f":
        total = np.trunc(total).astype(a.dtype)
    return total.transpose([("NC" + "".join(letters)).index(c) for c in layout])


@op("nn.global_max_pool2d", "nn.global_avg_pool2d")
def _global_pool(call, a):
    axes = tuple(i for i, c in enumerate(str(call.attrs.layout)) if c not in "NC")
    return (np.max if "max" in call.op.name else np.mean)(a, axis=axes, keepdims=True)


@op(*[f"nn.adaptive_{kind}_pool{n}d" for kind in ("max", "avg") for n in (1, 2, 3)])
def _adaptive_pool(call, a):
    f = np.max if "max" in call.op.name else np.mean
    for axis, (c, m) in enumerate(zip(str(call.attrs.layout), out_shape(call), strict=True)):
        if c not in "NC":
            n = a.shape[axis]
            rows = [np.arange(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
            a = np.stack([f(np.take(a, r, axis=axis), axis=axis) for r in rows], axis=axis)
    return a


def source(x: Array, n: int, m: int, mode: str) -> Array:
    """Input coordinate of each output coordinate."""
    if mode == "half_pixel":
        return (x + 0.5) * n / m - 0.5
    if mode == "align_corners":
        return x * ((n - 1) / (m - 1) if m > 1 else 0.0)
    if mode == "asymmetric":
        return x * n / m
    if mode == "pytorch_half_pixel":
        return (x + 0.5) * n / m - 0.5 if m > 1 else x * 0.0
    raise NotKnown(f"coordinates {mode}")


def weights(n: int, m: int, method: str, mode: str, rounding: str, alpha: float, exclude: bool) -> Array:
    """Matrix (m, n) that resamples one axis."""
    at = source(np.arange(m, dtype="float64"), n, m, mode)
    w = np.zeros((m, n))
    rows = np.arange(m)
    if method == "nearest_neighbor":
        if rounding in ("", None):
            rounding = "round" if mode == "align_corners" else "floor"
        index = {
            "round": lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5),
            "floor": lambda v: np.floor(v + 1e-5),
            "ceil": lambda v: np.ceil(v - 1e-5),
            "round_prefer_floor": lambda v: np.ceil(v - 0.5),
            "round_prefer_ceil": lambda v: np.floor(v + 0.5),
        }[rounding](at)
        w[rows, np.clip(index, 0, n - 1).astype(int)] = 1
        return w
    low = np.floor(at)
    t = at - low
    if method == "linear":
        taps = [(0, 1 - t), (1, t)]
    else:
        taps = [
            (-1, ((alpha * (t + 1) - 5 * alpha) * (t + 1) + 8 * alpha) * (t + 1) - 4 * alpha),
            (0, ((alpha + 2) * t - (alpha + 3)) * t * t + 1),
            (1, ((alpha + 2) * (1 - t) - (alpha + 3)) * (1 - t) ** 2 + 1),
        ]
        taps.append((2, 1 - taps[0][1] - taps[1][1] - taps[2][1]))
    if method == "cubic" and exclude:
        taps = [(i, np.where((low + i >= 0) & (low + i < n), v, 0)) for i, v in taps]
        total = sum(v for _, v in taps)
        taps = [(i, v / total) for i, v in taps]
    for i, v in taps:
        np.add.at(w, (rows, np.clip(low + i, 0, n - 1).astype(int)), v)
    return w


@op("image.resize1d", "image.resize2d", "image.resize3d", "nn.upsampling", "nn.upsampling3d")
def _resize(call, a):
    layout, method = str(call.attrs.layout), str(call.attrs.method)
    method = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}.get(method, method)
    rounding, alpha, exclude = "", -0.5, False
    if call.op.name == "nn.upsampling":
        mode = "align_corners" if bool(call.attrs.align_corners) else "asymmetric"
    else:
        mode = str(call.attrs.coordinate_transformation_mode)
    if call.op.name.startswith("image"):
        rounding = str(call.attrs.rounding_method)
        alpha, exclude = float(call.attrs.cubic_alpha), bool(int(call.attrs.cubic_exclude))
    for axis, (c, m) in enumerate(zip(layout, out_shape(call), strict=True)):
        if c not in "NC":
            n = a.shape[axis]
            if call.op.name == "image.resize2d" and mode == "asymmetric" and m % n == 0:
                rounding = "floor"  # TVM divides integers, whatever the rounding
            w = weights(n, m, method, mode, rounding, alpha, exclude)
            a = np.moveaxis(np.tensordot(w, a, axes=(1, axis)), 0, axis)
    return a


# --- matrices ---


@op("nn.dense")
def _dense(call, a, b):
    a, b = (v.astype("int64") if v.dtype.kind != "f" else v for v in (a, b))
    return a @ b.T


@op("nn.matmul", "nn.batch_matmul")
def _matmul(call, a, b):
    a, b = (v.astype("int64") if v.dtype.kind != "f" else v for v in (a, b))
    a = np.swapaxes(a, -1, -2) if bool(call.attrs.transpose_a) else a
    b = np.swapaxes(b, -1, -2) if bool(call.attrs.transpose_b) else b
    return a @ b
