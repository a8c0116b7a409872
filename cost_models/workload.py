"""What a latency model sees of a kernel: its class, the algorithm that computes it, and its extents.

A `Workload` is one kernel, or one device's share of it. Its numbers may also be arrays: then it is many kernels of one
class and algorithm at once, such as all cuts of a kernel, and every formula on it is evaluated for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from tvm_coexec.errors import CoExecError

Number = Any  # int, float or an array of them

KINDS = (
    *("conv", "depthwise_conv", "group_conv", "transposed_conv"),
    *("dense", "batch_matmul", "pool", "reduce", "injective", "other"),
)
NUMBERS = (
    *("batch", "groups", "ic", "oc", "ih", "iw", "oh", "ow", "kh", "kw", "sh", "sw"),
    *("in_bytes", "out_bytes", "weight_bytes", "flops", "fused"),
)


@dataclass(frozen=True)
class Workload:
    """One kernel or share in numbers.

    Attributes
    ----------
    kind : str
        Class of the kernel, one of `KINDS`.
    algorithm : str
        Which implementation TVM chose on the device: ``direct``, ``nchwc``, ``winograd``, ``gemm``...
    batch, groups : int
    ic, oc : int
        Input and output channels, all groups together. Of a matrix product: the reduced extent, and the columns.
    ih, iw, oh, ow : int
        Rows and columns of input and output; a depth multiplies the rows. Of a matrix product: 1, and the rows.
    kh, kw, sh, sw : int
        Kernel (or pooling window) and stride.
    in_bytes, out_bytes, weight_bytes : int
    flops : float
        Of all fused operators, one multiply-add counted as two.
    fused : int
        Operators fused to the anchor.
    """

    kind: str
    algorithm: str = "direct"
    batch: Number = 1
    groups: Number = 1
    ic: Number = 1
    oc: Number = 1
    ih: Number = 1
    iw: Number = 1
    oh: Number = 1
    ow: Number = 1
    kh: Number = 1
    kw: Number = 1
    sh: Number = 1
    sw: Number = 1
    in_bytes: Number = 0
    out_bytes: Number = 0
    weight_bytes: Number = 0
    flops: Number = 0.0
    fused: Number = 0

    @property
    def key(self) -> str:
        """Class and algorithm: what a model has coefficients for."""
        return f"{self.kind}/{self.algorithm}"

    @property
    def macs(self) -> Number:
        """Multiply-adds of the anchor operator (comparisons or additions of a pooling)."""
        spread = self.ih * self.iw if self.kind == "transposed_conv" else self.oh * self.ow
        return self.batch * self.oc * (self.ic / self.groups) * self.kh * self.kw * spread

    @property
    def size(self) -> int:
        """How many kernels the numbers stand for."""
        return max(np.size(getattr(self, name)) for name in NUMBERS)

    def to_json(self) -> dict[str, Any]:
        """Plain values, those that differ from the defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @staticmethod
    def from_json(d: dict[str, Any]) -> Workload:
        """What `to_json` made.

        Raises
        ------
        CoExecError
            When a field is unknown or not a number.
        """
        try:
            made = Workload(**d)
            for name in NUMBERS:
                float(getattr(made, name))
        except (TypeError, ValueError) as err:
            raise CoExecError(f"not a workload: {err}") from None
        if made.kind not in KINDS:
            raise CoExecError(f"unknown kernel class '{made.kind}'; there are: {', '.join(KINDS)}")
        return made


Workloads = Workload | Sequence[Workload]


def groups_of(workloads: Workloads) -> tuple[list[tuple[Workload, np.ndarray]], int]:
    """Workloads stacked by class and algorithm, each with the positions it came from, and how many there are."""
    if isinstance(workloads, Workload):
        return [(stack([workloads]), np.arange(workloads.size))], workloads.size
    by_key: dict[tuple[str, str], list[int]] = {}
    starts, total = [], 0
    for i, w in enumerate(workloads):
        by_key.setdefault((w.kind, w.algorithm), []).append(i)
        starts.append(total)
        total += w.size
    groups = []
    for members in by_key.values():
        where = np.concatenate([np.arange(starts[i], starts[i] + workloads[i].size) for i in members])
        groups.append((stack([workloads[i] for i in members]), where))
    return groups, total


def stack(workloads: Sequence[Workload]) -> Workload:
    """Many workloads of one class and algorithm as one whose numbers are arrays."""
    first = workloads[0]
    if len(workloads) == 1:
        size = first.size
        numbers = {n: np.broadcast_to(np.asarray(getattr(first, n), float), (size,)) for n in NUMBERS}
        return replace(first, **numbers)
    if all(w.size == 1 for w in workloads):
        table = np.array([[getattr(w, n) for n in NUMBERS] for w in workloads], float)
        return replace(first, **dict(zip(NUMBERS, table.reshape(len(workloads), -1).T, strict=True)))
    parts = [stack([w]) for w in workloads]
    return replace(first, **{n: np.concatenate([getattr(p, n) for p in parts]) for n in NUMBERS})


def take(workload: Workload, rows: Iterable[int] | np.ndarray) -> Workload:
    """Some of the kernels that a stacked workload stands for."""
    return replace(workload, **{n: getattr(workload, n)[rows] for n in NUMBERS})
