"""What Relay's operators mean, in numpy: element by element, reductions, and moving elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special
from tvm import tir

Array = np.ndarray


class NotKnown(Exception):
    """The evaluator does not know the operator."""


OPS: dict[str, Callable] = {}


def op(*names: str):
    def register(f: Callable) -> Callable:
        OPS.update(dict.fromkeys(names, f))
        return f

    return register


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
