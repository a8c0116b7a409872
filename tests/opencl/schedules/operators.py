"""Single operators as Relay modules, run on the OpenCL device and by the LLVM target for comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm
from tvm import relay
from tvm.contrib import graph_executor

OPENCL = tvm.target.Target("opencl", host="llvm")


def conv2d(
    data: Sequence[int], channels: int, kernel: Sequence[int], stride=1, padding=0, dilation=1, groups=1
) -> tvm.IRModule:
    """Convolution and ReLU, so that an epilogue is fused."""
    x, w = relay.var("x", shape=data), relay.var("w", shape=(channels, data[1] // groups, *kernel))
    y = relay.nn.conv2d(
        x,
        w,
        strides=_pair(stride),
        padding=padding,
        dilation=_pair(dilation),
        groups=groups,
        channels=channels,
        kernel_size=kernel,
    )
    return _module(relay.nn.relu(y))


def conv2d_transpose(
    data: Sequence[int], channels: int, kernel: Sequence[int], stride=1, padding=0, output_padding=0, groups=1
) -> tvm.IRModule:
    """Transposed convolution and ReLU."""
    x, w = relay.var("x", shape=data), relay.var("w", shape=(data[1], channels // groups, *kernel))
    y = relay.nn.conv2d_transpose(
        x,
        w,
        strides=_pair(stride),
        padding=padding,
        output_padding=_pair(output_padding),
        groups=groups,
        channels=channels,
        kernel_size=kernel,
    )
    return _module(relay.nn.relu(y))


def conv1d(
    data: Sequence[int], channels: int, kernel: int, stride=1, padding=0, dilation=1, groups=1, layout="NCW"
) -> tvm.IRModule:
    """One-dimensional convolution and ReLU; `data` in the given layout."""
    inputs = data[1] if layout == "NCW" else data[2]
    shape = (channels, inputs // groups, kernel) if layout == "NCW" else (kernel, inputs // groups, channels)
    x, w = relay.var("x", shape=data), relay.var("w", shape=shape)
    y = relay.nn.conv1d(
        x,
        w,
        strides=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        channels=channels,
        kernel_size=(kernel,),
        data_layout=layout,
        kernel_layout="OIW" if layout == "NCW" else "WIO",
    )
    return _module(relay.nn.relu(y))


def conv3d(data: Sequence[int], channels: int, kernel: Sequence[int], stride=1, padding=0, groups=1) -> tvm.IRModule:
    """Three-dimensional convolution and ReLU."""
    x, w = relay.var("x", shape=data), relay.var("w", shape=(channels, data[1] // groups, *kernel))
    y = relay.nn.conv3d(
        x, w, strides=(stride,) * 3, padding=padding, groups=groups, channels=channels, kernel_size=kernel
    )
    return _module(relay.nn.relu(y))


def dense(rows: int, outputs: int, reduce: int) -> tvm.IRModule:
    """Dense layer, bias and ReLU."""
    x, w, b = (relay.var(n, shape=s) for n, s in (("x", (rows, reduce)), ("w", (outputs, reduce)), ("b", (outputs,))))
    return _module(relay.nn.relu(relay.nn.bias_add(relay.nn.dense(x, w), b)))


def matmul(rows: int, outputs: int, reduce: int) -> tvm.IRModule:
    """Matrix product with neither operand transposed."""
    x, w = relay.var("x", shape=(rows, reduce)), relay.var("w", shape=(reduce, outputs))
    return _module(relay.nn.matmul(x, w))


def batch_matmul(batch: int, rows: int, columns: int, reduce: int, transpose_a=False, transpose_b=True) -> tvm.IRModule:
    """Batched matrix product and a multiplication, as in attention."""
    x = relay.var("x", shape=(batch, reduce, rows) if transpose_a else (batch, rows, reduce))
    w = relay.var("w", shape=(batch, columns, reduce) if transpose_b else (batch, reduce, columns))
    y = relay.nn.batch_matmul(x, w, transpose_a=transpose_a, transpose_b=transpose_b)
    return _module(y * relay.const(0.125))


def error_on_opencl(mod: tvm.IRModule, target: tvm.target.Target = OPENCL) -> float:
    """Largest difference between the OpenCL device and LLVM, over the largest value."""
    rng = np.random.default_rng(0)
    shapes = {p.name_hint: [int(e) for e in p.checked_type.shape] for p in mod["main"].params}
    inputs = {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    want = _run(mod, tvm.target.Target("llvm"), tvm.cpu(), inputs)
    got = _run(mod, target, tvm.opencl(), inputs)
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))


def _run(mod: tvm.IRModule, target: tvm.target.Target, device, inputs: dict[str, np.ndarray]) -> np.ndarray:
    with tvm.transform.PassContext(opt_level=3):
        module = graph_executor.GraphModule(relay.build(mod, target=target)["default"](device))
    module.set_input(**inputs)
    module.run()
    return module.get_output(0).numpy()


def _module(body: relay.Expr) -> tvm.IRModule:
    mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))
    return relay.transform.InferType()(mod)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
