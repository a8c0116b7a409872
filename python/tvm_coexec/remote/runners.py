"""TVM's tuners on RPC servers: the C++ runtime is loaded there for OpenCL targets, and what is missing is one sentence.

The RPC runners of AutoTVM, the auto-scheduler and MetaSchedule open a session for each candidate that they measure. If
its target is OpenCL, `install` makes them load this package's runtime in the session, so a stock server of a tracker
is enough. Sessions are closed when the candidate is measured. TVM leaves that to Python's collection of objects, and
those of a failed candidate are in a cycle with its error, so its server stayed taken until the session timed out.

What TVM asks of a tracker before it starts is replaced, too: TVM waits without end for a server that does not exist,
and says only that it cannot get devices.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm.rpc.client import TrackerSession
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl.schedules.device import has_textures

from .runtime import KINDS, load_runtime, why_unavailable
from .session import POLL_S, close_quietly, closing, connect, request_accepted
from .tracker import ask_tracker, named_tracker

_log = logging.getLogger("tvm_coexec")

WITHOUT_TEXTURES = (
    "which this package's OpenCL runtime does not have: tune for `opencl -model=adreno`, for which `--coexec` compiles"
)


@dataclass
class _Measurement:
    """A candidate that is measured now: whether its sessions need this package's runtime, and those that are open."""

    needs_runtime: bool
    sessions: list[tvm.rpc.RPCSession] = field(default_factory=list)


_current: ContextVar[_Measurement | None] = ContextVar("coexec_measurement", default=None)

_original: list[tuple[object, str, Callable]] = []


def install() -> None:
    """Replace the functions with which TVM's tuners use RPC servers. Idempotent."""
    if _original:
        return
    from tvm.auto_scheduler import measure as auto_scheduler
    from tvm.autotvm.measure import measure_methods as autotvm
    from tvm.meta_schedule.runner import rpc_runner as meta_schedule

    _replace(TrackerSession, "request", _loading)
    _replace(autotvm, "check_remote", lambda _: check_remote)
    _replace(auto_scheduler, "check_remote", lambda _: check_tracker)
    _replace(autotvm.RPCRunner, "get_build_kwargs", _measuring(lambda runner: runner.task.target))
    _replace(autotvm, "run_through_rpc", _measuring(lambda measure_input: measure_input.target))
    _replace(auto_scheduler, "_rpc_run", _measuring(_target_of_record(auto_scheduler), "inp_serialized"))
    _replace(meta_schedule, "_worker_func", _measuring(lambda device_type: device_type, "device_type"))


def uninstall() -> None:
    """Restore TVM's own functions."""
    while _original:
        owner, name, stock = _original.pop()
        setattr(owner, name, stock)


def check_remote(
    target: Target | str,
    device_key: str,
    host: str | None = None,
    port: int | None = None,
    priority: int = 100,  # noqa: ARG001 - the signature is TVM's
    timeout: float = 10,
) -> bool:
    """Check that a tracker has a server with the device of a target, as ``tvm.autotvm.measure.check_remote`` does.

    Parameters
    ----------
    target : Target or str
    device_key : str
        The servers' key at the tracker.
    host, port : str, int, optional
        Of the tracker; by default from ``TVM_TRACKER_HOST`` and ``TVM_TRACKER_PORT``.
    priority : int
        Ignored.
    timeout : float
        Seconds to wait for a server to register. For a registered one that is busy, the wait has no limit.

    Returns
    -------
    bool
        True.

    Raises
    ------
    CoExecError
        If the tracker can't be reached, has no such server, or the server has no such device.
    """
    tracker = _find_server(device_key, host, port, timeout)
    kind, upload = _kind(target), _needs_runtime(target)
    with closing(connect(tracker=tracker, key=device_key, upload=upload)) as session:
        if not session.device(kind).exist:
            why = why_unavailable(session, kind)
            if kind == "opencl" and not upload:
                why += f"; the target keeps tensors in textures, {WITHOUT_TEXTURES}"
            raise CoExecError(
                f"the RPC server '{device_key}' has no {kind} device{why and f' ({why})'}: tune for a target that it "
                "has, or on another server"
            )
    return True


