"""Boards that measure in parallel: this machine, an RPC server, or all servers of one key at a tracker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tvm.target import Target

from tvm_coexec.core.errors import CoExecError

from .. import protocol
from ..batches import time_each
from ..device_worker import DeviceWorker
from ..worker import ChildError

logger = logging.getLogger("tvm_coexec")

# For a board to answer after a failure: its process may have to start again, and its server to open a new session.
CHECK_S = 60


@dataclass
class Board:
    """A board and the process that measures on it.

    Attributes
    ----------
    worker : DeviceWorker
    address : str
        ``HOST:PORT`` of its RPC server; empty for this machine.
    paces : dict of str to float
        By device: time of the reference kernel over that of the first board, or of the file that is continued.
    measured : int
        Number of kernels and shares that were timed on it.
    """

    worker: DeviceWorker
    address: str = ""
    paces: dict[str, float] = field(default_factory=dict)
    measured: int = 0


class _BoardError(Exception):
    """A board can't be used any more."""


class Boards:
    """Sends requests to boards in parallel, and leaves out those that fail.

    Parameters
    ----------
    setting : Setting
        Of every board. A tracker hands out another server of the key to each.
    count : int
        Number of boards.

    Attributes
    ----------
    active : list of Board
    left_out : list of (str, str)
        Address and reason.
    admit : callable
        Takes a board that was not used before, and returns why it must not be used; empty if it may.
    """

    def __init__(self, setting: protocol.Setting, count: int = 1):
        self.server = setting.server
        self.active = [Board(DeviceWorker(setting)) for _ in range(count)]
        self._all = list(self.active)
        self.left_out: list[tuple[str, str]] = []
        self.admit: Callable[[Board], str] = lambda _board: ""
        self._lock = threading.Lock()

    @property
    def used(self) -> list[Board]:
        """Those that work, and those that are left out but have timed something."""
        return [board for board in self._all if board in self.active or board.measured]

    @property
    def first(self) -> Board:
        """The first of those that work; `CoExecError` if none is left."""
        self._require_any()
        return self.active[0]

    def _require_any(self) -> None:
        if not self.active:
            address, why = self.left_out[-1]
            raise CoExecError(
                f"no board of '{self.server}' is left ({address}: {why}); repair it and run the same command again to "
                "continue"
            )

    @property
    def load(self) -> float:
        """Number of cores that other processes used during timing; the largest of all boards."""
        return max(b.worker.load for b in self._all)

    def devices(self, cpu: Target, gpu: Target) -> dict[str, dict[str, str]]:
        """Return names and targets of the first board that has the devices; `CoExecError` if none has."""
        while True:
            board = self.first
            try:
                return board.worker.devices(cpu, gpu)
            except CoExecError as err:
                if len(self.active) == 1:
                    raise
                self._leave_out(board, str(err))

    def start(self) -> None:
        """Open a session for each board and admit it; `CoExecError` if none can be used."""
        for board in list(self.active):
            why = self._why_not(board)
            if why:
                self._leave_out(board, why)
        self._require_any()

    def time_all(
        self, requests: list[protocol.TimeRequest], timeout_s: float
    ) -> list[tuple[protocol.Timed | ChildError, Board]]:
        """Time libraries on all boards; return each result, or the library's error, with the board.

        A request whose board fails is sent to another one.

        Raises
        ------
        CoExecError
            If no board is left.
        """
        results: list = [None] * len(requests)
        waiting = list(range(len(requests)))[::-1]
        while waiting:
            self._require_any()
            self._serve_all(lambda board: self._serve(board, requests, waiting, results, timeout_s), waiting)
        return results

    def _serve_all(self, serve: Callable[[Board], None], waiting: list[int]) -> None:
        if len(self.active) == 1:
            serve(self.active[0])
            return
        threads = [threading.Thread(target=serve, args=(board,), daemon=True) for board in self.active]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            waiting.clear()  # ends the threads after what they do now
            raise

    def _serve(
        self, board: Board, requests: list[protocol.TimeRequest], waiting: list[int], results: list, timeout_s: float
    ) -> None:
        while board in self.active and (numbers := self._take(waiting)):
            timed_each = time_each(board.worker, [requests[n] for n in numbers], timeout_s, lambda: self._check(board))
            try:
                for number, timed in zip(numbers, timed_each, strict=True):
                    results[number] = (timed, board)
                    board.measured += not isinstance(timed, ChildError)
            except _BoardError as err:
                waiting.extend(number for number in numbers if results[number] is None)
                self._leave_out(board, str(err))

    def _take(self, waiting: list[int]) -> list[int]:
        """Take the next batch: the whole of it only while every other board has as many left."""
        with self._lock:
            count = len(waiting) if len(self.active) == 1 else len(waiting) // (2 * len(self.active))
            taken = waiting[-max(1, min(protocol.BATCH, count)) :]
            del waiting[len(waiting) - len(taken) :]
        return taken

    def _check(self, board: Board) -> None:
        if self.server and (why := self._why_not(board)):
            raise _BoardError(why)

    def _why_not(self, board: Board) -> str:
        """Return why a board can't be used; empty if it works. It may be another one after its session was lost."""
        try:
            address = board.worker.call(protocol.WHERE, CHECK_S)
        except ChildError as err:
            return str(err)
        if address == board.address and board.paces:
            return ""
        board.address = address
        with self._lock:
            return self.admit(board)

    def _leave_out(self, board: Board, why: str) -> None:
        board.worker.stop()
        with self._lock:
            self.active.remove(board)
            self.left_out.append((board.address or str(self.server or "this machine"), why))
            if self.active:
                logger.warning("board %s is left out: %s", *self.left_out[-1])

    def stop(self) -> None:
        """End all processes."""
        for board in self._all:
            board.worker.stop()
