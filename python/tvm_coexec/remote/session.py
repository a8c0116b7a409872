"""Sessions of TVM's RPC servers, named by their address or by their key at a tracker."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import tvm

from tvm_coexec.core.errors import CoExecError

from . import runtime
from .errors import explained, why
from .tracker import TrackerState, connect_tracker, default_tracker, parse_reachable

# A server serves one session at a time and lets other clients wait without a word: when to say so, and to give up.
BUSY_S, BUSY_LIMIT_S = 3.0, 60.0
POLL_S = 0.2
REQUEST_TRIES = 3

_log = logging.getLogger("tvm_coexec")


@dataclass(frozen=True)
class Server:
    """How an RPC server is reached.

    Attributes
    ----------
    address : str, optional
        ``HOST:PORT`` of the server itself.
    tracker : str, optional
        ``HOST:PORT`` of a tracker; by default from ``TVM_TRACKER_HOST`` and ``TVM_TRACKER_PORT``.
    key : str
        The server's key at the tracker.
    """

    address: str | None = None
    tracker: str | None = None
    key: str = ""

    def __str__(self) -> str:
        return self.address or self.key

    def connect(self, wait_s: float | None = None) -> tvm.rpc.RPCSession:
        """Open a session with this package's runtime; see the function `connect`."""
        return connect(self.address, self.tracker, self.key, upload=True, wait_s=wait_s)


def connect(
    address: str | None = None,
    tracker: str | None = None,
    key: str = "",
    upload: bool = False,
    wait_s: float | None = None,
) -> tvm.rpc.RPCSession:
    """Open a session on a TVM RPC server.

    Parameters
    ----------
    address : str, optional
        ``HOST:PORT`` of the server itself.
    tracker : str, optional
        ``HOST:PORT`` of a tracker; by default from ``TVM_TRACKER_HOST`` and ``TVM_TRACKER_PORT``.
    key : str
        The server's key at the tracker.
    upload : bool
        Load this package's runtime on the server, unless it is there: a server of a plain TVM then serves the OpenCL
        devices and ``tvm_coexec.create``.
    wait_s : float, optional
        Longest time to wait until the server is free; by default `BUSY_LIMIT_S` for a server itself, and no limit for
        one of a tracker.

    Returns
    -------
    tvm.rpc.RPCSession

    Raises
    ------
    CoExecError
        If no server is named, if the server or tracker can't be reached, or if the runtime can't be loaded there.
    """
    if address is not None and (tracker is not None or key):
        raise CoExecError(f"the server {address} is named directly; omit tracker and key")
    if address is not None:
        host, port = parse_reachable("RPC server", address)
        with explained(f"the RPC server {address} does not open a session"):
            session = _open(host, port, BUSY_LIMIT_S if wait_s is None else wait_s)
        session.coexec_address = address
    else:
        session = _request(tracker, key, wait_s)
    if upload:
        try:
            runtime.load_runtime(session)
        except CoExecError:
            close_quietly(session)
            raise
    return session


def _open(host: str, port: int, wait_s: float) -> tvm.rpc.RPCSession:
    """Open a session; try again if the server, which is reachable, refuses: it may be ending another session."""
    for tries_left in reversed(range(REQUEST_TRIES)):
        try:
            return _open_once(host, port, wait_s)
        except tvm.TVMError:
            parse_reachable("RPC server", f"{host}:{port}")  # if it has ended in the meantime, that is the error
            if not tries_left:
                raise
            time.sleep(POLL_S)
    raise AssertionError


def _open_once(host: str, port: int, wait_s: float) -> tvm.rpc.RPCSession:
    """Open a session in a thread, since TVM waits for a busy server without end, and can't be interrupted."""
    found: futures.Future[Any] = futures.Future()

    def run() -> None:
        session, error = None, None
        try:
            session = tvm.rpc.connect(host, port, session_timeout=0)
        except Exception as err:
            error = err
        if not found.set_running_or_notify_cancel():  # the caller has given up
            if session is not None:
                close_quietly(session)
        elif error is not None:
            found.set_exception(error)
        else:
            found.set_result(session)

    threading.Thread(target=run, daemon=True).start()
    said_s = min(BUSY_S, wait_s)
    with contextlib.suppress(futures.TimeoutError):
        return found.result(said_s)
    if wait_s > said_s:
        _log.warning("the RPC server %s:%d serves another session, or hangs; waiting for it", host, port)
        with contextlib.suppress(futures.TimeoutError):
            return found.result(wait_s - said_s)
    if found.cancel():
        raise CoExecError(
            f"the RPC server {host}:{port} opened no session within {wait_s:g} s: it serves another one, or hangs; try "
            "again when that one has ended, or restart the server"
        )
    return found.result()


