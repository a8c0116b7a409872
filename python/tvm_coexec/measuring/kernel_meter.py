"""Times of one model's kernels, shares and whole networks on the devices of this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tvm_coexec.core.errors import one_line

from . import compile as compiling
from . import links
from .compile import Built, compile_for, export
from .device_worker import DeviceWorker, local_setting
from .measure_links import LinkTimes, measure_links
from .pieces import KernelBuilder, Piece
from .timer import MIN_REPEAT_MS, PATIENCE_S, REPEATS, SETTLE_S, Timed, TimeRequest

KERNEL_S, NETWORK_S = 120, 900  # OpenCL drivers compile kernels when they are first launched
NETWORK_REPEAT_MS = 100


@dataclass(frozen=True)
class Timing:
    """How a kernel is timed.

    Attributes
    ----------
    repeats, min_repeat_ms : int
        Repeats of every timing, and how long each lasts at least.
    patience_s : float
        How long timing goes on while the device is slower than usual.
    settle_s : float
        How long the shortest time of a reference is looked for.
    """

    repeats: int = REPEATS
    min_repeat_ms: int = MIN_REPEAT_MS
    patience_s: float = PATIENCE_S
    settle_s: float = SETTLE_S


class KernelMeter:
    """Builds kernels here, and times them in a process of its own, started when it is first needed.

    Parameters
    ----------
    builder : KernelBuilder
    timing : Timing
    """

    def __init__(self, builder: KernelBuilder, timing: Timing = Timing()):
        self.builder, self.timing = builder, timing
        self.worker = DeviceWorker(replace(local_setting(builder.gpu), settle_s=timing.settle_s))
        self._folder = tempfile.TemporaryDirectory(prefix="coexec-measure-", ignore_cleanup_errors=True)
        self._numbers = iter(range(1 << 30))
        self._references: dict[str, Built] = {}

    def close(self) -> None:
        """End the process and remove what was built."""
        self.worker.stop()
        self._folder.cleanup()

    def time_pieces(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Timed | str]]:
        """Each piece with its time, or why it has none; what was disturbed is timed again after the others.

        What disturbs a machine lasts for seconds: another time may be a better one.
        """
        again: list[tuple[Piece, Built, Timed]] = []
        for piece in pieces:
            try:
                built = self.build(piece)
                timed = self._time(built, KERNEL_S, self.timing.min_repeat_ms)
            except Exception as err:  # one bad kernel must not end the run
                yield piece, one_line(err)
                continue
            if timed.is_disturbed:
                again.append((piece, built, timed))
            else:
                yield piece, timed
        for piece, built, timed in again:
            try:
                second = self._time(built, KERNEL_S, self.timing.min_repeat_ms)
            except Exception:  # it has a time
                second = timed
            yield piece, min(timed, second, key=lambda t: t.best_s)

    def time_network(self, device: str) -> Timed | str:
        """Time of the whole network on one device alone, or why it has none."""
        target = self.builder.gpu if device == "gpu" else self.builder.cpu
        try:
            built = self._export(compile_for(self.builder.prepared, target, self.builder.cpu), device)
            return self._time(built, NETWORK_S, NETWORK_REPEAT_MS)
        except Exception as err:  # its kernels are measured one by one, too
            return one_line(err)

    def time_reference(self, device: str) -> float:
        """Seconds of the reference kernel; raises `ChildError`."""
        return self._time(self._reference(device), KERNEL_S, self.timing.min_repeat_ms).best_s

    def measure_links(self) -> LinkTimes:
        """What it takes to bring data to the other device; raises `ChildError`."""

        def time_kernel(built: Built) -> float:
            return self._time(built, KERNEL_S, self.timing.min_repeat_ms).best_s

        return measure_links(self.worker, self.builder.cpu, self.builder.gpu, self._export, time_kernel)

    def build(self, piece: Piece) -> Built:
        """Compile a piece; raises whatever TVM raises."""
        _, lib = self.builder.build(piece)
        return self._export(lib, piece.device)

    def _export(self, lib: Any, device: str) -> Built:
        return export(lib, f"{self._folder.name}/k{next(self._numbers)}.so", device)

    def _reference(self, device: str) -> Built:
        if device not in self._references:
            target = self.builder.gpu if device == "gpu" else self.builder.cpu
            lib = compile_for(links.reference_module(), target, self.builder.cpu)
            self._references[device] = self._export(lib, device)
        return self._references[device]

    def _time(self, built: compiling.Built, timeout_s: float, min_repeat_ms: int) -> Timed:
        t = self.timing
        request = TimeRequest(built, t.repeats, min_repeat_ms, self._reference(built.device), t.patience_s)
        return self.worker.time(request, timeout_s)
