"""Other machines by TVM's RPC: trackers (`tracker`), sessions (`session`), this package's runtime there (`runtime`)."""

from __future__ import annotations

from .errors import explained
from .runtime import (
    KINDS,
    Board,
    describe,
    find_function,
    load_runtime,
    machine_there,
    serves_own,
    why_unavailable,
)
from .session import (
    Server,
    choosing,
    close,
    closing,
    connect,
    server_of,
)
from .tracker import ask_tracker, connect_tracker, count_free, default_tracker, named_tracker, parse_reachable

__all__ = [
    "KINDS",
    "Board",
    "Server",
    "ask_tracker",
    "choosing",
    "close",
    "closing",
    "connect",
    "connect_tracker",
    "count_free",
    "default_tracker",
    "describe",
    "explained",
    "find_function",
    "load_runtime",
    "machine_there",
    "named_tracker",
    "parse_reachable",
    "server_of",
    "serves_own",
    "why_unavailable",
]
