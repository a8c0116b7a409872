"""Measure one model's kernels, shares and whole network on the devices of this machine, or of an RPC server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm

from tvm_coexec.core.errors import one_line
from tvm_coexec.remote import Server

from . import links
from .batches import split_into_batches, time_each
from .compile import Built, compile_for, export
from .device_worker import DeviceWorker, local_setting
from .measure_links import LinkTimes, measure_blocking_copies, measure_links
from .pieces import KernelBuilder, Piece
from .protocol import MIN_REPEAT_MS, PATIENCE_S, REPEATS, SETTLE_S, OutputsRequest, Setting, Timed, TimeRequest
from .worker import ChildError

KERNEL_S, NETWORK_S = 120, 900  # OpenCL drivers compile kernels at their first launch
NETWORK_REPEAT_MS = 100


@dataclass(frozen=True)
class Timing:
    """Options of timing.

    Attributes
    ----------
    repeats, min_repeat_ms : int
        Number of repeats, and minimum duration of each.
    patience_s : float
        Longest time to wait for a moment when the reference kernel does not drift.
    settle_s : float
        Seconds during which the shortest time of a reference kernel is searched for.
    """

    repeats: int = REPEATS
    min_repeat_ms: int = MIN_REPEAT_MS
    patience_s: float = PATIENCE_S
    settle_s: float = SETTLE_S


class KernelMeter:
    """Builds kernels in this process, and times them in a separate one, which is started when first needed.

    Parameters
    ----------
    builder : KernelBuilder
    timing : Timing
    opencl_runtime : {"own", "tvm"}
        See `local_setting`.
    server : Server, optional
        The devices' RPC server; by default this machine's devices are used.
    """

    def __init__(
        self,
        builder: KernelBuilder,
        timing: Timing = Timing(),
        opencl_runtime: str = "own",
        server: Server | None = None,
    ):
        self.builder, self.timing, self.opencl_runtime, self.server = builder, timing, opencl_runtime, server
        if server is None:
            setting = local_setting(builder.gpu, opencl_runtime)
        else:
            setting = Setting(builder.gpu.get_target_device_type(), None, server)
        self.worker = DeviceWorker(replace(setting, settle_s=timing.settle_s))
        self._folder = tempfile.TemporaryDirectory(prefix="coexec-measure-", ignore_cleanup_errors=True)
        self._numbers = iter(range(1 << 30))
        self._references: dict[str, Built] = {}

    def close(self) -> None:
        """End the process and remove the built libraries."""
        self.worker.stop()
        self._folder.cleanup()

    def time_pieces(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Timed | str]]:
        """Yield each piece with its time, or the reason why it has none.

        Noisy measurements are repeated after the others, since disturbances last for seconds.
        """
        again: list[tuple[Piece, Built, Timed]] = []
        for batch in split_into_batches(pieces):
            built: dict[Piece, Built] = {}
            for piece in batch:
                try:
                    built[piece] = self.build(piece)
                except Exception as err:  # a kernel that fails must not end the run
                    yield piece, one_line(err)
            for piece, timed in zip(built, self._time_batch(list(built.values())), strict=True):
                if isinstance(timed, ChildError):
                    yield piece, one_line(timed)
                elif timed.is_noisy:
                    again.append((piece, built[piece], timed))
                else:
                    yield piece, timed
        for noisy in split_into_batches(again):
            second = self._time_batch([built for _, built, _ in noisy])
            for (piece, _, first), timed in zip(noisy, second, strict=True):
                # if it fails now, the first time is kept
                yield piece, first if isinstance(timed, ChildError) else min(first, timed, key=lambda t: t.best_s)

    def time_network(self, device: str) -> Timed | str:
        """Time the whole network on one device; return the reason if that fails."""
        target = self.builder.gpu if device == "gpu" else self.builder.cpu
        try:
            built = self._export(compile_for(self.builder.prepared, target, self.builder.cpu), device)
            return self._time(built, NETWORK_S, NETWORK_REPEAT_MS)
        except Exception as err:  # its kernels have been measured separately
            return one_line(err)

    def time_reference(self, device: str) -> float:
        """Return the seconds of the reference kernel; raises `ChildError`."""
        return self._time(self._reference(device), KERNEL_S, self.timing.min_repeat_ms).best_s

    def measure_links(self) -> LinkTimes:
        """Measure the links between the devices; raises `ChildError`."""

        def time_kernel(built: Built) -> float:
            return self._time(built, KERNEL_S, self.timing.min_repeat_ms).best_s

        found = measure_links(self.worker, self.builder.cpu, self.builder.gpu, self._export, time_kernel)
        if self.opencl_runtime == "own":
            return found
        crossing = measure_blocking_copies(self.worker, self.builder.cpu, self.builder.gpu, self._export)
        host = tuple(c for c in found.copies if c["link"] == "host_copy")
        # the copies include all waiting
        return replace(found, copies=(*crossing, *host), round_trip_s=0.0, unified=None)

    def time(self, built: Built) -> Timed:
        """Time a kernel that `build` or `compile` made, again if it was noisy; raises `ChildError`."""
        timed = self._time(built, KERNEL_S, self.timing.min_repeat_ms)
        if not timed.is_noisy:
            return timed
        return min(timed, self._time(built, KERNEL_S, self.timing.min_repeat_ms), key=lambda t: t.best_s)

    def compile(self, mod: tvm.IRModule, device: str) -> tuple[Built, dict[str, np.ndarray]]:
        """Compile a module of one function for a device; return it with its weights. Raises TVM's errors."""
        lib = compile_for(mod, self.builder.gpu if device == "gpu" else self.builder.cpu, self.builder.cpu)
        return self._export(lib, device, is_kernel=True), {
            name: value.numpy() for name, value in lib.get_params().items()
        }

    def run(self, built: Built, values: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run a library once with given inputs and weights; return its outputs. Raises `ChildError`."""
        path = f"{self._folder.name}/values.npz"
        np.savez(path, **values)
        return self.worker.call(OutputsRequest(built, path), KERNEL_S)

    def build(self, piece: Piece) -> Built:
        """Compile a piece; raises TVM's errors."""
        _, lib = self.builder.build(piece)
        return self._export(lib, piece.device, is_kernel=True)

    def _export(self, lib: Any, device: str, is_kernel: bool = False) -> Built:
        suffix = "so" if self.server is None else "tar"  # a server links it
        return export(lib, f"{self._folder.name}/k{next(self._numbers)}.{suffix}", device, is_kernel)

    def _reference(self, device: str) -> Built:
        if device not in self._references:
            target = self.builder.gpu if device == "gpu" else self.builder.cpu
            lib = compile_for(links.reference_module(), target, self.builder.cpu)
            self._references[device] = self._export(lib, device)
        return self._references[device]

    def _time(self, built: Built, timeout_s: float, min_repeat_ms: int) -> Timed:
        return self.worker.time(self._request(built, min_repeat_ms), timeout_s)

    def _time_batch(self, built: Sequence[Built]) -> list[Timed | ChildError]:
        """Time kernels together, or, if one of them ends the process, one by one."""
        requests = [self._request(b, self.timing.min_repeat_ms) for b in built]
        return list(time_each(self.worker, requests, KERNEL_S))

    def _request(self, built: Built, min_repeat_ms: int) -> TimeRequest:
        t = self.timing
        return TimeRequest(built, t.repeats, min_repeat_ms, self._reference(built.device), t.patience_s)