def _request(tracker: str | None, key: str, wait_s: float | None, timeout_s: float = 0) -> tvm.rpc.RPCSession:
    from tvm import rpc
    from tvm.rpc import base

    tracker = tracker or default_tracker()
    if tracker is None:
        raise CoExecError(
            "no other machine is named; give the HOST:PORT of its RPC server or of a tracker, or set "
            "TVM_TRACKER_HOST and TVM_TRACKER_PORT"
        )
    if not key:
        raise CoExecError(f"the tracker {tracker} needs the device's key; give it as well")
    connection = connect_tracker(tracker, key)
    accept, tries_left = _accept.get(), REQUEST_TRIES
    # A tuner's servers are in use again and again: no word of that within `choosing`.
    said_s = BUSY_S if accept is None else 0.0
    end = time.monotonic() + (said_s if wait_s is None else wait_s)
    while TrackerState.of(connection).free.get(key, 0) == 0:
        if time.monotonic() > end:
            if wait_s is not None:
                raise CoExecError(f"no server of '{key}' became free within {wait_s:g} s; see the tracker {tracker}")
            if accept is None:
                _log.warning("all servers of '%s' are in use; waiting for one", key)
            break
        time.sleep(POLL_S)
    while True:
        # As the tracker's client of TVM does, which does not say which server it was given.
        base.sendjson(connection._sock, [base.TrackerCode.REQUEST, key, "", 1])
        code, given = base.recvjson(connection._sock)
        if code != base.TrackerCode.SUCCESS:
            raise CoExecError(f"the tracker {tracker} refuses the request for '{key}': {given}")
        host, port, match = given
        if accept is not None and not accept(f"{host}:{port}"):
            continue  # a server to which no client comes registers again after some seconds
        tries_left -= 1
        try:
            session = rpc.connect(host, port, match, session_timeout=timeout_s)
        except (RuntimeError, OSError) as err:  # that server has just gone: the tracker knows of others
            if not tries_left:
                raise CoExecError(f"no session of a server '{key}' of the tracker {tracker}: {why(err)}") from None
        else:
            session.coexec_address = f"{host}:{port}"
            return session


Accept = Callable[[str], bool]
_accept: ContextVar[Accept | None] = ContextVar("coexec_accept", default=None)


@contextmanager
def choosing(accept: Accept) -> Iterator[None]:
    """Within the block, use only those servers of a tracker that are accepted, also for TVM's own requests.

    Parameters
    ----------
    accept : callable
        Takes ``HOST:PORT`` of a server before a session of it is opened. At least one of the key must be accepted: else
        the request waits without end.
    """
    token = _accept.set(accept)
    try:
        yield
    finally:
        _accept.reset(token)


def request_accepted(tracker: str, key: str, timeout_s: float) -> tvm.rpc.RPCSession | None:
    """Open a session of an accepted server within `choosing`; `None` outside of it.

    Parameters
    ----------
    tracker : str
    key : str
    timeout_s : float
        Duration after which the server ends the session; 0 for no limit.
    """
    return None if _accept.get() is None else _request(tracker, key, None, timeout_s)


def server_of(session: tvm.rpc.RPCSession) -> str:
    """Return ``HOST:PORT`` of a session's server; empty if `connect` did not open it."""
    return getattr(session, "coexec_address", "")


def close(session: tvm.rpc.RPCSession) -> None:
    """Close a session, so that its server accepts the next one; its modules and arrays become invalid.

    Without this a session lasts until Python has collected every object that came from it, and the next client waits.

    Parameters
    ----------
    session : tvm.rpc.RPCSession
    """
    session.get_function("CloseRPCConnection")()


@contextmanager
def closing(session: tvm.rpc.RPCSession) -> Iterator[tvm.rpc.RPCSession]:
    """Close a session at the end of a block, also after an error, which may hold objects of the session."""
    try:
        yield session
    finally:
        close_quietly(session)


def close_quietly(session: tvm.rpc.RPCSession) -> None:
    """Close a session that may have ended already."""
    try:
        close(session)
    except (AttributeError, RuntimeError, tvm.TVMError):
        _log.debug("the session was closed already")
