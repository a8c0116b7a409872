"""What the shares of a chain read: parts of values from outside, and slices of the chain's own."""

from __future__ import annotations

from tvm_coexec.core.access import InputAccess, Range
from tvm_coexec.core.chains import Shares
from tvm_coexec.core.kernel_graph import KernelGraph, Tensor
from tvm_coexec.core.plan import Segment


def inner_slices(graph: KernelGraph, segment: Segment, shares: Shares) -> tuple[list[float], list[float]]:
    """Bytes of the parts that shares take out of values of their own chain: on the GPU, and on the CPU.

    A halo that one reader needs another one does not; and of a value that leaves each device gives its part alone.
    """
    found: tuple[list[float], list[float]] = ([], [])
    for reader in segment.kernels:
        axis = graph.kernels[reader].axis(shares.dims[reader])
        for value, need in zip(graph.kernels[reader].inputs, axis.needs, strict=True):
            if value in shares.gpu and need is not None and need.paths:
                for taken, ranges in zip(found, (shares.gpu, shares.cpu), strict=True):
                    _take(graph, shares, value, need.apply(*ranges[reader]), ranges[value], taken)
    for value, cut in shares.cuts.items():
        axis = graph.kernels[value].axis(shares.dims[value])
        if not axis.reduces:
            _take(graph, shares, value, (0, cut), shares.gpu[value], found[0])
            _take(graph, shares, value, (cut, axis.extent), shares.cpu[value], found[1])
    return found


def _take(graph: KernelGraph, shares: Shares, value: int, part: Range, of: Range, taken: list[float]) -> None:
    if part[0] < part[1] and part != of:
        tensor = graph.tensor(value)
        taken.append(tensor.nbytes * (part[1] - part[0]) / tensor.shape[shares.dims[value]])


def outer_needs(graph: KernelGraph, segment: Segment, shares: Shares) -> dict[int, dict[str, float]]:
    """Fraction of each value from outside a chain that each device's share reads."""
    inside = set(segment.kernels)
    needs: dict[int, dict[str, float]] = {}
    for k in segment.kernels:
        kernel = graph.kernels[k]
        axis = kernel.axis(shares.dims[k])
        for value, need in zip(kernel.inputs, axis.needs, strict=True):
            if value in inside:
                continue
            for device, ranges in (("gpu", shares.gpu), ("cpu", shares.cpu)):
                part = _fraction(graph.tensor(value), need, ranges[k])
                entry = needs.setdefault(value, {})
                entry[device] = max(entry.get(device, 0.0), part)
    return needs


def read_after_join(graph: KernelGraph, segment: Segment, shares: Shares) -> list[int]:
    """Values that the CPU reads once the parts of a chain are added up."""
    last = graph.kernels[segment.kernels[-1]]
    axis = last.axis(shares.dims[last.index])
    return [v for v, need in zip(last.inputs, axis.needs, strict=True) if need is not None and need.after_join]


def _fraction(tensor: Tensor, need: InputAccess | None, r: Range) -> float:
    if r[0] >= r[1]:
        return 0.0
    if need is None:
        return 1.0
    lo, hi = need.apply(*r)
    return (hi - lo) / tensor.shape[need.dim]
