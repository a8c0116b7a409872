"""Measuring candidates with AutoTVM's builder and runner: on this machine, or on all boards of a tracker's key.

Both are servers of a tracker. For this machine a private tracker with one server is started once, where AutoTVM's
``LocalRunner`` starts both again for each task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tvm import autotvm
from tvm.autotvm.env import AutotvmGlobalScope, reset_global_scope
from tvm.autotvm.measure import MeasureErrorNo, MeasureInput, MeasureResult
from tvm.contrib.popen_pool import PopenPoolExecutor

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.remote import Server, ask_tracker, choosing, named_tracker, parse_reachable
from tvm_coexec.remote.board_loader import BoardLoader, read_address
from tvm_coexec.tuning.scope import autotvm_scope

from .build_ahead import BuildAhead, make_builder
from .hanging import HangWatch
from .options import TuneOptions

logger = logging.getLogger("tvm_coexec")

# Longest time to wait until a board of the key is free, and until one that is left out may be back.
FREE_S, POLL_S = 10.0, 0.5
LOCAL_KEY = "coexec-tune"
# Errors that a board may be the reason of.
_OF_BOARDS = (MeasureErrorNo.RUNTIME_DEVICE, MeasureErrorNo.RUN_TIMEOUT, MeasureErrorNo.UNKNOWN_ERROR)
_TRIES = 3

# For a worker process of TVM, on Linux: 1 is PR_SET_PDEATHSIG.
_END_WITH_PARENT = "import ctypes, signal, sys; sys.platform != 'linux' or ctypes.CDLL(None).prctl(1, signal.SIGKILL)"

Save = Callable[[int, MeasureResult], None]


@dataclass(frozen=True)
class _Sent:
    """What became of a candidate before it was measured.

    Attributes
    ----------
    address : str
        ``HOST:PORT`` of its board; empty if it was sent to none.
    build_s : float
    """

    address: str
    build_s: float

    @staticmethod
    def of(built: Any) -> _Sent:
        return _Sent(read_address(built), float(getattr(built, "time_cost", 0.0)))


class Boards:
    """Measures configurations of tasks, several at a time where there are several boards.

    Parameters
    ----------
    options : TuneOptions
    server : Server, optional
        Tracker and key of the boards; by default this machine's devices.
    build_func : str
        How AutoTVM links candidates: ``default``, or ``ndk`` for Android.
    """

    def __init__(self, options: TuneOptions, server: Server | None = None, build_func: str = "default"):
        self.options, self.server, self.build_func = options, server, build_func
        self._local: tuple[Any, Any] | None = None  # tracker and server of this machine
        self._task: autotvm.task.Task | None = None
        self._builder: autotvm.LocalBuilder | None = None
        self._runner: autotvm.RPCRunner | None = None
        self._host, self._port, self._key = "", 0, ""
        self._watch = HangWatch()

    def start(self) -> int:
        """Find the boards, and return how many there are.

        Raises
        ------
        CoExecError
            If the tracker has none, or none that is free.
        """
        if self.server is not None:
            tracker = tracker_of(self.server)
            self._host, self._port = parse_reachable("tracker", tracker)
            self._key = self.server.key
            wait_for_board(tracker, self._key)
        elif self._local is None:
            from tvm.rpc.server import Server as RpcServer
            from tvm.rpc.tracker import Tracker

            tracker = Tracker(host="127.0.0.1", port=9000, port_end=10000, silent=True)
            self._host, self._port, self._key = "127.0.0.1", tracker.port, f"{LOCAL_KEY}-{tracker.port}"
            address = (self._host, self._port)
            server = RpcServer(
                host="127.0.0.1", port=9000, port_end=10000, key=self._key, silent=True, tracker_addr=address
            )
            for process in (tracker.proc, server.proc):  # they would outlive this process if it were killed
                process.send(exec, (_END_WITH_PARENT, {}))
                process.recv()
            self._local = tracker, server
        return max(1, self.count())

    def count(self) -> int:
        """Return how many boards the tracker knows that are not left out."""
        return len(self._addresses())

    def _addresses(self) -> list[str]:
        own = ask_tracker(f"{self._host}:{self._port}").servers.get(self._key, [])
        return [address for address in own if self._watch.accepts(address)]

    def measure(
        self, task: autotvm.task.Task, configs: Sequence[Any], save: Save, go_on: Callable[[], bool] = lambda: True
    ) -> None:
        """Measure configurations.

        Parameters
        ----------
        task : autotvm.task.Task
        configs : sequence of ConfigEntity
        save : callable
            Takes a configuration's number and its result as soon as it is known; in any order.
        go_on : callable
            Asked before each candidate is started; once it says no, no further one is.

        Raises
        ------
        CoExecError
            If no board is left.
        """
        if not self._key:
            self.start()
        waiting = list(range(len(configs)))
        tries = dict.fromkeys(waiting, 0)
        inputs = [MeasureInput(task.target, task, c) for c in configs]
        builds: BuildAhead | None = None
        with autotvm_scope(in_tuning=True), closing(self._watch.open(save)) as watched:
            while waiting and go_on():
                boards = self.count() if self.server is not None else 1
                if not boards:
                    boards = self._wait_for_return()
                with choosing(self._watch.accepts):
                    self._set_task(task, boards)
                some, waiting = waiting[:boards], waiting[boards:]
                if builds is None:
                    assert self._builder is not None
                    builds = BuildAhead(self._builder, inputs)
                failed = []
                for at, result, sent in self._measure_at_once([inputs[i] for i in some], builds.take(some, waiting)):
                    number = some[at]
                    if self.server is not None and sent.address and self._is_timeout(result, sent.build_s):
                        watched.add_timeout(number, result, sent.address)
                    elif result.error_no in _OF_BOARDS and tries[number] < _TRIES:
                        failed.append((number, result, sent.address))
                    else:
                        watched.add_answer(number, result, sent.address)
                left = self._addresses()
                lost = self.server is not None and len(left) < boards
                if lost:
                    logger.warning(
                        "a board '%s' is left out: the tracker %s:%d has %d of %d now",
                        *(self._key, self._host, self._port, len(left), boards),
                    )
                for i, result, address in failed:
                    if lost:  # the candidate is not the reason
                        tries[i] += 1
                        waiting.insert(0, i)
                    else:
                        watched.add_answer(i, result, address)
                again = watched.take_from_gone(left) + watched.leave_out(len(left), f"within {self.options.timeout} s")
                waiting = again + waiting

    def _is_timeout(self, result: MeasureResult, build_s: float) -> bool:
        """Whether a candidate was ended by the time limit, in the worker process or by the board's server."""
        if result.error_no == MeasureErrorNo.RUN_TIMEOUT:
            return True
        return result.error_no in _OF_BOARDS and result.all_cost - build_s >= self.options.timeout

    def _measure_at_once(
        self, inputs: list[MeasureInput], built: list[Any]
    ) -> Iterator[tuple[int, MeasureResult, _Sent]]:
        """Yield the number of each input, its result, and where it was measured."""
        assert self._runner is not None
        runner = self._runner
        runner.module_loader = BoardLoader(frozenset(self._watch.left_out))
        if len(inputs) == 1:
            yield 0, runner.run(inputs, built)[0], _Sent.of(built[0])
            return
        with ThreadPoolExecutor(len(inputs)) as pool:
            jobs = {pool.submit(runner.run, [m], [b]): i for i, (m, b) in enumerate(zip(inputs, built, strict=True))}
            for job in as_completed(jobs):
                yield jobs[job], job.result()[0], _Sent.of(built[jobs[job]])

    def _set_task(self, task: autotvm.task.Task, boards: int) -> None:
        if self._runner is None or self._runner.n_parallel != boards:
            o = self.options
            self._runner = autotvm.RPCRunner(
                *(self._key, self._host, self._port),
                timeout=o.timeout,
                n_parallel=boards,
                number=o.number,
                repeat=o.repeat,
                min_repeat_ms=o.min_repeat_ms,
                cooldown_interval=0.0,
            )
            # as the runner's own, which has as many processes as this machine has cores
            self._runner.executor = PopenPoolExecutor(
                max_workers=boards,
                timeout=o.timeout * (boards + 1),
                initializer=reset_global_scope,
                initargs=(AutotvmGlobalScope.current,),
            )
            self._task = None
        if self._builder is None:
            self._builder = make_builder(self.options.timeout, self.build_func)
        if self._task is not task:
            self._runner.set_task(task)
            self._builder.set_task(task, self._runner.get_build_kwargs())
            self._task = task

    def _wait_for_return(self) -> int:
        end = time.monotonic() + FREE_S
        while not (found := self.count()):
            if time.monotonic() > end:
                tracker = f"{self._host}:{self._port}"
                hung = f" ({', '.join(sorted(self._watch.left_out))} did not answer)" if self._watch.left_out else ""
                raise CoExecError(
                    f"no board '{self._key}' is left at the tracker {tracker}{hung}: start one with "
                    f"{_command(tracker, self._key)}, and run the same command again to continue"
                )
            time.sleep(POLL_S)
        return found

    def close(self) -> None:
        """End the processes."""
        self._builder = self._runner = self._task = None
        if self._local is not None:
            tracker, server = self._local
            self._local = None
            server.terminate()
            tracker.terminate()


