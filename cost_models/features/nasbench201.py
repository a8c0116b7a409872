"""Networks of NAS-Bench-201 as graphs of kernels.

Dong and Yang (ICLR 2020, section 2): a cell has four nodes, each the sum of its edges; an edge is a 3x3 or 1x1
convolution (with normalisation and ReLU), a 3x3 average pooling, a skip connection or none. A network is a convolution
to 16 channels, three stages of equal cells with 16, 32 and 64 channels, residual blocks of stride 2 between them,
global pooling and a classifier, on images of 32 x 32.
"""

from __future__ import annotations

import re

from tvm_coexec.core.errors import CoExecError

from ..device_parameters import DeviceParameters
from .describe import kernel_class
from .graphs import GraphFeatures, make_features
from .workload import Workload

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_EDGE = re.compile(r"([a-z0-9_]+)~(\d)")


def parse_cell(arch: str) -> list[list[str]]:
    """Return the operators of a cell: for each node after the first those of the edges from earlier nodes.

    Parameters
    ----------
    arch : str
        As NAS-Bench-201 writes it: ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``.

    Raises
    ------
    CoExecError
        If it is not a cell.
    """
    nodes = []
    for i, text in enumerate(arch.split("+")):
        edges = _EDGE.findall(text)
        if [int(source) for _, source in edges] != list(range(i + 1)) or any(op not in OPERATORS for op, _ in edges):
            raise CoExecError(f"'{arch}' is not a cell of NAS-Bench-201, such as '|none~0|+|skip_connect~0|none~1|'")
        nodes.append([op for op, _ in edges])
    return nodes


def describe_nasbench201(
    arch: str,
    device: str = "cpu",
    parameters: DeviceParameters | None = None,
    cells: int = 5,
    size: int = 32,
    classes: int = 10,
) -> GraphFeatures:
    """Return the features of a network.

    Parameters
    ----------
    arch : str
        See `parse_cell`.
    device, parameters
        See `describe_graph`.
    cells : int
        Cells in each stage. All stages have the same cell, so a network with fewer tells as much about it.
    size : int
        Rows and columns of the image.
    classes : int
        Outputs of the classifier.
    """
    cell = parse_cell(arch)
    net = _Network()
    at = net.add_conv(None, 3, 16, size, 3, 1, fused=1)
    for stage, channels in enumerate((16, 32, 64)):
        if stage:
            at, size = net.add_residual_block(at, channels // 2, channels, size), -(-size // 2)
        for _ in range(cells):
            at = net.add_cell(at, cell, channels, size)
    at = net.add_pool(at, 64, size, size, size)
    net.add(at, _dense(64, classes))
    return make_features(net.workloads, net.edges, net.edge_bytes, device, parameters)


class _Network:
    """Kernels and edges so far. A value is the number of its kernel; `None` is the image, or zeros."""

    def __init__(self) -> None:
        self.workloads: list[Workload] = []
        self.edges: list[tuple[int, int]] = []
        self.edge_bytes: list[float] = []

    def add(self, source: int | list[int] | None, w: Workload) -> int:
        self.workloads.append(w)
        for s in [source] if isinstance(source, int) else source or []:
            self.edges.append((s, len(self.workloads) - 1))
            self.edge_bytes.append(float(self.workloads[s].out_bytes))
        return len(self.workloads) - 1

    def add_conv(self, at: int | None, ic: int, oc: int, size: int, k: int, stride: int, fused: int = 2) -> int:
        return self.add(at, _conv(ic, oc, size, k, stride, fused))

    def add_pool(self, at: int, channels: int, size: int, k: int, stride: int) -> int:
        out = -(-size // stride)
        macs = channels * out * out * k * k
        name = "direct.global" if k == size else "direct"
        in_bytes, out_bytes = 4 * channels * size * size, 4 * channels * out * out
        return self.add(
            at,
            Workload("pool", name, 1, channels, channels, channels, size, size, out, out, k, k, stride, stride,
                     in_bytes, out_bytes, 0, float(macs)),
        )  # fmt: skip

    def add_sum(self, sources: list[int], channels: int, size: int) -> int:
        n = channels * size * size
        return self.add(
            sources,
            Workload("injective", "direct", ow=n, in_bytes=4 * n * len(sources), out_bytes=4 * n,
                     flops=float(n * (len(sources) - 1)), fused=max(0, len(sources) - 2)),
        )  # fmt: skip

    def add_residual_block(self, at: int, ic: int, oc: int, size: int) -> int:
        half = -(-size // 2)
        body = self.add_conv(self.add_conv(at, ic, oc, size, 3, 2), oc, oc, half, 3, 1)
        shortcut = self.add_conv(self.add_pool(at, ic, size, 2, 2), ic, oc, half, 1, 1, fused=0)
        return self.add_sum([body, shortcut], oc, half)

    def add_cell(self, at: int, cell: list[list[str]], channels: int, size: int) -> int:
        """Add a cell; a node without inputs is zeros and computes nothing, and neither does what reads only it."""
        values: list[int | None] = [at]
        for edges in cell:
            parts = []
            for source, op in zip(values, edges, strict=True):
                if source is None or op == "none":
                    continue
                if op == "skip_connect":
                    parts.append(source)
                elif op == "avg_pool_3x3":
                    parts.append(self.add_pool(source, channels, size, 3, 1))
                else:
                    parts.append(self.add_conv(source, channels, channels, size, int(op[-1]), 1))
            values.append(parts[0] if len(parts) == 1 else self.add_sum(parts, channels, size) if parts else None)
        return at if values[-1] is None else values[-1]


def _conv(ic: int, oc: int, size: int, k: int, stride: int, fused: int) -> Workload:
    out = -(-size // stride)
    macs = oc * out * out * ic * k * k
    elements = oc * out * out
    return Workload(
        "conv", "direct" + kernel_class(k, k, stride), 1, 1, ic, oc, size, size, out, out, k, k, stride, stride,
        4 * ic * size * size, 4 * elements, 4 * oc * ic * k * k, 2.0 * macs + fused * elements, fused,
    )  # fmt: skip


def _dense(ic: int, oc: int) -> Workload:
    return Workload(
        "dense", "gemm", ic=ic, oc=oc, in_bytes=4 * ic, out_bytes=4 * oc, weight_bytes=4 * ic * oc, flops=2.0 * ic * oc
    )
