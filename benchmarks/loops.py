"""Injective kernels, pooling, LRN, grouped 1x1 convolutions and products on an OpenCL device made of CPU cores.

Against TVM's GPU schedule, for convolutions and products with its fallback configuration; ``template_ns``: with this
package's.

Nanoseconds per element of the output, each kernel alone, in turns; ``cpu_ns`` is the CPU target's kernel.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np

from benchmarks import _common

_TURNS = 9


def cases() -> dict[str, Callable]:
    """Return a function that makes a Relay expression, by name."""
    from tvm import relay

    def x(*shape: int, name: str = "x") -> relay.Var:
        return relay.var(name, shape=shape)

    def scale(*shape: int) -> relay.Constant:
        return relay.const(np.random.default_rng(0).uniform(0.5, 1.5, shape).astype("float32"))

    def shuffle(channels: int, size: int) -> relay.Expr:
        parts = relay.reshape(x(1, channels, size, size), (1, 2, channels // 2, size, size))
        return relay.reshape(relay.transpose(parts, (0, 2, 1, 3, 4)), (1, channels, size, size))

    def gelu(value: relay.Expr) -> relay.Expr:
        return value * (relay.erf(value * relay.const(0.70710678)) + relay.const(1.0)) * relay.const(0.5)

    def pool(build: Callable, channels: int, size: int, window: int, stride: int) -> relay.Expr:
        return build(x(1, channels, size, size), (window,) * 2, (stride,) * 2, padding=(window // 2,) * 2)

    def point(channels: int, size: int, outputs: int, groups: int) -> relay.Expr:
        weight = scale(outputs, channels // groups, 1, 1)
        conv = relay.nn.conv2d(x(1, channels, size, size), weight, groups=groups, channels=outputs, kernel_size=(1, 1))
        return relay.nn.relu(conv + scale(outputs, 1, 1))

    def dense(rows: int, outputs: int, inputs: int) -> relay.Expr:
        return relay.nn.relu(relay.nn.dense(x(rows, inputs), scale(outputs, inputs)) + scale(outputs))

    def batched(batch: int, rows: int, columns: int, reduce: int) -> relay.Expr:
        return relay.nn.batch_matmul(x(batch, rows, reduce), x(batch, columns, reduce, name="y"))

    heads = (1, 197, 12, 64)
    return {
        "channel shuffle, 272 x 14 x 14": lambda: shuffle(272, 14),
        "channel shuffle, 112 x 56 x 56": lambda: shuffle(112, 56),
        "batch normalisation, ReLU, 256 x 56 x 56": lambda: relay.nn.relu(
            x(1, 256, 56, 56) * scale(256, 1, 1) + scale(256, 1, 1)
        ),
        "concatenation, 64 + 128 + 32 channels, 28 x 28": lambda: relay.concatenate(
            [x(1, c, 28, 28, name=f"x{c}") for c in (64, 128, 32)], 1
        ),
        "12 heads of 64 split": lambda: relay.transpose(relay.reshape(x(1, 197, 768), heads), (0, 2, 1, 3)),
        "12 heads of 64 merged": lambda: relay.reshape(relay.transpose(x(1, 12, 197, 64), (0, 2, 1, 3)), (1, 197, 768)),
        "NCHW to NHWC, 64 x 56 x 56": lambda: relay.transpose(x(1, 64, 56, 56), (0, 2, 3, 1)),
        "padding, 64 x 56 x 56": lambda: relay.nn.pad(x(1, 64, 56, 56), ((0, 0), (0, 0), (1, 1), (1, 1))),
        "upsampling by 2, 64 x 28 x 28": lambda: relay.nn.upsampling(x(1, 64, 28, 28), 2, 2),
        "bilinear resize by 2, 64 x 28 x 28": lambda: relay.image.resize2d(x(1, 64, 28, 28), (56, 56), method="linear"),
        "GELU with erf, 197 x 3072": lambda: gelu(x(1, 197, 3072) + scale(3072)),
        "SiLU, 96 x 53 x 53": lambda: (lambda v: v * relay.sigmoid(v))(x(1, 96, 53, 53)),
        "max pool 3x3 / 2, 64 x 112 x 112": lambda: pool(relay.nn.max_pool2d, 64, 112, 3, 2),
        "max pool 3x3, 192 x 28 x 28": lambda: pool(relay.nn.max_pool2d, 192, 28, 3, 1),
        "average pool 3x3, 832 x 7 x 7": lambda: pool(relay.nn.avg_pool2d, 832, 7, 3, 1),
        "LRN, 64 x 56 x 56": lambda: relay.nn.lrn(x(1, 64, 56, 56), 5, 1, 2.0, 1e-4, 0.75),
        "LRN, 192 x 55 x 55": lambda: relay.nn.lrn(x(1, 192, 55, 55), 5, 1, 2.0, 1e-4, 0.75),
        "1x1, 4 groups, 136 to 136 channels, 28 x 28": lambda: point(136, 28, 136, 4),
        "1x1, 4 groups, 272 to 272 channels, 14 x 14": lambda: point(272, 14, 272, 4),
        "1x1, 4 groups, 544 to 544 channels, 7 x 7": lambda: point(544, 7, 544, 4),
        "1x1, 3 groups, 240 to 240 channels, 28 x 28": lambda: point(240, 28, 240, 3),
        "dense, 1 row, 9216 to 4096": lambda: dense(1, 4096, 9216),
        "dense, 1 row, 1024 to 1000": lambda: dense(1, 1000, 1024),
        "dense, 16 rows, 3072 to 768": lambda: dense(16, 768, 3072),
        "dense, 45 rows, 816 to 656": lambda: dense(45, 656, 816),
        "dense, 128 rows, 768 to 3072": lambda: dense(128, 3072, 768),
        "attention scores, 12 heads, 128 x 128 x 64": lambda: batched(12, 128, 128, 64),
        "attention values, 4 heads, 256 x 96 x 256": lambda: batched(4, 256, 96, 256),
    }


def compare(make: Callable) -> dict[str, float]:
    """Build a kernel four times and time it in turns."""
    import tvm

    from tvm_coexec.opencl import schedules
    from tvm_coexec.opencl.schedules import inner_product, pointwise, postprocess

    opencl, llvm = tvm.target.Target("opencl", host="llvm"), tvm.target.Target("llvm")
    ours = _build(make, opencl, tvm.opencl())
    pointwise.uninstall()
    inner_product.uninstall()
    template = _build(make, opencl, tvm.opencl())
    schedules.uninstall()
    postprocess.uninstall()
    try:
        stock = _build(make, opencl, tvm.opencl())
    finally:
        schedules.install()
        postprocess.install()
    timed = {"ours_ns": ours, "template_ns": template, "stock_ns": stock, "cpu_ns": _build(make, llvm, tvm.cpu())}
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(_TURNS):
        for name, (run, elements) in timed.items():
            seconds[name].append(run() / elements * 1e9)
    row = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    return row | {"faster": round(row["stock_ns"] / row["ours_ns"], 2)}


def _build(make: Callable, target: object, device: object) -> tuple[Callable[[], float], int]:
    """Return a function that times a run, in seconds, and the number of elements of the output."""
    import tvm
    from tvm import relay
    from tvm.contrib import graph_executor

    body = make()
    mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))
    with tvm.transform.PassContext(opt_level=3):
        module = graph_executor.GraphModule(relay.build(mod, target)["default"](device))
    rng = np.random.default_rng(0)
    for i in range(module.get_num_inputs()):
        module.set_input(i, rng.standard_normal(module.get_input(i).shape).astype("float32"))
    timer = module.module.time_evaluator("run", device, number=3, repeat=1, min_repeat_ms=3)
    return (lambda: min(timer().results)), module.get_output(0).numpy().size


def main() -> None:
    """Time all kernels and print."""
    args = _common.parse("loops", __doc__)
    bed = _common.TestBed()
    chosen = dict(list(cases().items())[:4]) if args.quick else cases()
    rows = []
    for name, make in _common.progress(list(chosen.items())):
        rows.append({"kernel": name, **compare(make)})
    mean = statistics.geometric_mean(row["faster"] for row in rows)
    notes = [
        f"faster than TVM's GPU schedule: geometric mean {mean:.2f}, least {min(r['faster'] for r in rows):.2f}",
        "ns for each element of the output; stock: without this package's schedules and source post-processing",
    ]
    _common.finish(args, bed, rows, notes)


if __name__ == "__main__":
    main()
