"""Workloads: the class, algorithm and extents of a kernel, as latency models see it.

A `Workload` is one kernel, or one device's share of it. If its numbers are arrays, it is many kernels of one class and
algorithm, such as all shares of a kernel, and formulas are evaluated for all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any

import numpy as np

from tvm_coexec.core.errors import CoExecError

Number = Any  # int, float or an array of them

KINDS = (
    *("conv", "depthwise_conv", "group_conv", "transposed_conv"),
    *("dense", "batch_matmul", "pool", "reduce", "injective", "other"),
)
# Parts of an algorithm's name for kernels whose base algorithm has coefficients that resemble theirs: rank, integers or
# half precision, reductions over other than the last axes, scans, indices of extremes, logarithms, whole maps, lookups
# and slices, interpolation, reshapes with transpositions, grouped convolutions of single points.
# `TUNED` is a kernel with a tuning record: the schedule is another one.
TUNED = "tuned"
VARIANTS = frozenset(
    ("1d", "3d", "int", "half", "outer", "scan", "arg", "log", "global", "part", "resize", "shuffle", "point", TUNED)
)
NUMBERS = (
    *("batch", "groups", "ic", "oc", "ih", "iw", "oh", "ow", "kh", "kw", "sh", "sw"),
    *("in_bytes", "out_bytes", "weight_bytes", "flops", "fused", "special", "special_on_cores"),
)


@dataclass(frozen=True)
class Workload:
    """A kernel or share.

    Attributes
    ----------
    kind : str
        Class of the kernel, one of `KINDS`.
    algorithm : str
        Implementation that TVM chooses on the device: ``direct``, ``nchwc``, ``winograd``, ``gemm``... with `VARIANTS`
        after dots.
    batch, groups : int
    ic, oc : int
        Input and output channels of all groups. For matrix products: the reduced extent, and the columns.
    ih, iw, oh, ow : int
        Rows and columns of input and output; a depth multiplies the rows. For matrix products `ow` is the rows.
    kh, kw, sh, sw : int
        Kernel (or pooling window) and stride.
    in_bytes, out_bytes, weight_bytes : int
        Bytes that are read and written: of a table that is looked up those of the rows.
    flops : float
        Of all fused operators; a multiply-add counts as two.
    fused : int
        Number of operators fused to the anchor.
    special : float
        FLOP equivalents of special functions on the device (see `special_functions`), in addition to `flops`.
    special_on_cores : float
        The same, for a GPU that is made of CPU cores; 0 for the CPU.
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
    special: Number = 0.0
    special_on_cores: Number = 0.0

    @property
    def key(self) -> str:
        """Class and algorithm, for which models have coefficients."""
        return f"{self.kind}/{self.algorithm}"

    @property
    def base_key(self) -> str:
        """Class without variants (see `VARIANTS`): what stands for a class that was not measured."""
        return f"{self.kind}/{'.'.join(a for a in self.algorithm.split('.') if a not in VARIANTS)}"

    @property
    def is_tuned(self) -> bool:
        """Whether a tuning record serves the kernel."""
        return TUNED in self.algorithm.split(".")

    @property
    def untuned_key(self) -> str:
        """Class of the same kernel without a tuning record."""
        return f"{self.kind}/{'.'.join(a for a in self.algorithm.split('.') if a != TUNED)}"

    @property
    def macs(self) -> Number:
        """Multiply-adds of the anchor operator (for a pooling comparisons or additions)."""
        spread = self.ih * self.iw if self.kind == "transposed_conv" else self.oh * self.ow
        return self.batch * self.oc * (self.ic / self.groups) * self.kh * self.kw * spread

    @property
    def traffic_bytes(self) -> Number:
        """Bytes that the kernel has to read and write, each once."""
        return self.in_bytes + self.out_bytes + self.weight_bytes

    @property
    def size(self) -> int:
        """Number of kernels."""
        return max((v.size for v in vars(self).values() if isinstance(v, np.ndarray)), default=1)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values of the fields that differ from their defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @staticmethod
    def from_json(d: dict[str, Any]) -> Workload:
        """Read the values of `to_json`.

        Raises
        ------
        CoExecError
            If a field is unknown or not a number.
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


to_numbers = attrgetter(*NUMBERS)


def group_by_class(workloads: Workloads) -> tuple[list[tuple[Workload, np.ndarray]], int]:
    """Stack workloads by class and algorithm; return each stack with its positions, and the number of kernels."""
    if isinstance(workloads, Workload):
        return [(stack([workloads]), np.arange(workloads.size))], workloads.size
    by_key: dict[tuple[str, str], list[int]] = {}
    for i, w in enumerate(workloads):
        by_key.setdefault((w.kind, w.algorithm), []).append(i)
    members = {key: [workloads[i] for i in rows] for key, rows in by_key.items()}
    stacked = {key: stack(ws) for key, ws in members.items()}
    if all(w.size == len(by_key[key]) for key, w in stacked.items()):  # each is one kernel
        return [(stacked[key], np.array(rows)) for key, rows in by_key.items()], len(workloads)
    starts = np.cumsum([0, *(w.size for w in workloads)])
    groups = []
    for key, rows in by_key.items():
        where = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in rows])
        groups.append((stacked[key], where))
    return groups, int(starts[-1])


def stack(workloads: Sequence[Workload]) -> Workload:
    """Stack workloads of one class and algorithm to one whose numbers are arrays."""
    first = workloads[0]
    numbers: dict[str, Number]
    if len(workloads) == 1:
        size = first.size
        numbers = {n: np.broadcast_to(np.asarray(getattr(first, n), float), (size,)) for n in NUMBERS}
        return replace(first, **numbers)
    try:
        table = np.array(list(map(to_numbers, workloads)), float)
    except ValueError:  # arrays of different lengths
        table = np.empty(0)
    if table.ndim == 2:
        numbers = dict(zip(NUMBERS, np.ascontiguousarray(table.T), strict=True))
        return replace(first, **numbers)
    sizes = [w.size for w in workloads]
    numbers = {}
    for n in NUMBERS:
        values = [getattr(w, n) for w in workloads]
        if any(isinstance(v, np.ndarray) for v in values):
            columns = zip(values, sizes, strict=True)
            numbers[n] = np.concatenate([v if isinstance(v, np.ndarray) else np.full(s, float(v)) for v, s in columns])
        else:
            numbers[n] = np.repeat(np.array(values, float), sizes)
    return replace(first, **numbers)


def take(workload: Workload, rows: Iterable[int] | np.ndarray) -> Workload:
    """Select some kernels of a stacked workload."""
    return replace(workload, **{n: getattr(workload, n)[rows] for n in NUMBERS})
