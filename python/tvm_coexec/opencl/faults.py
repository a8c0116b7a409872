"""Failures and delays that tests inject into the OpenCL runtime; see ``runtime/README.md``."""

from __future__ import annotations

from .load import call


def inject_fault(what: str, nth: int = 1, count: int = 1, code: int = 0) -> None:
    """Make calls of the OpenCL driver fail, to test how errors are handled; see ``runtime/README.md``.

    Parameters
    ----------
    what : str
        ``build`` a program, ``allocate`` memory, ``launch`` a kernel, ``copy`` to, from or within the device;
        ``event``: a kernel or copy is accepted but ends with an error; ``lost``: the device is gone, every call fails.
    nth, count : int
        The `nth` such call from now on (1 is the next) and the `count` - 1 after it fail; a `count` of -1 means all
        calls until `clear_faults`.
    code : int
        The OpenCL error code; 0 stands for the usual one of that call.

    Raises
    ------
    CoExecError
        For an unknown kind of fault, an `nth` below 1 or a positive `code`.
    """
    call("inject_fault", what, nth, count, code)


def inject_delays(limit_us: int, seed: int = 0) -> None:
    """Delay a quarter of all calls, and of all commands on the device, for tests.

    Parameters
    ----------
    limit_us : int
        Longest delay, in microseconds.
    seed : int
        Seed of the choice of calls and of the delays.
    """
    call("inject_fault", "delay", limit_us, seed)


def clear_faults() -> None:
    """Remove all faults and delays."""
    call("clear_faults")


def fault_hits(what: str) -> int:
    """Return how many calls a fault has hit since the start of the process.

    Parameters
    ----------
    what : str
        As `inject_fault` takes it, or ``delay`` for the number of delayed calls.

    Returns
    -------
    int
    """
    return call("fault_hits", what)
