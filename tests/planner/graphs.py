"""Kernel graphs made by hand, and costs that are easy to reckon with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvm_coexec.core.access import AccessMap, InputAccess, identity
from tvm_coexec.core.kernel_graph import Kernel, KernelGraph, SplitAxis, Tensor
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.cost_models import AnalyticCosts, Link, Roofline
from tvm_coexec.planner.cached_costs import CachedCosts
from tvm_coexec.planner.chain_sweep import sweep_members
from tvm_coexec.planner.chain_times import ChainTimes


def conv_kernel(index: int, inputs: tuple[int, ...], channels: int = 32, size: int = 32, flops: float = 1e8) -> Kernel:
    """A 3x3 convolution with padding 1."""
    t = Tensor((1, channels, size, size), "float32")
    rows = InputAccess(2, ((AccessMap(1, -1, 1, 1, size),),))
    axes = (
        SplitAxis("oc", 1, channels, 1, 4, tuple(None for _ in inputs), True),
        SplitAxis("h", 2, size, 1, 2, tuple(rows for _ in inputs), False),
    )
    attrs = {"n": index, "kernel_size": [3, 3], "strides": [1, 1], "groups": 1}
    kinds = (OpKind.CONV, OpKind.ELEMENTWISE)
    reads = (t,) * len(inputs)
    return Kernel(index, "nn.conv2d+nn.relu", "nn.conv2d", attrs, inputs, reads, (t,), 4096, flops, axes, kinds=kinds)


def add_kernel(index: int, inputs: tuple[int, ...], channels: int = 32, size: int = 32) -> Kernel:
    """An elementwise sum."""
    t = Tensor((1, channels, size, size), "float32")
    axes = tuple(
        SplitAxis(n, d, e, 1, 2, tuple(InputAccess(d, ((identity(e),),)) for _ in inputs), False)
        for n, d, e in (("oc", 1, channels), ("h", 2, size))
    )
    kinds = (OpKind.ELEMENTWISE,)
    return Kernel(index, "add", "add", {}, inputs, (t,) * len(inputs), (t,), 0, 32e3, axes, kinds=kinds)


def softmax_kernel(index: int, inputs: tuple[int, ...]) -> Kernel:
    """Something that can't be divided."""
    t = Tensor((1, 1000), "float32")
    why, kinds = "none of its axes can be divided", (OpKind.SOFTMAX,)
    return Kernel(index, "nn.softmax", "nn.softmax", {}, inputs, (t,), (t,), 0, 4e3, (), why, kinds)


def graph(*kernels: Kernel) -> KernelGraph:
    """A graph with one input whose last kernel is the output."""
    return KernelGraph(kernels, (("x", Tensor((1, 32, 32, 32), "float32")),), (len(kernels) - 1,))


def straight(n: int) -> KernelGraph:
    """Convolutions in a row."""
    return graph(*(conv_kernel(i, (i - 1 if i else -1,)) for i in range(n)))


def residual() -> KernelGraph:
    """Two convolutions around which the input is added, then one more."""
    return graph(
        conv_kernel(0, (-1,)), conv_kernel(1, (0,)), conv_kernel(2, (1,)), add_kernel(3, (0, 2)), conv_kernel(4, (3,))
    )


def costs(cpu_gflops: float = 10.0, gpu_gflops: float = 10.0, copy_s: float = 1e-5) -> AnalyticCosts:
    """Devices whose time is work over rate."""
    link = Link(copy_s, 1e-11)
    return AnalyticCosts(
        Roofline(cpu_gflops * 1e9, 1e12, 0.0),
        Roofline(gpu_gflops * 1e9, 1e12, 0.0),
        link,
        link,
        Link(0.0, 1e-11),
        "test costs",
    )


def chain_times(tables: CachedCosts, members: Sequence[int], axis: SplitAxis, cuts: np.ndarray) -> ChainTimes | None:
    """Times of a set of kernels as one chain; `None` where it can't carry the split."""
    _, found = sweep_members(tables, members, axis, cuts)
    return found[0] if found else None
