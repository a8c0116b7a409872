"""Choose the kernels and shares to measure, and their order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel, KernelGraph, SplitAxis, cuts_of
from tvm_coexec.cost_models.dataset import Key
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.cost_models.features.shares import describe_shares
from tvm_coexec.cost_models.features.workload import NUMBERS, Number, Workload

from ..pieces import Piece
from .design import NAME


@dataclass(frozen=True)
class Job:
    """One measurement: a piece of a model.

    Attributes
    ----------
    model : int
        Number of the model.
    network : str
        Its name.
    kernel : Kernel
    piece : Piece
    """

    model: int
    network: str
    kernel: Kernel
    piece: Piece

    @property
    def key(self) -> Key:
        """As `Sample.key`."""
        return (self.piece.device, self.kernel.signature(), self.piece.dim, self.piece.rows)

    @property
    def workload(self) -> Workload:
        """Its workload, with scalar numbers."""
        if self.piece.rows is None:
            return describe(self.kernel, self.piece.device)
        shares = describe_shares(self.kernel, self.piece.device, self.piece.dim, [self.piece.rows])
        numbers: dict[str, Number] = {n: _to_number(getattr(shares, n)) for n in NUMBERS}
        return replace(shares, **numbers)


def _to_number(number: Number) -> float | int:
    value = float(f"{float(np.ravel(number)[0]):.12g}")  # a part times an extent is inexact
    return int(value) if value.is_integer() else value


def choose_jobs(graphs: list[tuple[str, KernelGraph]], cuts: int, seed: int = 0) -> list[Job]:
    """Choose the measurements of models; each distinct kernel is measured once.

    Whole kernels of the models come first, then designed kernels and shares, both in random order: so a run that is
    stopped early has samples of all kinds, and drift of the machine affects all kinds equally. Compute-intensive
    kernels are split along each axis, other kernels and designed ones along one axis with one cut.

    Parameters
    ----------
    graphs : list of (str, KernelGraph)
        Name and kernels of each model.
    cuts : int
        Shares per axis and device of a compute-intensive kernel; the cuts differ between kernels.
    seed : int

    Returns
    -------
    list of Job
    """
    first: list[Job] = []
    rest: list[Job] = []
    seen: set[str] = set()
    for model, (network, graph) in enumerate(graphs):
        for kernel in graph.kernels:
            if kernel.signature() in seen or kernel.is_free:
                continue
            seen.add(kernel.signature())
            whole = [Job(model, network, kernel, Piece(d, kernel.index)) for d in kernel.devices]
            (rest if network == NAME else first).extend(whole)
            rest += [Job(model, network, kernel, p) for p in _choose_shares(kernel, cuts, network == NAME)]
    order = np.random.default_rng(seed)
    return [jobs[i] for jobs in (first, rest) for i in order.permutation(len(jobs))]


def _choose_shares(kernel: Kernel, cuts: int, once: bool) -> Iterator[Piece]:
    if not cuts or not kernel.axes:
        return
    digest = hashlib.sha256(kernel.signature().encode()).digest()
    if kernel.is_heavy and not once:
        axes, number = kernel.axes, cuts
    else:
        axes, number = (kernel.axes[digest[0] % len(kernel.axes)],), 1
    for n, axis in enumerate(axes):
        for cut in _spread_cuts(axis, number, digest[1 + n] / 256):
            yield Piece("gpu", kernel.index, axis.dim, (0, cut))
            yield Piece("cpu", kernel.index, axis.dim, (cut, axis.extent))


def _spread_cuts(axis: SplitAxis, number: int, offset: float) -> list[int]:
    """Choose one cut from each of `number` equal parts of the axis."""
    possible = cuts_of(axis)
    if not possible:
        return []
    picked = {possible[int((i + offset) / number * len(possible))] for i in range(number)}
    return sorted(picked)
