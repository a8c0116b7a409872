"""Workloads of shares: of many kernels at once, since a planner asks for all cuts of all kernels of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from tvm_coexec.core.access import InputAccess, Range, count_rows
from tvm_coexec.core.kernel_graph import Kernel, SplitAxis, dtype_bytes
from tvm_coexec.core.partial_reads import CONSTANT, PartialRead

from .describe import describe, find_layout
from .workload import NUMBERS, Workload, to_numbers

_AT = {name: i for i, name in enumerate(NUMBERS)}
_SCALED = ("out_bytes", "flops", "special", "special_on_cores")


class KernelShares(NamedTuple):
    """Shares of one kernel along one axis.

    Attributes
    ----------
    kernel : Kernel
    whole : Workload
        Result of `describe`.
    axis : SplitAxis
    ranges : array of int, shape (n, 2)
        Non-empty ranges of the output; for the reduction of input channels.
    """

    kernel: Kernel
    whole: Workload
    axis: SplitAxis
    ranges: np.ndarray


def describe_shares(
    kernel: Kernel, device: str, dim: int, ranges: Sequence[Range] | np.ndarray, whole: Workload | None = None
) -> Workload:
    """Return the workload of a kernel's shares.

    Numbers that depend on the range are arrays with one element per range. The others are those of the whole kernel; of
    partial sums there are no fused operators and no special functions.

    Parameters
    ----------
    kernel : Kernel
    device : str
    dim : int
        Dimension of one of the kernel's axes, or `REDUCED`.
    ranges : sequence of (int, int)
        Non-empty output ranges. For the reduction ranges of input channels: such a share is the anchor alone, with the
        whole output; operators that are fused to it run after the join.
    whole : Workload, optional
        Result of `describe`, if known.
    """
    whole = whole or describe(kernel, device)
    shares = KernelShares(kernel, whole, kernel.axis(dim), np.asarray(ranges, int).reshape(-1, 2))
    stacked, (scaled, read) = stack_shares([shares]), _find_changed(kernel, whole.kind, shares.axis)
    changed = {"in_bytes", "out_bytes", "weight_bytes", "flops", *scaled, *([read] if read else [])}
    numbers = {name: getattr(stacked, name) for name in changed}
    if shares.axis.reduces:
        numbers |= {"ic": stacked.ic, "fused": 0, "special": 0.0, "special_on_cores": 0.0}
    return replace(whole, **numbers)


def stack_shares(many: Sequence[KernelShares]) -> Workload:
    """Return the stacked workload of shares of kernels of one class and algorithm, of one kernel after the other."""
    sizes = np.array([len(s.ranges) for s in many])
    lo, hi = np.concatenate([s.ranges for s in many]).T.astype(int, copy=False)
    fraction = (hi - lo) / np.repeat([s.axis.extent for s in many], sizes)
    changed = [_find_changed(s.kernel, s.whole.kind, s.axis) for s in many]
    is_scaled = np.array([_mark(scaled) for scaled, _ in changed]).T
    table = np.repeat(np.array([_whole_numbers(s) for s in many], float).T, sizes, axis=1)
    table *= np.where(np.repeat(is_scaled, sizes, axis=1), fraction, 1.0)
    _fill_reads(many, [read for _, read in changed], sizes, lo, hi, fraction, table)
    stacked = replace(many[0].whole, **dict(zip(NUMBERS, table, strict=True)))
    is_partial_sum = np.repeat([s.axis.reduces for s in many], sizes)
    if not is_partial_sum.any():
        return stacked
    table[_AT["ic"], is_partial_sum] = (hi - lo)[is_partial_sum]
    return replace(stacked, flops=np.where(is_partial_sum, 2.0 * stacked.macs, stacked.flops))


def _whole_numbers(shares: KernelShares) -> list[float]:
    """Return the numbers of the whole kernel that those of its shares are fractions of.

    Tables that are looked up are not in the bytes of constants.
    """
    kernel, axis, numbers = shares.kernel, shares.axis, list(to_numbers(shares.whole))
    if not axis.reduces:
        tables = [r.nbytes for r in kernel.partial_reads if r.tensor == CONSTANT]
        numbers[_AT["weight_bytes"]] = kernel.weight_bytes - sum(tables)
        return numbers
    constants = prod(kernel.attrs["weight_shape"]) * dtype_bytes(kernel.in_tensors[0].dtype) if axis.weights else 0
    for name, number in (("weight_bytes", constants), ("fused", 0), ("special", 0.0), ("special_on_cores", 0.0)):
        numbers[_AT[name]] = number
    return numbers


def _find_changed(kernel: Kernel, kind: str, axis: SplitAxis) -> tuple[tuple[str, ...], str]:
    """Return the numbers of which a share has the same fraction as of the output's rows, and that of the rows it reads.

    The latter is an extent of the input of windows, of which halos make shares larger; empty if there is none.
    """
    if axis.reduces:
        return ("weight_bytes",), ""
    scaled = (*_SCALED, "weight_bytes") if axis.weights else _SCALED
    if kind in ("dense", "batch_matmul"):
        rank = len(kernel.outputs[0].shape)
        return (*scaled, {rank - 1: "oc", rank - 2: "ow"}.get(axis.dim, "batch")), ""
    if kind in ("injective", "reduce", "other"):
        return (*scaled, "ow"), ""
    letter = find_layout(kernel)[axis.dim]
    if letter == "C":
        channels = ("oc", "ic", "groups") if kind in ("depthwise_conv", "group_conv", "pool") else ("oc",)
        return (*scaled, *channels), ""
    if letter == "N":
        return (*scaled, "batch"), ""
    return ((*scaled, "ow"), "iw") if letter == "W" else ((*scaled, "oh"), "ih")


@lru_cache(maxsize=64)
def _mark(names: tuple[str, ...]) -> tuple[bool, ...]:
    return tuple(n in names for n in NUMBERS)


def _fill_reads(
    many: Sequence[KernelShares],
    extents: Sequence[str],
    sizes: np.ndarray,
    lo: np.ndarray,
    hi: np.ndarray,
    fraction: np.ndarray,
    table: np.ndarray,
) -> None:
    """Fill in what depends on the rows of the inputs that the shares read, halo rows included."""
    ends = np.cumsum(sizes)
    accesses = [(i, need) for i, s in enumerate(many) for need in s.axis.needs if need is not None]
    of = np.array([i for i, _ in accesses], int)
    # Which share each element of `rows` is of: those of one access follow those of another.
    share = np.arange(sizes[of].sum()) + np.repeat(ends[of] - np.cumsum(sizes[of]), sizes[of])
    rows = count_rows([need for _, need in accesses], sizes[of], lo[share], hi[share])
    taken = 0
    for shares, name, start, end in zip(many, extents, (ends - sizes).tolist(), ends.tolist(), strict=True):
        kernel, axis, part = shares.kernel, shares.axis, fraction[start:end]
        read: list[np.ndarray | None] = []
        for need in axis.needs:
            read.append(None if need is None else rows[taken : taken + end - start])
            taken += 0 if need is None else end - start
        table[_AT["in_bytes"], start:end] = _count_bytes_read(kernel, axis, read, part)
        if kernel.partial_reads and not axis.reduces:
            table[_AT["weight_bytes"], start:end] += sum(
                _count_partial_bytes(r, part) for r in kernel.partial_reads if r.tensor == CONSTANT
            )
        if name:
            found = next(((n, r) for n, r in zip(axis.needs, read, strict=True) if n is not None), None)
            whole = getattr(shares.whole, name)
            table[_AT[name], start:end] = (
                whole * part if found is None else whole * found[1] / _input_extent(found[0], kernel)
            )


def _count_bytes_read(
    kernel: Kernel, axis: SplitAxis, rows: Sequence[np.ndarray | None], fraction: np.ndarray
) -> np.ndarray | float:
    if len(kernel.in_tensors) != len(axis.needs):  # fields of a tuple have no accesses of their own
        return kernel.read_bytes * fraction
    partial = {r.tensor: r for r in kernel.partial_reads}
    total: np.ndarray | float = 0.0
    for position, (tensor, need, read) in enumerate(zip(kernel.in_tensors, axis.needs, rows, strict=True)):
        if position in partial:
            accessed = _accessed_fraction(need, axis, read, fraction)
            total = total + _count_partial_bytes(partial[position], accessed)
        elif need is None or read is None:
            total = total + tensor.nbytes
        else:
            total = total + tensor.nbytes / max(1, tensor.shape[need.dim]) * read
    return total


def _accessed_fraction(
    need: InputAccess | None, axis: SplitAxis, rows: np.ndarray | None, fraction: np.ndarray
) -> np.ndarray:
    """Return which fraction of the whole kernel's accesses to a tensor the shares make, halo rows included."""
    if need is None or rows is None or len(need.paths) > 1:  # several parts of it, with rows between that nothing reads
        return fraction
    low, high = need.apply(0, axis.extent)
    return rows / max(1, high - low)


def _count_partial_bytes(read: PartialRead, fraction: np.ndarray) -> np.ndarray:
    return np.minimum(read.nbytes, read.accessed_bytes * fraction)


def _input_extent(need: InputAccess, kernel: Kernel) -> int:
    return max(1, need.paths[0][-1].extent) if need.paths and need.paths[0] else kernel.in_tensors[0].shape[need.dim]