def check_tracker(
    device_key: str,
    host: str | None = None,
    port: int | None = None,
    priority: int = 100,  # noqa: ARG001 - the signature is TVM's
    timeout: float = 10,
) -> bool:
    """Check that a tracker has a server, as ``tvm.auto_scheduler.utils.check_remote`` does; see `check_remote`."""
    _find_server(device_key, host, port, timeout)
    return True


def _find_server(key: str, host: str | None, port: int | None, timeout_s: float) -> str:
    """Wait until a server is registered; return ``HOST:PORT`` of the tracker."""
    tracker = named_tracker(f"{host}:{port}" if host and port else None)
    end = time.monotonic() + timeout_s
    while True:
        state = ask_tracker(tracker)
        if key in state.servers and key in state.free:
            break
        if time.monotonic() > end:
            raise CoExecError(
                f"the tracker {tracker} has no server '{key}' (it has: {state.list_keys()}): start one with "
                f"`python -m tvm.exec.rpc_server --tracker {tracker} --key {key}`"
            )
        time.sleep(POLL_S)
    if not state.free[key]:
        _log.info("every server '%s' of the tracker %s is busy: waiting", key, tracker)
    return tracker


def _replace(owner: object, name: str, wrap: Callable[[Callable], Callable]) -> None:
    stock = getattr(owner, name)
    _original.append((owner, name, stock))
    setattr(owner, name, wrap(stock))


def _loading(stock: Callable[..., tvm.rpc.RPCSession]) -> Callable[..., tvm.rpc.RPCSession]:
    """Wrap ``TrackerSession.request``: choose the server within `choosing`, load the runtime where it is needed."""

    @functools.wraps(stock)
    def request(tracker: TrackerSession, key: str, *args: Any, **kwargs: Any) -> tvm.rpc.RPCSession:
        host, port = tracker._addr[:2]
        session = request_accepted(f"{host}:{port}", key, kwargs.get("session_timeout", 0))
        session = session or stock(tracker, key, *args, **kwargs)
        if (measurement := _current.get()) is not None:
            measurement.sessions.append(session)
            if measurement.needs_runtime:
                load_runtime(session)
        return session

    return request


def _measuring(target_of: Callable[[Any], Target | str], argument: str | None = None) -> Callable[[Callable], Callable]:
    """Make a wrapper of a function that measures a candidate, in sessions that it opens.

    The wrapper has the name and module of the function, by which it is pickled for a worker process: the worker then
    finds its own replacement, or TVM's function if it could not import this package.

    Parameters
    ----------
    target_of : callable
        From an argument to the target, or to the kind of device.
    argument : str, optional
        Name of that argument; by default the first one.
    """

    def wrap(stock: Callable) -> Callable:
        signature = inspect.signature(stock)
        name = argument or next(iter(signature.parameters))

        @functools.wraps(stock)
        def run(*args: Any, **kwargs: Any) -> Any:
            target = target_of(signature.bind(*args, **kwargs).arguments[name])
            with _sessions_closed(_Measurement(_needs_runtime(target))):
                return stock(*args, **kwargs)

        return run

    return wrap


@contextmanager
def _sessions_closed(measurement: _Measurement) -> Iterator[None]:
    """Close the sessions that were opened for a measurement at its end."""
    token = _current.set(measurement)
    try:
        yield
    finally:
        _current.reset(token)
        for session in measurement.sessions:
            close_quietly(session)


def _target_of_record(auto_scheduler: Any) -> Callable[[str], Target]:
    return lambda text: auto_scheduler.MeasureInput.deserialize(text).task.target


def _kind(target: Target | str) -> str:
    return target.kind.name if isinstance(target, Target) else str(target).split()[0]


def _needs_runtime(target: Target | str) -> bool:
    """Whether kernels of a target, or of a kind of device, are to run in this package's runtime."""
    return _kind(target) in KINDS and not has_textures(Target(target))


__all__ = ["WITHOUT_TEXTURES", "check_remote", "check_tracker", "install", "uninstall"]
