"""The profile with what was measured: tuned kernels cost that, and their other shares what adapted records promise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tvm import autotvm
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import DEVICES, Kernel, round_cut
from tvm_coexec.cost_models import Costs, KernelTime, TunedCosts
from tvm_coexec.cost_models.measured import WHOLE
from tvm_coexec.measuring.pieces import KernelBuilder, Piece
from tvm_coexec.opencl.schedules.workloads import Workload
from tvm_coexec.tuning.adapt import adapted_candidates
from tvm_coexec.tuning.operators import describe_operator, unpack
from tvm_coexec.tuning.parts import Part
from tvm_coexec.tuning.records import Records
from tvm_coexec.tuning.tuners import autotvm_workloads

EXPECTED_AT = 0.5  # the GPU's fraction of the shares whose seconds are expected along each axis


@dataclass(frozen=True)
class PartTime:
    """A part that was timed with its record.

    Attributes
    ----------
    part : Part
    seconds : float
        Of the fused kernel.
    record_s : float
        Of its record, which is of the anchor operator alone.
    """

    part: Part
    seconds: float
    record_s: float


def refine_profile(base: Costs, measured: Iterable[KernelTime], expected: Iterable[KernelTime] = ()) -> TunedCosts:
    """Refine a profile with what was measured.

    Parameters
    ----------
    base : Costs
        The costs of untuned kernels.
    measured : iterable of KernelTime
        Tuned kernels and shares with their records in force.
    expected : iterable of KernelTime
        Others that these records serve. What was measured wins.

    Returns
    -------
    TunedCosts
    """
    if isinstance(base, TunedCosts):
        expected = (*base.kernels, *expected)
        base = base.base
    found = {k.key: k for k in (*expected, *measured)}
    return TunedCosts(base, (found[key] for key in sorted(found)))


class Expectations:
    """What shares without a time of their own are expected to take, from the records of their kernel.

    Parameters
    ----------
    builder : KernelBuilder
    """

    def __init__(self, builder: KernelBuilder):
        self.builder = builder
        self._workloads: dict[Piece, list[Workload]] = {}
        self._promised: dict[tuple, float | None] = {}

    def expect(self, timed: Iterable[PartTime], records: Records) -> list[KernelTime]:
        """Return the seconds of each tuned kernel undivided, and halved along each axis.

        A share takes what its adapted record promises, times what the fused kernel took over its own record.

        Parameters
        ----------
        timed : iterable of PartTime
        records : Records
        """
        by_kernel: dict[tuple[str, str], list[PartTime]] = {}
        for t in timed:
            kernel = self.builder.graph.kernels[t.part.kernels[0]]
            by_kernel.setdefault((t.part.device, kernel.signature()), []).append(t)
        found = []
        for (device, signature), several in by_kernel.items():
            kernel = self.builder.graph.kernels[several[0].part.kernels[0]]
            largest = max(several, key=lambda t: t.record_s)
            scale = largest.seconds / largest.record_s
            for dim, rows, piece in _pieces(device, kernel):
                if (promised := self._promise(piece, records)) is not None:
                    found.append(KernelTime(device, signature, promised * scale, dim, rows))
        return found

    def _promise(self, piece: Piece, records: Records) -> float | None:
        target = self.builder.gpu if piece.device == "gpu" else self.builder.cpu
        if piece not in self._workloads:
            try:
                self._workloads[piece] = autotvm_workloads(self.builder.unaltered(piece), target)
            except CoExecError:
                self._workloads[piece] = []
        best = [self._promise_of(w, target, records) for w in self._workloads[piece]]
        return min((s for s in best if s is not None), default=None)

    def _promise_of(self, workload: Workload, target: Target, records: Records) -> float | None:
        operator = describe_operator(unpack(workload)[0])
        if operator is None:
            return None
        own = tuple(records.of_family(operator.family, target))
        key = (workload, str(target), tuple(autotvm.record.encode(*p) for p in own))
        if key not in self._promised:
            found = adapted_candidates(workload, target, Records(own)) if own else []
            self._promised[key] = found[0].expected_s if found else None
        return self._promised[key]


def _pieces(device: str, kernel: Kernel) -> Iterable[tuple[int, int, Piece]]:
    """The kernel undivided, and halved along each axis: dimension and rows as of `KernelTime`, and the piece."""
    yield WHOLE, 0, Piece(device, kernel.index)
    for axis in kernel.axes if len(kernel.devices) == len(DEVICES) else ():
        cut = round_cut(axis, EXPECTED_AT)
        if 0 < cut < axis.extent and cut % axis.granule == 0:
            rows = (0, cut) if device == "gpu" else (cut, axis.extent)
            yield axis.dim, rows[1] - rows[0], Piece(device, kernel.index, axis.dim, rows)


def time_of(part: Part, signature: str, seconds: float) -> KernelTime:
    """Return the time of a part as a `KernelTime`."""
    if part.rows is None:
        return KernelTime(part.device, signature, seconds)
    return KernelTime(part.device, signature, seconds, part.dim, part.rows[1] - part.rows[0])
