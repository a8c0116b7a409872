"""Sessions on other machines, by TVM's RPC."""

from __future__ import annotations

import os
import socket

import tvm

from .core.errors import CoExecError

CONNECT_S = 10


def connect(address: str | None = None, tracker: str | None = None, key: str = "") -> tvm.rpc.RPCSession:
    """A session on a TVM RPC server.

    Parameters
    ----------
    address : str, optional
        ``HOST:PORT`` of the server itself.
    tracker : str, optional
        ``HOST:PORT`` of a tracker that knows it by `key`; by default ``TVM_TRACKER_HOST`` and ``TVM_TRACKER_PORT``.
    key : str

    Raises
    ------
    CoExecError
        When nothing is named, or what is named can't be reached.
    """
    from tvm import rpc

    if address is not None and (tracker is not None or key):
        raise CoExecError(f"the server {address} is named directly: leave tracker and key out")
    if address is not None:
        host, port = _reachable("RPC server", address)
        return rpc.connect(host, port, session_timeout=0)
    if tracker is None:
        parts = os.environ.get("TVM_TRACKER_HOST"), os.environ.get("TVM_TRACKER_PORT")
        if not all(parts):
            raise CoExecError(
                "no other machine is named: give the HOST:PORT of its RPC server, or of a tracker (which "
                "TVM_TRACKER_HOST and TVM_TRACKER_PORT name as well)"
            )
        tracker = f"{parts[0]}:{parts[1]}"
    if not key:
        raise CoExecError(f"the tracker {tracker} needs the device's key, too")
    connection = rpc.connect_tracker(*_reachable("tracker", tracker))
    known = sorted(connection.summary()["queue_info"])
    if key not in known:
        raise CoExecError(f"the tracker has no device '{key}'; it has: {', '.join(known) or 'none'}")
    return connection.request(key, session_timeout=0)


def close(session: tvm.rpc.RPCSession) -> None:
    """End a session, so that its server takes the next one; modules and arrays of it can't be used any more.

    Without this a session lasts until Python has collected every object that came from it, and whoever connects next
    waits for that.

    Parameters
    ----------
    session : tvm.rpc.RPCSession
    """
    session.get_function("CloseRPCConnection")()


def _reachable(what: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise CoExecError(f"{what} {text} is not HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()  # TVM itself would try for a minute
    except (OSError, OverflowError) as err:
        raise CoExecError(f"the {what} {text} can't be reached ({err}); start it, or mend the address") from None
    return host, int(port)
