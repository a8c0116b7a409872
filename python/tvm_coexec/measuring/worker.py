"""Child processes, whose crash or hang does not end the run.

Kernels are compiled in forked processes, which inherit the prepared models, and timed in a separate process, the only
one that uses the devices. A process that does not answer in time, or ends, is replaced, and its request is recorded as
an error.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from tvm_coexec.core.errors import one_line

PARENT_S = 5  # interval at which a child checks whether its parent is alive
Serve = Callable[..., None]


class ChildError(Exception):
    """A request that a child could not answer; the text states the reason."""


class Child:
    """A process that answers one request at a time.

    Parameters
    ----------
    method : {"fork", "spawn", "fresh"}
        ``fresh`` starts a new interpreter as ``spawn`` does, but does not import the caller's main module, which may be
        a script without a main guard.
    serve : callable
        ``serve(connection, *args)`` runs in the process; see `answer`.
    *args
        For `serve`.
    """

    def __init__(self, method: str, serve: Serve, *args: Any):
        self._context: Any = _FreshContext if method == "fresh" else multiprocessing.get_context(method)
        self._serve, self._args = serve, args
        self._process: Any = None
        self._connection: Connection | None = None
        self.deadline = 0.0
        self.restarts = -1

    def send(self, request: Any, timeout_s: float) -> None:
        """Send a request; start the process if there is none."""
        if self._process is None or not self._process.is_alive():
            self.stop()
            self.restarts += 1
            here, there = multiprocessing.Pipe()
            self._process = self._context.Process(target=self._serve, args=(there, *self._args), daemon=True)
            self._process.start()
            there.close()
            if isinstance(self._process, _FreshContext.Process):
                here.send((self._serve, self._args))
            self._connection = here
        assert self._connection is not None
        self.deadline = time.monotonic() + timeout_s
        try:
            self._connection.send(request)
        except OSError:  # it ended between requests: `receive` raises the error
            return

    def receive(self) -> Any:
        """Wait for the answer until the deadline.

        Raises
        ------
        ChildError
            If the process failed, ended, or took too long.
        """
        assert self._connection is not None and self._process is not None
        if not self._connection.poll(max(0.0, self.deadline - time.monotonic())):
            self.stop()
            raise ChildError("it did not end in time")
        try:
            error, value = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode
            self.stop()
            name = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
            raise ChildError(f"the process ended ({name})") from None
        if error is not None:
            raise ChildError(error)
        return value

    def call(self, request: Any, timeout_s: float) -> Any:
        """Ask and wait; see `receive`."""
        self.send(request, timeout_s)
        return self.receive()

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            if self._process.is_alive():
                self._process.kill()
            self._process.join()
        self._process = self._connection = None

    @property
    def handle(self) -> Connection:
        """Connection for `wait_for_answers`."""
        assert self._connection is not None
        return self._connection


class _FreshContext:
    """The part of a `multiprocessing` context that `Child` uses."""

    class Process:
        """A new interpreter that serves a connection; the first message states what to serve."""

        # TVM imports XGBoost, which imports scikit-learn if it is there: half the time to start, and nothing here fits.
        _BEGIN = (
            "import json, sys; sys.path[:] = json.loads(sys.argv[2]); sys.modules['sklearn'] = None; "
            "from tvm_coexec.measuring.worker import begin; begin(int(sys.argv[1]))"
        )

        def __init__(self, target: Serve, args: tuple[Any, ...], daemon: bool):
            self._file = args[0].fileno()
            self._popen: subprocess.Popen | None = None

        def start(self) -> None:
            command = [sys.executable, "-c", self._BEGIN, str(self._file), json.dumps(sys.path)]
            self._popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[self._file])

        def is_alive(self) -> bool:
            return self._popen is not None and self._popen.poll() is None

        def kill(self) -> None:
            assert self._popen is not None
            self._popen.kill()

        def join(self, timeout_s: float | None = None) -> None:
            assert self._popen is not None
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout_s)

        @property
        def exitcode(self) -> int | None:
            return None if self._popen is None else self._popen.returncode


def begin(file: int) -> None:
    """Run in a fresh interpreter."""
    connection = Connection(file)
    serve, args = connection.recv()
    serve(connection, *args)


def wait_for_answers(children: list[Child]) -> list[Child]:
    """Wait until some busy children have an answer or have reached their deadline; return these."""
    end = min(c.deadline for c in children)
    ready = wait([c.handle for c in children], max(0.0, end - time.monotonic()))
    now = time.monotonic()
    return [c for c in children if c.handle in ready or c.deadline <= now]


def answer(connection: Connection, handle: Callable[[Any], Any]) -> None:
    """Answer requests until the parent ends; runs in the child process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    parent = os.getppid()
    while True:
        try:
            # Other forked children hold copies of the parent's end, so it stays open when the parent ends.
            while not connection.poll(PARENT_S):
                if os.getppid() != parent:
                    return
            request = connection.recv()
        except (EOFError, OSError):
            return
        reply: tuple[str | None, Any]
        try:
            reply = (None, handle(request))
        except Exception as err:  # the next request may work
            reply = (one_line(err), None)
        with contextlib.suppress(OSError):
            connection.send(reply)
