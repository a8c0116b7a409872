"""Relay in numpy: what the operators mean, evaluated in double precision.

Compiling every split of every operator would take minutes; evaluating it takes milliseconds, and double precision
tells a wrong row from a rounding error. The evaluator itself is held to TVM: the harness also builds every module, and
some of its splits, with LLVM.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from scipy import special
from tvm import relay, tir

Array = np.ndarray


class NotKnown(Exception):
    """The evaluator does not know the operator."""


OPS: dict[str, Callable] = {}


def op(*names: str):
    def register(f: Callable) -> Callable:
        OPS.update(dict.fromkeys(names, f))
        return f

    return register


def evaluate(func: relay.Function, inputs: dict[str, Array]) -> list[Array]:
    """Results of a typed function whose body is operators, tuples, constants and its parameters."""
    values: dict = {}

    def visit(node) -> None:
        if isinstance(node, relay.Var):
            values[node] = wide(inputs[node.name_hint])
        elif isinstance(node, relay.Constant):
            values[node] = wide(node.data.numpy())
        elif isinstance(node, relay.Tuple):
            values[node] = tuple(values[f] for f in node.fields)
        elif isinstance(node, relay.TupleGetItem):
            values[node] = values[node.tuple_value][node.index]
        elif isinstance(node, relay.Call):
            if node.op.name not in OPS:
                raise NotKnown(node.op.name)
            value = OPS[node.op.name](node, *[values[a] for a in node.args])
            if not isinstance(value, tuple):
                want = tuple(int(d) for d in node.checked_type.shape)
                assert value.shape == want, f"{node.op.name} gives {value.shape}, its type says {want}"
                dtype = str(node.checked_type.dtype)
                value = (
                    wide(value) if dtype.startswith("float") and value.dtype.kind == "f" else wide(value.astype(dtype))
                )
            values[node] = value

    relay.analysis.post_order_visit(func.body, visit)
    out = values[func.body]
    return list(out) if isinstance(out, tuple) else [out]


def wide(a: Array) -> Array:
    """Floats of any width in double precision."""
    return a.astype("float64") if a.dtype.kind == "f" else a


def ints(values) -> list[int]:
    return [int(values)] if isinstance(values, (int, tir.IntImm)) else [int(v) for v in values]


def out_shape(call) -> list[int]:
    return [int(d) for d in call.checked_type.shape]


# Operators that numpy calls by the same name.
UNARY = {
    name: getattr(np, name)
    for name in [
        "abs", "ceil", "copy", "cos", "cosh", "exp", "floor", "isfinite", "isinf", "isnan", "log", "log10", "log2",
        "logical_not", "negative", "ones_like", "round", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
        "zeros_like",
    ]
}  # fmt: skip
UNARY |= {f"a{name}": getattr(np, f"arc{name}") for name in ["cos", "cosh", "sin", "sinh", "tan", "tanh"]}
UNARY |= {"bitwise_not": np.invert, "erf": special.erf, "fast_erf": special.erf, "sigmoid": special.expit}
UNARY |= {"fast_exp": np.exp, "fast_tanh": np.tanh, "annotation.stop_fusion": np.copy}
UNARY |= {"rsqrt": lambda a: 1 / np.sqrt(a), "nn.relu": lambda a: np.maximum(a, 0)}
BINARY = {
    name: getattr(np, name)
    for name in [
        "add", "subtract", "multiply", "power", "maximum", "minimum", "equal", "not_equal", "less", "less_equal",
        "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or",
        "bitwise_xor", "left_shift", "right_shift", "floor_divide",
    ]
}  # fmt: skip
BINARY |= {"floor_mod": np.mod, "mod": np.fmod, "trunc_mod": np.fmod}
for _name, _f in UNARY.items():
    OPS[_name] = lambda call, a, f=_f: f(a)
for _name, _f in BINARY.items():
    OPS[_name] = lambda call, a, b, f=_f: f(a, b)


@op("divide", "trunc_divide")
def _divide(call, a, b):
    if a.dtype.kind == "f" and call.op.name == "divide":
        return a / b
    return np.trunc(a / b) if a.dtype.kind == "f" else (np.abs(a) // np.abs(b)) * np.sign(a) * np.sign(b)


@op("where")
def _where(call, c, a, b):
    return np.where(c, a, b)


@op("cast")
def _cast(call, a):
    return a.astype(str(call.attrs.dtype))


@op("clip")
def _clip(call, a):
    return np.minimum(np.maximum(a, call.attrs.a_min), call.attrs.a_max)


@op("nn.leaky_relu")
def _leaky(call, a):
    return np.where(a > 0, a, a * call.attrs.alpha)


def along(vector: Array, axis: int, rank: int) -> Array:
    return vector.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


@op("nn.bias_add")
def _bias(call, a, b):
    return a + along(b, int(call.attrs.axis), a.ndim)


@op("nn.prelu")
def _prelu(call, a, alpha):
    return np.where(a > 0, a, a * along(alpha, int(call.attrs.axis), a.ndim))


def fixed_point(a: Array, multiplier: Array, left: Array, right: Array) -> Array:
    """Q31 multiplication, rounding half up."""
    wide_product = (a.astype("int64") << left) * multiplier.astype("int64")
    total = 31 + right
    return ((wide_product + (np.int64(1) << (total - 1))) >> total).astype("int32")


@op("fixed_point_multiply")
def _fixed(call, a):
    shift = int(call.attrs.shift)
    return fixed_point(a, np.int64(int(call.attrs.multiplier)), max(shift, 0), max(-shift, 0))


@op("fixed_point_multiply_per_axis")
def _fixed_per_axis(call, a, y, left, right):
    def wide_vector(v):
        (axis,) = ints(call.attrs.axes)
        return along(v, axis, a.ndim).astype("int64")

    return fixed_point(a, wide_vector(y), wide_vector(left), wide_vector(right))


def reduced_axes(call, a: Array) -> tuple[int, ...]:
    axis = call.attrs.axis
    axes = set(range(a.ndim)) if axis is None else {x % a.ndim for x in ints(axis)}
    return tuple(sorted(set(range(a.ndim)) - axes if call.attrs.exclude else axes))


for _name, _f in dict(mean=np.mean, sum=np.sum, max=np.max, min=np.min, prod=np.prod, all=np.all, any=np.any).items():
    OPS[_name] = lambda call, a, f=_f: f(a, axis=reduced_axes(call, a), keepdims=bool(call.attrs.keepdims))


@op("variance")
def _variance(call, a, mean):
    axes = reduced_axes(call, a)
    total = ((a - mean) ** 2).sum(axis=axes, keepdims=bool(call.attrs.keepdims))
    count = int(np.prod([a.shape[i] for i in axes]))
    return total / (count - 1 if call.attrs.unbiased else count)


@op("argmax", "argmin")
def _arg(call, a):
    (axis,) = reduced_axes(call, a)
    f = np.argmax if call.op.name == "argmax" else np.argmin
    return f(a, axis=axis, keepdims=bool(call.attrs.keepdims)).astype("int32")


@op("nn.softmax", "nn.fast_softmax")
def _softmax(call, a):
    return special.softmax(a, axis=int(call.attrs.axis))


@op("nn.log_softmax")
def _log_softmax(call, a):
    return special.log_softmax(a, axis=int(call.attrs.axis))


@op("nn.lrn")
def _lrn(call, a):
    axis, size = int(call.attrs.axis) % a.ndim, int(call.attrs.size)
    squares = np.moveaxis(a, axis, 0) ** 2
    padded = np.pad(squares, [(size // 2, size // 2)] + [(0, 0)] * (a.ndim - 1))
    total = sum(padded[i : i + len(squares)] for i in range(size))
    return a / (call.attrs.bias + call.attrs.alpha / size * np.moveaxis(total, 0, axis)) ** call.attrs.beta


@op("cumsum")
def _cumsum(call, a):
    return np.cumsum(a, axis=int(call.attrs.axis))


@op("topk")
def _topk(call, a):
    axis, k = int(call.attrs.axis), int(call.attrs.k)
    order = np.take(np.argsort(-a, axis=axis, kind="stable"), range(k), axis=axis)
    return np.take_along_axis(a, order, axis=axis), order.astype("int32")


# --- moving elements ---


@op("concatenate")
def _concatenate(call, fields):
    return np.concatenate(fields, axis=int(call.attrs.axis))


@op("stack")
def _stack(call, fields):
    return np.stack(fields, axis=int(call.attrs.axis))


@op("split")
def _split(call, a):
    at = call.attrs.indices_or_sections
    at = int(at) if isinstance(at, (int, tir.IntImm)) else ints(at)
    return tuple(np.split(a, at, axis=int(call.attrs.axis)))


@op("transpose")
def _transpose(call, a):
    return np.transpose(a, ints(call.attrs.axes) if call.attrs.axes is not None and len(call.attrs.axes) else None)


@op("reshape", "nn.batch_flatten", "squeeze", "expand_dims", "contrib_reverse_reshape")
def _reshape(call, a):
    return a.reshape(out_shape(call))


@op("broadcast_to")
def _broadcast_to(call, a):
    return np.broadcast_to(a, out_shape(call))


@op("broadcast_to_like")
def _broadcast_to_like(call, a, like):
    return np.broadcast_to(a, like.shape)


@op("full", "zeros", "ones")
def _full(call, *fill):
    value = fill[0] if fill else {"zeros": 0, "ones": 1}[call.op.name]
    return np.full(out_shape(call), value)


@op("tile")
def _tile(call, a):
    return np.tile(a, ints(call.attrs.reps))


@op("repeat")
def _repeat(call, a):
    return np.repeat(a, int(call.attrs.repeats), axis=int(call.attrs.axis))


@op("reverse")
def _reverse(call, a):
    return np.flip(a, int(call.attrs.axis))


@op("take")
def _take(call, a, indices):
    mode = {"fast": "clip"}.get(str(call.attrs.mode), str(call.attrs.mode))
    return np.take(a, indices, axis=None if call.attrs.axis is None else int(call.attrs.axis), mode=mode)


@op("gather")
def _gather(call, a, indices):
    return np.take_along_axis(a, indices, axis=int(call.attrs.axis))


@op("one_hot")
def _one_hot(call, indices, on, off):
    axis = int(call.attrs.axis)
    places = np.arange(int(call.attrs.depth))
    hot = np.expand_dims(indices, axis if axis >= 0 else indices.ndim) == along(
        places, axis if axis >= 0 else indices.ndim, indices.ndim + 1
    )
    return np.where(hot, on, off)


@op("nn.pad")
def _pad(call, a, value):
    mode = str(call.attrs.pad_mode)
    extra = {"constant_values": value} if mode == "constant" else {}
    return np.pad(a, [tuple(ints(w)) for w in call.attrs.pad_width], mode=mode, **extra)


@op("nn.mirror_pad")
def _mirror_pad(call, a):
    mode = "symmetric" if str(call.attrs.mode) == "SYMMETRIC" else "reflect"
    return np.pad(a, [tuple(ints(w)) for w in call.attrs.pad_width], mode=mode)


@op("strided_slice")
def _strided_slice(call, a):
    begin, end = ints(call.attrs.begin), ints(call.attrs.end)
    strides = ints(call.attrs.strides) if call.attrs.strides else [1]
    strides = strides * len(begin) if len(strides) == 1 else strides
    axes = range(len(begin)) if call.attrs.axes is None else ints(call.attrs.axes)
    index = [slice(None)] * a.ndim
    for x, lo, hi, s in zip(axes, begin, end, strides, strict=True):
        if str(call.attrs.slice_mode) == "size":
            hi = None if hi < 0 else lo + hi
        index[x] = slice(lo, hi, s)
    return a[tuple(index)]


@op("nn.depth_to_space")
def _depth_to_space(call, a):
    b = int(call.attrs.block_size)
    first = str(call.attrs.layout) == "NCHW"
    a = a if first else np.moveaxis(a, 3, 1)
    n, c, h, w = a.shape
    if str(call.attrs.mode) == "DCR":
        a = a.reshape(n, b, b, c // b // b, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        a = a.reshape(n, c // b // b, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    a = a.reshape(n, c // b // b, h * b, w * b)
    return a if first else np.moveaxis(a, 1, 3)


@op("nn.space_to_depth")
def _space_to_depth(call, a):
    b = int(call.attrs.block_size)
    first = str(call.attrs.layout) == "NCHW"
    a = a if first else np.moveaxis(a, 3, 1)
    n, c, h, w = a.shape
    a = a.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)
    return a if first else np.moveaxis(a, 1, 3)


# --- windows ---


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


@op("nn.conv1d", "nn.conv2d", "nn.conv3d")
def _conv(call, a, w):
    layout, kernel_layout = str(call.attrs.data_layout), str(call.attrs.kernel_layout)
    letters = [c for c in layout if c not in "NC"]
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
    layout, kernel_layout = str(call.attrs.data_layout), str(call.attrs.kernel_layout)
    letters = [c for c in layout if c not in "NC"]
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
