"""Meters that are quicker than the real one: with less patience, or without devices."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import tvm

from tvm_coexec.measuring.compile import Built
from tvm_coexec.measuring.kernel_meter import KernelMeter, Timing
from tvm_coexec.measuring.measure_links import LinkTimes
from tvm_coexec.measuring.pieces import KernelBuilder, Piece
from tvm_coexec.measuring.protocol import Setting, Timed
from tvm_coexec.measuring.timer import Timer, prepare_process
from tvm_coexec.measuring.timing_devices import TimingDevices
from tvm_coexec.measuring.worker import answer

COPIES = tuple(
    {"link": link, "bytes": n, "seconds": 1e-5 + n * 1e-10}
    for link in ("upload", "download", "host_copy")
    for n in (4096, 1 << 20)
)


def quick(builder: KernelBuilder) -> KernelMeter:
    """Times that need not be exact."""
    return KernelMeter(builder, Timing(repeats=2, min_repeat_ms=1, patience_s=0.0, settle_s=0.0))


def mark_deadly(built: Built) -> None:
    """Let the process of `serve_deadly` die when it loads a library."""
    Path(f"{built.path}.deadly").touch()


class DeadlyDevices(TimingDevices):
    """End the process by libraries that `mark_deadly` marked, as drivers do by some kernels."""

    def load_library(self, path: str) -> tvm.runtime.Module:
        if Path(f"{path}.deadly").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().load_library(path)


def serve_deadly(connection: Connection, setting: Setting) -> None:
    """Answer requests with `DeadlyDevices`."""
    prepare_process(setting)
    answer(connection, Timer(connection, DeadlyDevices(setting)).handle)


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
