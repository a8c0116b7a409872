"""Meters that are quicker than the real one: with less patience, or without devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tvm_coexec.measuring.kernel_meter import KernelMeter, Timing
from tvm_coexec.measuring.measure_links import LinkTimes
from tvm_coexec.measuring.pieces import KernelBuilder, Piece
from tvm_coexec.measuring.protocol import Timed

COPIES = tuple(
    {"link": link, "bytes": n, "seconds": 1e-5 + n * 1e-10}
    for link in ("upload", "download", "host_copy")
    for n in (4096, 1 << 20)
)


def quick(builder: KernelBuilder) -> KernelMeter:
    """Times that need not be exact."""
    return KernelMeter(builder, Timing(repeats=2, min_repeat_ms=1, patience_s=0.0, settle_s=0.0))


class MadeUp(KernelMeter):
    """A meter without devices: whole kernels take a second, shares a tenth of one."""

    loads = 0.0
    reference_s = 1e-3

    def __init__(self, builder: KernelBuilder):
        super().__init__(builder)
        self.worker.timed_s, self.worker.others_s = 1.0, self.loads

    def time_pieces(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Timed | str]]:
        for piece in pieces:
            yield piece, Timed((1.0 if piece.rows is None else 0.1,), 1.0, 0.0, 0.0)

    def time_network(self, device: str) -> Timed | str:
        return Timed((10.0,), 1.0, 0.0, 0.0)

    def time_reference(self, device: str) -> float:
        return self.reference_s

    def measure_links(self) -> LinkTimes:
        return LinkTimes(COPIES, 5e-5, {"memory": "shared", "seconds": 3e-5, "start_s": 1e-5}, 1e-5)
