"""A run of collecting: its options, its processes, and the requests to them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from tvm_coexec import testbed
from tvm_coexec.cost_models.profile import Profile
from tvm_coexec.remote import Server, count_free

from .. import compile as compiling
from .. import protocol
from ..device_worker import DeviceWorker
from ..pieces import KernelBuilder, Piece
from ..worker import Child, ChildError, wait_for_answers
from .boards import Board, Boards

TIME_S = 60


@dataclass(frozen=True)
class Options:
    """Options of collecting.

    Attributes
    ----------
    cpu, gpu : str
        Targets.
    cuts : int
        Shares per axis and device of a compute-intensive kernel.
    repeats, min_repeat_ms : int
        Number of repeats, and minimum duration of each.
    patience_s : float
        Longest time to wait for a moment when the reference kernel does not drift.
    settle_s : float
        Seconds during which the shortest time of a reference kernel is searched for.
    budget_s : float or None
        Seconds after which no new kernel is started.
    networks, contention : bool
        Also time whole networks, and kernels while the other device is busy.
    processes : int
        Number of compiling processes; 0 for one per core.
    compile_timeout_s : float
        A longer compilation is recorded as an error.
    bed : TestBed or None
        See `tvm_coexec.testbed`.
    server : Server or None
        RPC server of the devices; `None` for this machine's.
    retry, noisy : bool
        Measure samples again that failed, or that are noisy.
    boards : int
        Number of servers of a tracker's key to measure on in parallel; 0 for all that are free at the start.
    energy : int
        Number of kernels of each device with which to measure energy; 0 to measure none.
    energy_s : float or None
        Shortest duration of a reading of energy; by default what the gauge needs.
    gauge_root : str
        Folder of ``sys`` with the gauge of energy.
    few : int
        Number of kernels to measure on each device, chosen by `few.choose_few`; 0 for all.
    profiles : tuple of Profile
        Of other devices, by which the few are chosen.
    """

    cpu: str = "llvm"
    gpu: str = "opencl"
    cuts: int = 2
    repeats: int = protocol.REPEATS
    min_repeat_ms: int = protocol.MIN_REPEAT_MS
    patience_s: float = protocol.PATIENCE_S
    settle_s: float = protocol.SETTLE_S
    budget_s: float | None = None
    networks: bool = True
    contention: bool = True
    processes: int = 0
    compile_timeout_s: float = 120.0
    bed: testbed.TestBed | None = None
    server: Server | None = None
    retry: bool = False
    noisy: bool = False
    boards: int = 0
    energy: int = 0
    energy_s: float | None = None
    gauge_root: str = "/"
    few: int = 0
    profiles: tuple[Profile, ...] = ()


@dataclass
class Summary:
    """Result of a collection.

    Attributes
    ----------
    measured, found, left : int
        Numbers of samples measured in this run, in the file before, and still missing.
    failed : list of str
        Kernels that could not be measured, with the reason.
    load : float
        Number of cores that other processes used while kernels were timed.
    seconds : float
        Duration of the run.
    boards : list of Board
        RPC servers that were used.
    left_out : list of (str, str)
        Those that failed, with the reason.
    energy : list of str
        What was found of energy, as lines for people.
    """

    measured: int = 0
    found: int = 0
    left: int = 0
    failed: list[str] = field(default_factory=list)
    load: float = 0.0
    seconds: float = 0.0
    boards: list[Board] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    energy: list[str] = field(default_factory=list)


class Collection:
    """The processes of a run, and the requests to them.

    Parameters
    ----------
    builders : list of (str, KernelBuilder)
        Models by name.
    options : Options
    folder : str
        For libraries, which are removed after timing.
    threads : str or None
        ``TVM_NUM_THREADS`` as set by the user.
    """

    def __init__(self, builders: list[tuple[str, KernelBuilder]], options: Options, folder: str, threads: str | None):
        self.builders, self.options, self.folder = builders, options, folder
        # Not on Vulkan: this process has opened its driver, whose threads forked ones lack.
        is_pocl = options.bed is not None and options.bed.pocl and builders[0][1].gpu.kind.name == "opencl"
        warm = is_pocl and options.server is None
        count = options.processes or len(os.sched_getaffinity(0))
        gpu_type = builders[0][1].gpu.get_target_device_type()
        environment = {"TVM_NUM_THREADS": threads}
        self.setting = setting = protocol.Setting(
            gpu_type, options.bed, options.server, environment, settle_s=options.settle_s
        )
        self.compilers = [Child("fork", compiling.serve, [b for _, b in builders], warm) for _ in range(count)]
        self.boards, self.busy = Boards(setting, _count_boards(options)), DeviceWorker(setting)
        self._numbers = iter(range(1 << 30))
        self._references: dict[str, compiling.Built] = {}

    def close(self) -> None:
        """End all processes."""
        for child in self.compilers:
            child.stop()
        self.boards.stop()
        self.busy.stop()

    @property
    def timer(self) -> DeviceWorker:
        """The process of the first board."""
        return self.boards.first.worker

    def make_request(self, model: int, piece: Piece | None, device: str) -> compiling.BuildRequest:
        """Make a request to compile into a new file."""
        return compiling.BuildRequest(model, piece, device, self._new_path())

    def export(self, lib: Any, device: str) -> compiling.Built:
        """Export a library that this process has compiled to a new file."""
        return compiling.export(lib, self._new_path(), device)

    def _new_path(self) -> str:
        ending = "tar" if self.options.server else "so"
        return f"{self.folder}/k{next(self._numbers)}.{ending}"

    def build_all(self, requests: list[compiling.BuildRequest], timeout_s: float) -> list[compiling.Built | ChildError]:
        """Compile on all cores; return results in the order of the requests, errors included."""
        results: list[Any] = [None] * len(requests)
        waiting = list(enumerate(requests))[::-1]
        busy: dict[int, tuple[Child, int]] = {}
        while waiting or busy:
            for slot, child in enumerate(self.compilers):
                if slot not in busy and waiting:
                    number, request = waiting.pop()
                    child.send(request, timeout_s)
                    busy[slot] = (child, number)
            for child in wait_for_answers([c for c, _ in busy.values()]):
                slot = next(s for s, (c, _) in busy.items() if c is child)
                number = busy.pop(slot)[1]
                try:
                    results[number] = child.receive()
                except ChildError as err:
                    results[number] = ChildError(f"compiling: {err}")
        return results

    def build_reference(self, device: str) -> compiling.Built:
        """Build the reference kernel for a device, once; raises `ChildError`.

        A child compiles it: compiling may open an OpenCL driver, in which children that are forked later would hang.
        """
        if device not in self._references:
            # By every child, so that all are forked by then.
            requests = [self.make_request(compiling.REFERENCE, None, device) for _ in self.compilers]
            built = self.build_all(requests, self.options.compile_timeout_s)[0]
            if isinstance(built, ChildError):
                raise built
            self._references[device] = built
        return self._references[device]

    def make_time_request(self, built: compiling.Built, min_repeat_ms: int) -> protocol.TimeRequest:
        """Make a request to time a library together with the reference kernel."""
        device = "gpu" if built.device == "both" else built.device
        return protocol.TimeRequest(
            built, self.options.repeats, min_repeat_ms, self.build_reference(device), self.options.patience_s
        )

    def time(
        self, built: compiling.Built | ChildError, min_repeat_ms: int = 0, timeout_s: float = TIME_S
    ) -> protocol.Timed:
        """Time a library; raises `ChildError`."""
        ((timed, _),) = self.time_all([built], min_repeat_ms, timeout_s)
        if isinstance(timed, ChildError):
            raise timed
        return timed

    def time_all(
        self, built: list[compiling.Built | ChildError], min_repeat_ms: int = 0, timeout_s: float = TIME_S
    ) -> list[tuple[protocol.Timed | ChildError, Board | None]]:
        """Time libraries on all boards; return each result or error, with the board where it is known."""
        results: list[tuple[protocol.Timed | ChildError, Board | None]] = []
        requests = []
        for b in built:
            try:
                if isinstance(b, ChildError):
                    raise b
                requests.append(self.make_time_request(b, min_repeat_ms or self.options.min_repeat_ms))
                results.append((ChildError(""), None))
            except ChildError as err:
                results.append((err, None))
        timed = iter(self.boards.time_all(requests, timeout_s))
        return [r if str(r[0]) else next(timed) for r in results]


def _count_boards(options: Options) -> int:
    server = options.server
    if server is None or server.tracker is None:
        return 1
    free = count_free(server.tracker, server.key)
    return max(1, min(free, options.boards or free))
