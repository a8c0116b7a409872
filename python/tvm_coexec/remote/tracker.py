"""What a tracker knows of its servers."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import tvm

from tvm_coexec.core.errors import CoExecError

from .errors import explained

CONNECT_TIMEOUT_S = 10


@dataclass(frozen=True)
class TrackerState:
    """What a tracker knew when it was asked.

    Attributes
    ----------
    servers : dict of str to list of str
        ``HOST:PORT`` of the servers that are registered now, by key.
    free : dict of str to int
        Number of servers that can be handed out now, by key; also of keys whose servers are gone.
    """

    servers: dict[str, list[str]]
    free: dict[str, int]

    def list_keys(self) -> str:
        """Return the keys of the registered servers, for a message."""
        return ", ".join(sorted(self.servers)) or "none"

    @staticmethod
    def of(connection: tvm.rpc.TrackerSession) -> TrackerState:
        """Ask a tracker."""
        summary = connection.summary()
        servers: dict[str, list[str]] = {}
        for server in summary["server_info"]:
            host, port = server["addr"]
            servers.setdefault(server["key"].removeprefix("server:"), []).append(f"{host}:{port}")
        return TrackerState(servers, {key: queue["free"] for key, queue in summary["queue_info"].items()})


def open_tracker(tracker: str) -> tuple[tvm.rpc.TrackerSession, TrackerState]:
    """Connect to a tracker, and ask it.

    Parameters
    ----------
    tracker : str
        ``HOST:PORT``.

    Raises
    ------
    CoExecError
        If the tracker can't be reached, or is none.
    """
    host, port = parse_reachable("tracker", tracker)
    with explained(f"{tracker} does not answer as a tracker; the address of a server is given without a key"):
        connection = tvm.rpc.connect_tracker(host, port)
        return connection, TrackerState.of(connection)


def ask_tracker(tracker: str) -> TrackerState:
    """Return what a tracker knows now; the arguments and errors are those of `open_tracker`."""
    return open_tracker(tracker)[1]


def connect_tracker(tracker: str, key: str) -> tvm.rpc.TrackerSession:
    """Connect to a tracker that has servers of a key.

    Parameters
    ----------
    tracker : str
        ``HOST:PORT``.
    key : str

    Raises
    ------
    CoExecError
        If the tracker can't be reached, is none, or has no such server.
    """
    connection, state = open_tracker(tracker)
    if key not in state.servers:
        raise CoExecError(f"the tracker has no device '{key}'; it has: {state.list_keys()}")
    return connection


def count_free(tracker: str, key: str) -> int:
    """Return the number of servers with a key that a tracker can hand out now."""
    return ask_tracker(tracker).free.get(key, 0)


def default_tracker() -> str | None:
    """Return ``HOST:PORT`` of the tracker that the environment names, if any."""
    host, port = os.environ.get("TVM_TRACKER_HOST"), os.environ.get("TVM_TRACKER_PORT")
    return f"{host}:{port}" if host and port else None


def named_tracker(tracker: str | None) -> str:
    """Return ``HOST:PORT`` of the tracker that is given, or else of the environment's; `CoExecError` without both."""
    tracker = tracker or default_tracker()
    if tracker is None:
        raise CoExecError("no tracker is named: give its HOST:PORT, or set TVM_TRACKER_HOST and TVM_TRACKER_PORT")
    return tracker


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
    except TimeoutError:
        raise CoExecError(
            f"the {what} {text} does not answer within {CONNECT_TIMEOUT_S} s: others wait for it already, or the "
            "address is wrong"
        ) from None
    except (OSError, OverflowError) as err:
        raise CoExecError(f"the {what} {text} can't be reached ({err}); start it, or check the address") from None
    return host, int(port)