def tracker_of(server: Server) -> str:
    """Return ``HOST:PORT`` of a server's tracker; `CoExecError` if it is named directly, or by no tracker."""
    if server.address is not None:
        raise CoExecError(
            f"tuning measures through a tracker, and {server.address} is an RPC server: start `python -m "
            "tvm.exec.rpc_tracker`, register the server with --tracker and --key, and give both"
        )
    return named_tracker(server.tracker)


def wait_for_board(tracker: str, key: str, wait_s: float | None = None) -> None:
    """Wait until a board is free; `CoExecError` if the tracker has none, or none becomes free."""
    end = time.monotonic() + (FREE_S if wait_s is None else wait_s)
    while not (state := ask_tracker(tracker)).free.get(key):
        if time.monotonic() > end:
            if key not in state.servers:
                raise CoExecError(
                    f"the tracker {tracker} has no board '{key}' (it has: {state.list_keys()}): start one with "
                    f"{_command(tracker, key)}"
                )
            host, _, port = tracker.rpartition(":")
            raise CoExecError(
                f"the tracker {tracker} has no free board '{key}': wait until one is (`python -m "
                f"tvm.exec.query_rpc_tracker --host {host} --port {port}` shows them), or start another with "
                f"{_command(tracker, key)}"
            )
        time.sleep(POLL_S)


def _command(tracker: str, key: str) -> str:
    return f"`python -m tvm.exec.rpc_server --tracker {tracker} --key {key}`"
