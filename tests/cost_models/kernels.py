"""Kernels and made-up times for tests of latency models."""

from __future__ import annotations

from itertools import product

import numpy as np

from tvm_coexec.cost_models.features.workload import Workload


def conv(ic=16, oc=32, size=28, k=3, stride=1, groups=1, algorithm="nchwc", kind=None, fused=1) -> Workload:
    """A convolution on a square map of the same size."""
    out = -(-size // stride)
    kind = kind or ("depthwise_conv" if groups == ic and groups > 1 else "group_conv" if groups > 1 else "conv")
    macs = oc * out * out * ic // groups * k * k
    return Workload(
        kind, algorithm, 1, groups, ic, oc, size, size, out, out, k, k, stride, stride,
        4 * ic * size * size, 4 * oc * out * out, 4 * oc * ic // groups * k * k, 2.0 * macs + fused, fused,
    )  # fmt: skip


def product_of(rows=16, columns=64, reduced=128, kind="dense", batch=1) -> Workload:
    """A matrix product."""
    return Workload(
        kind, "gemm", batch=batch, ic=reduced, oc=columns, ow=rows, in_bytes=4 * batch * rows * reduced,
        out_bytes=4 * batch * rows * columns, weight_bytes=4 * columns * reduced,
        flops=2.0 * batch * rows * columns * reduced,
    )  # fmt: skip


def elements(count=4096, kind="injective") -> Workload:
    """An elementwise kernel."""
    return Workload(kind, ow=count, in_bytes=4 * count, out_bytes=4 * count, flops=float(count))


def pool(channels=32, size=28, k=2) -> Workload:
    """A pooling."""
    out = size // k
    return Workload(
        "pool", "direct", 1, channels, channels, channels, size, size, out, out, k, k, k, k,
        4 * channels * size * size, 4 * channels * out * out, 0, 1.0 * channels * out * out * k * k,
    )  # fmt: skip


def many() -> list[Workload]:
    """Some hundred kernels of most classes."""
    shapes = product((8, 24, 64), (16, 40, 96), (7, 14, 28, 56), (1, 3))
    found = [conv(ic, oc, size, k) for ic, oc, size, k in shapes]
    found += [conv(c, c, s, 3, st, c) for c in (16, 48, 100) for s in (7, 14, 28, 56) for st in (1, 2)]
    found += [product_of(m, n, k) for m in (1, 8, 50) for n in (10, 64, 500) for k in (32, 300)]
    found += [product_of(m, 64, 32, "batch_matmul", 12) for m in (4, 16, 50, 64, 80, 100, 128, 200, 256)]
    found += [elements(n) for n in (10, 1000, 4096, 10**5, 10**6, 50, 700, 9000, 3 * 10**5)]
    found += [pool(c, s) for c in (8, 32, 128) for s in (14, 28, 56)]
    return found


def seconds_of(workloads: list[Workload], noise: float = 0.03, seed: int = 0) -> np.ndarray:
    """Times by a roofline with tiles of eight channels, and noise."""
    rng = np.random.default_rng(seed)
    work = np.array([w.flops / w.oc * (-(-w.oc // 8) * 8) for w in workloads])
    data = np.array([w.in_bytes + w.out_bytes + w.weight_bytes for w in workloads])
    return (5e-6 + work / 3e10 + data / 1e10) * np.exp(noise * rng.standard_normal(len(workloads)))
