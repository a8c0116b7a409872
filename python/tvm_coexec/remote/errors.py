"""Errors of RPC as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tvm

from tvm_coexec.core.errors import CoExecError, one_line

# In the texts of TVM's client when the other side of a connection is gone.
# The last one: what arrived is no answer.
_BROKEN = ("Connection reset", "Broken pipe", "SockChannel", "previously closed", "RPCCode::kReturn")

# The same of what is no server that a session can be opened on directly, and what to do.
_NO_SESSION = {
    "cannot find server that matches key=client": (
        "it serves under a key, for a tracker: give the tracker's HOST:PORT and that key, or start it without a key"
    ),
    "sock.RecvAll(&code": "it is no RPC server; of a tracker, give the device's key as well",
}


def is_broken(err: BaseException) -> bool:
    """Whether an error of RPC is of a connection that has ended."""
    return any(sign in str(err) for sign in _BROKEN)


def why(err: BaseException) -> str:
    """Return an error of RPC as one sentence; of a broken connection: the server's process has ended."""
    text = one_line(err)
    for sign, advice in _NO_SESSION.items():
        if sign in text:
            return advice
    if is_broken(err):
        return f"the connection broke, so the server or the session's process there has ended ({one_line(err, 120)})"
    return text


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Convert errors of RPC to `CoExecError`; `what` begins the sentence."""
    try:
        yield
    except CoExecError:
        raise
    except (tvm.error.RPCError, tvm.TVMError, RuntimeError, OSError) as err:
        raise CoExecError(f"{what}: {why(err)}") from None
