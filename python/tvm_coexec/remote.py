"""Sessions on other machines by TVM's RPC."""

from __future__ import annotations

import os
import socket

import tvm

from .core.errors import CoExecError

CONNECT_TIMEOUT_S = 10


def connect(address: str | None = None, tracker: str | None = None, key: str = "") -> tvm.rpc.RPCSession:
    """Open a session on a TVM RPC server.

    Parameters
    ----------
    address : str, optional
        ``HOST:PORT`` of the server itself.
    tracker : str, optional
        ``HOST:PORT`` of a tracker; by default from ``TVM_TRACKER_HOST`` and ``TVM_TRACKER_PORT``.
    key : str
        The server's key at the tracker.

    Returns
    -------
    tvm.rpc.RPCSession

    Raises
    ------
    CoExecError
        If no server is named, or if the server or tracker can't be reached.
    """
    from tvm import rpc

    if address is not None and (tracker is not None or key):
        raise CoExecError(f"the server {address} is named directly; omit tracker and key")
    if address is not None:
        host, port = parse_reachable("RPC server", address)
        return rpc.connect(host, port, session_timeout=0)
    tracker = tracker or default_tracker()
    if tracker is None:
        raise CoExecError(
            "no other machine is named; give the HOST:PORT of its RPC server or of a tracker, or set "
            "TVM_TRACKER_HOST and TVM_TRACKER_PORT"
        )
    if not key:
        raise CoExecError(f"the tracker {tracker} needs the device's key; give it as well")
    connection = rpc.connect_tracker(*parse_reachable("tracker", tracker))
    known = sorted(connection.summary()["queue_info"])
    if key not in known:
        raise CoExecError(f"the tracker has no device '{key}'; it has: {', '.join(known) or 'none'}")
    return connection.request(key, session_timeout=0)


def close(session: tvm.rpc.RPCSession) -> None:
    """Close a session, so that its server accepts the next one; its modules and arrays become invalid.

    Without this a session lasts until Python has collected every object that came from it, and the next client waits.

    Parameters
    ----------
    session : tvm.rpc.RPCSession
    """
    session.get_function("CloseRPCConnection")()


def default_tracker() -> str | None:
    """Return ``HOST:PORT`` of the tracker that the environment names, if any."""
    host, port = os.environ.get("TVM_TRACKER_HOST"), os.environ.get("TVM_TRACKER_PORT")
    return f"{host}:{port}" if host and port else None


def parse_reachable(what: str, text: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` and check that the server accepts connections.

    Parameters
    ----------
    what : str
        Kind of server, for error messages.
    text : str

    Returns
    -------
    host, port : str, int

    Raises
    ------
    CoExecError
        If the text is not of that form, or the server can't be reached.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise CoExecError(f"{what} {text} is not of the form HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()  # TVM would retry for a minute
    except (OSError, OverflowError) as err:
        raise CoExecError(f"the {what} {text} can't be reached ({err}); start it, or check the address") from None
    return host, int(port)
