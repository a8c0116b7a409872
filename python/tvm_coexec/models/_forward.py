"""A small NumPy evaluator in float64 for the operators of the zoo's graphs.

The zoo sets biases and batch-norm statistics from activations, which must be the same on every machine. The float32
kernels of a fast runtime differ between processors in the last bits; float64 results, rounded to a few digits, do not.
The evaluator supports only graphs of fixed shape and opset 9, and is not used to check results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx

Arrays = list[np.ndarray]


def attributes(node: onnx.NodeProto) -> dict:
    """Return a node's attributes as Python values."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _windows(x: np.ndarray, kernel: list[int], attrs: dict, fill: float) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield ``(dy, dx, view)``: for each tap of the kernel the input values it reads, shaped like the output."""
    strides, dilations = attrs.get("strides", [1, 1]), attrs.get("dilations", [1, 1])
    top, left, bottom, right = attrs.get("pads", [0, 0, 0, 0])
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    spans = [dilation * (size - 1) for dilation, size in zip(dilations, kernel, strict=True)]
    ends = [(padded.shape[2 + i] - spans[i] - 1) // strides[i] * strides[i] + 1 for i in range(2)]
    for dy in range(kernel[0]):
        for dx in range(kernel[1]):
            y, x0 = dy * dilations[0], dx * dilations[1]
            yield dy, dx, padded[:, :, y : y + ends[0] : strides[0], x0 : x0 + ends[1] : strides[1]]


def conv2d(attrs: dict, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """Convolve one image ``(1, c, h, w)``: a matrix product per kernel tap and group."""
    groups = attrs.get("group", 1)
    out_channels, in_per_group = weight.shape[:2]
    taps = weight.reshape(groups, out_channels // groups, in_per_group, *weight.shape[2:])
    taps = np.ascontiguousarray(taps.transpose(3, 4, 0, 1, 2))  # else the products bypass the BLAS, ten times slower
    out: np.ndarray | None = None
    for dy, dx, view in _windows(x, list(weight.shape[2:]), attrs, 0.0):
        product = np.matmul(taps[dy, dx], view.reshape(groups, in_per_group, -1))
        out = product if out is None else np.add(out, product, out=out)
    assert out is not None
    out = out.reshape((1, out_channels, *view.shape[2:]))
    return out if bias is None else out + bias[:, None, None]


def max_pool(attrs: dict, x: np.ndarray) -> np.ndarray:
    views = [view for _, _, view in _windows(x, attrs["kernel_shape"], attrs, -np.inf)]
    return np.maximum.reduce(views)


def average_pool(attrs: dict, x: np.ndarray) -> np.ndarray:
    total = sum((view for _, _, view in _windows(x, attrs["kernel_shape"], attrs, 0.0)), np.zeros(()))
    if attrs.get("count_include_pad", 0):
        return total / np.prod(attrs["kernel_shape"])
    ones = np.ones((1, 1, *x.shape[2:]))
    return total / sum((view for _, _, view in _windows(ones, attrs["kernel_shape"], attrs, 0.0)), np.zeros(()))


def batch_norm(
    attrs: dict, x: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray
) -> np.ndarray:
    factor = scale / np.sqrt(var + attrs.get("epsilon", 1e-5))
    return x * factor[:, None, None] + (bias - mean * factor)[:, None, None]


def lrn(attrs: dict, x: np.ndarray) -> np.ndarray:
    size, channels = attrs["size"], x.shape[1]
    square = np.pad(x * x, ((0, 0), ((size - 1) // 2, size // 2), (0, 0), (0, 0)))
    total = sum(square[:, i : i + channels] for i in range(size))
    return x / (attrs.get("bias", 1.0) + attrs.get("alpha", 1e-4) / size * total) ** attrs.get("beta", 0.75)


def gemm(attrs: dict, a: np.ndarray, b: np.ndarray, c: np.ndarray | float = 0.0) -> np.ndarray:
    a, b = (a.T if attrs.get("transA") else a), (b.T if attrs.get("transB") else b)
    return attrs.get("alpha", 1.0) * (a @ b) + attrs.get("beta", 1.0) * c


def reshape(_attrs: dict, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return x.reshape([x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)])


def unsqueeze(attrs: dict, x: np.ndarray) -> np.ndarray:
    return np.expand_dims(x, tuple(attrs["axes"]))


def softmax(attrs: dict, x: np.ndarray) -> np.ndarray:
    flat = x.reshape(int(np.prod(x.shape[: attrs.get("axis", 1)])), -1)
    power = np.exp(flat - flat.max(axis=1, keepdims=True))
    return (power / power.sum(axis=1, keepdims=True)).reshape(x.shape)


OPERATORS: dict[str, Callable[..., np.ndarray]] = {
    "Add": lambda _attrs, *xs: xs[0] + xs[1],
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Clip": lambda attrs, x: np.clip(x, attrs["min"], attrs["max"]),
    "Concat": lambda attrs, *xs: np.concatenate(xs, axis=attrs["axis"]),
    "Conv": conv2d,
    "Dropout": lambda _attrs, x: x,
    "Gemm": gemm,
    "GlobalAveragePool": lambda _attrs, x: x.mean(axis=(2, 3), keepdims=True),
    "LRN": lrn,
    "MaxPool": max_pool,
    "Mul": lambda _attrs, *xs: xs[0] * xs[1],
    "Relu": lambda _attrs, x: np.maximum(x, 0.0),
    "Reshape": reshape,
    "Softmax": softmax,
    "Sum": lambda _attrs, *xs: sum(xs),
    "Transpose": lambda attrs, x: x.transpose(attrs["perm"]),
    "Unsqueeze": unsqueeze,
}


def evaluate(node: onnx.NodeProto, inputs: list) -> np.ndarray:
    """Evaluate one node on the values of one image; a missing optional input is None."""
    return OPERATORS[node.op_type](attributes(node), *inputs)
