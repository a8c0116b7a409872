"""Upload this package's runtime library to an RPC server, load it there, and ask what the server then has."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm

from tvm_coexec._version import __version__
from tvm_coexec.core.devices import GPU_NAMES
from tvm_coexec.core.elf import machine_of
from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.opencl.library import TARGETS
from tvm_coexec.opencl.load import LIBRARY_NAME

from .errors import explained, is_broken
from .libraries import Library, describe_libraries, libraries, libraries_for

INFO, CREATE = "tvm_coexec.runtime_info", "tvm_coexec.create"
KINDS = tuple(GPU_NAMES)
# Devices of Vulkan are numbered from here in traces.
_FIRST_IN_TRACES = {"opencl": 0, "vulkan": 32}
# Of a TVM that was built with LLVM: the triple of its machine, as a string.
_TRIPLE = "tvm.codegen.llvm.GetDefaultTargetTriple"
PINGS = 20

_log = logging.getLogger("tvm_coexec")


@dataclass(frozen=True)
class Board:
    """What an RPC server says of its runtime and devices.

    Attributes
    ----------
    machine, platform : str
        Such as ``aarch64`` and ``android``; empty if the server does not say.
    version : str
        Version of this package's runtime there; empty if it has none.
    opencl, vulkan : str
        Runtime in use: ``own`` (this package's), ``tvm``, or ``none``.
    why, why_no_vulkan : str
        Why there is no OpenCL or Vulkan device; empty if there is one.
    devices : tuple of dict
        Fields of `opencl.devices.DeviceInfo`; and ``kind``, one of `KINDS`, ``wait``, what
        `opencl.devices.wait_method` returns, and ``clock_ns``, the error bound of the device's times on the host's
        clock.
    round_trip_s : float
        Shortest time of a call of the server, without data.
    """

    machine: str
    platform: str
    version: str
    opencl: str
    vulkan: str
    why: str
    why_no_vulkan: str
    devices: tuple[dict[str, Any], ...]
    round_trip_s: float


def find_function(session: tvm.rpc.RPCSession, name: str) -> Callable[..., Any] | None:
    """Return a global function of a server; `None` if it has no such function."""
    try:
        return session.get_function(name)
    except AttributeError:
        return None


def load_runtime(session: tvm.rpc.RPCSession) -> None:
    """Load this package's runtime library on a server, unless it is there already.

    A server starts each session with an empty folder, and loads the library into the session's process. So the library
    is uploaded once in each session. If that fails, and the server's TVM has OpenCL of its own, a warning says so.

    Parameters
    ----------
    session : tvm.rpc.RPCSession

    Raises
    ------
    CoExecError
        If the server then has no OpenCL: there is no build of the library for its machine, it refuses the file, or its
        TVM is one that the runtime does not work with.
    """
    try:
        _load(session)
    except CoExecError as err:
        if not _has_device_api(session):
            raise
        _log.warning("%s; TVM's own OpenCL runtime is used there, with copies between the devices", err)


def _has_device_api(session: tvm.rpc.RPCSession) -> bool:
    try:
        return find_function(session, "device_api.opencl") is not None
    except tvm.TVMError:  # the session has ended
        return False


def _load(session: tvm.rpc.RPCSession) -> None:
    with explained("the RPC server does not answer"):
        if find_function(session, INFO) is not None:
            _note_version(_info(session))
            return
        if find_function(session, CREATE) is not None:
            _log.warning("the RPC server has an older version of this package's runtime, which is used as it is")
            return
        triple = find_function(session, _TRIPLE)
        text = triple() if triple is not None else ""
    candidates = libraries_for(text) if text else libraries()
    if not candidates:
        raise CoExecError(
            f"there is no build of the runtime for the RPC server's machine, {machine_of(text) if text else 'unknown'} "
            f"(there is: {describe_libraries()}): make one with `make runtime TARGET=...` ({' or '.join(TARGETS)}), or "
            "start the server with --load-library"
        )
    refusals = []
    for library in candidates:
        refusal = _try_load(session, library)
        if refusal is None:
            info = _info(session)
            if info["refused"]:
                raise CoExecError(f"the RPC server can't use this package's runtime: {info['refused']}")
            _log.info("loaded the runtime %s for %s on the RPC server", info["version"], info["machine"])
            return
        refusals.append(f"{library.target or library.machine}: {refusal}")
    known = "" if text else "; builds for other machines are made with `make runtime TARGET=...`"
    raise CoExecError(f"the RPC server can't load this package's runtime ({'; '.join(refusals)}){known}")


def _try_load(session: tvm.rpc.RPCSession, library: Library) -> str | None:
    """Upload and load; return the server's reason if it can't load the file, such as that of another machine."""
    with explained("the RPC server does not take the runtime library (has it free space, and may it write?)"):
        session.upload(bytearray(library.path.read_bytes()), LIBRARY_NAME)
    try:
        # TVM's own function, since an error in the function of a Python server arrives without its text.
        load = find_function(session, "runtime.ModuleLoadFromFile")
        path_of = find_function(session, "tvm.rpc.server.workpath")
        if load is not None and path_of is not None:
            load(path_of(LIBRARY_NAME), "so")
        else:
            session.load_module(LIBRARY_NAME)
    except (tvm.error.RPCError, tvm.TVMError) as err:
        return _why_not_loaded(err)
    with explained("the RPC server ended when it loaded the runtime library"):
        session.remove(LIBRARY_NAME)
        if find_function(session, INFO) is None:
            return "it was loaded, but sees no TVM: the server must load libtvm_runtime.so with RTLD_GLOBAL"
    return None


def _why_not_loaded(err: BaseException) -> str:
    text = one_line(err)
    if is_broken(err):
        return "the process of the session ended; if the server's disk is full, the file arrived incomplete"
    reason = text.rsplit(f"{LIBRARY_NAME}: ", 1)[-1]  # of the system's loader
    for sign, meaning in (
        ("wrong ELF class", "the server's machine is another one"),
        ("cannot open shared object file", "the server's machine is another one"),  # glibc's text for it
        ("invalid ELF header", "the file arrived damaged"),
        ("file too short", "the file arrived incomplete: is the server's disk full?"),
        ("not found", "the server's system libraries are too old"),
    ):
        if sign in reason:
            return f"{meaning} ({reason})"
    return reason


def machine_there(session: tvm.rpc.RPCSession) -> str:
    """Return the machine of a server, such as ``aarch64``; empty if it can't be found out."""
    if find_function(session, INFO) is not None:
        return machine_of(_info(session)["machine"])
    triple = find_function(session, _TRIPLE)
    return "" if triple is None else machine_of(triple())


def serves_own(session: tvm.rpc.RPCSession, kind: str = "opencl") -> bool:
    """Return whether this package's runtime serves the devices of a server.

    Parameters
    ----------
    session : tvm.rpc.RPCSession
    kind : str
        Such as ``opencl``; false for those not in `KINDS`.
    """
    name = find_function(session, f"tvm_coexec.{kind}.runtime")
    return name is not None and name() == "own"


def why_unavailable(session: tvm.rpc.RPCSession, kind: str) -> str:
    """Return why a server has no device of a kind; empty if it has one, or if the reason is not known.

    Parameters
    ----------
    session : tvm.rpc.RPCSession
    kind : str

    Raises
    ------
    CoExecError
        If the server ends meanwhile.
    """
    if kind not in KINDS:
        return ""
    with explained("the RPC server does not describe its devices"):
        runtime = _runtime_in_use(session, kind)
        if runtime == "own":
            return session.get_function(f"tvm_coexec.{kind}.why_unavailable")()
        return "" if session.device(kind, 0).exist else _why_none(kind, runtime)


def _runtime_in_use(session: tvm.rpc.RPCSession, kind: str) -> str:
    if serves_own(session, kind):
        return "own"
    return "tvm" if find_function(session, f"device_api.{kind}") is not None else "none"


def _why_none(kind: str, runtime: str) -> str:
    if runtime == "none":
        return f"the server's TVM has no {GPU_NAMES[kind]} runtime"
    return f"TVM's own {GPU_NAMES[kind]} runtime finds no device"


def _info(session: tvm.rpc.RPCSession) -> dict[str, str]:
    return json.loads(session.get_function(INFO)())


def _note_version(info: dict[str, str]) -> None:
    if info["version"] != __version__:
        _log.warning(
            "the RPC server has version %s of this package's runtime, this is version %s; the server's is used",
            info["version"],
            __version__,
        )


def describe(session: tvm.rpc.RPCSession) -> Board:
    """Return what a server says of its runtime and devices. Opens its drivers.

    Parameters
    ----------
    session : tvm.rpc.RPCSession

    Raises
    ------
    CoExecError
        If the server ends meanwhile.
    """
    with explained("the RPC server does not describe its devices"):
        info: dict[str, str] = {"machine": "", "platform": "", "version": ""}
        if find_function(session, INFO) is not None:
            info |= _info(session)
        runtimes = {kind: _runtime_in_use(session, kind) for kind in KINDS}
        found = {kind: _devices(session, kind, runtimes[kind]) for kind in KINDS}
        return Board(
            **{name: info[name] for name in ("machine", "platform", "version")},
            **runtimes,
            why=found["opencl"][1],
            why_no_vulkan=found["vulkan"][1],
            devices=found["opencl"][0] + found["vulkan"][0],
            round_trip_s=_round_trip_s(session),
        )


def _devices(session: tvm.rpc.RPCSession, kind: str, runtime: str) -> tuple[tuple[dict[str, Any], ...], str]:
    if runtime != "own":
        found = _stock_devices(session, kind) if runtime == "tvm" else ()
        return found, "" if found else _why_none(kind, runtime)
    ours = {n: session.get_function(f"tvm_coexec.{kind}.{n}") for n in ("why_unavailable", "devices", "waiting")}
    reason = ours["why_unavailable"]()
    if reason:
        return (), reason
    return _own_devices(session, kind, ours), ""


def _own_devices(
    session: tvm.rpc.RPCSession, kind: str, ours: dict[str, Callable[..., Any]]
) -> tuple[dict[str, Any], ...]:
    found = [{"kind": kind, **fields} for fields in json.loads(ours["devices"]())]
    session.get_function("tvm_coexec.opencl.trace_start")()  # measures the clocks
    clocks = json.loads(session.get_function("tvm_coexec.opencl.trace_take")())["clocks"]
    uncertainty = {c["device"]: c["uncertainty_ns"] for c in clocks}
    for device in found:
        device["wait"] = json.loads(ours["waiting"](device["id"]))
        device["clock_ns"] = uncertainty.get(_FIRST_IN_TRACES[kind] + device["id"])
    return tuple(found)


def _stock_devices(session: tvm.rpc.RPCSession, kind: str) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    while (device := session.device(kind, len(found))).exist:
        name = {"kind": kind, "id": len(found), "name": str(device.device_name)}
        name |= {"version": str(device.compute_version)}
        found.append(name | {"memory_mode": "stock", "compute_units": device.multi_processor_count})
    return tuple(found)


def _round_trip_s(session: tvm.rpc.RPCSession) -> float:
    best = float("inf")
    for _ in range(PINGS):
        start = time.perf_counter()
        find_function(session, INFO)  # asks the server each time
        best = min(best, time.perf_counter() - start)
    return best
