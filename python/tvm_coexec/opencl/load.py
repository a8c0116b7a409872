"""Find, load and call the OpenCL runtime's library (C++ in ``runtime/``)."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_coexec import hooks
from tvm_coexec.core.errors import CoExecError, one_line

LIBRARY_NAME = "libtvm_coexec_runtime.so"

_log = logging.getLogger("tvm_coexec")


@dataclass
class _State:
    """What `install` found out; one per process."""

    loaded: bool = False
    ours: bool = False  # our runtime is the registered one, not TVM's
    error: str | None = None
    library: ctypes.CDLL | None = None


_state = _State()


def library_path() -> Path:
    """Return the path at which the installed package has the runtime's library."""
    return Path(__file__).resolve().parents[1] / "lib" / LIBRARY_NAME


def install() -> bool:
    """Register the OpenCL runtime with the imported TVM, unless it has its own. Idempotent; never raises.

    Returns
    -------
    bool
        Whether ``device_api.opencl`` is registered. That does not imply a usable device: see `why_unavailable`.
    """
    if not _state.loaded:
        _state.loaded = True
        _state.error = _register()
        if _state.error is not None:
            _log.debug("OpenCL runtime not registered: %s", _state.error)
    return _state.error is None


def ensure_installed() -> bool:
    """Install on first use, unless the hook is switched off; return whether ``device_api.opencl`` is registered."""
    if not _state.loaded and not hooks.enabled("opencl"):
        _state.error = f"the hook 'opencl' is switched off by {hooks.VARIABLE}"
        return False
    return install()


def _register() -> str | None:
    try:
        import tvm
    except ImportError as err:
        return f"tvm cannot be imported ({err})"
    if tvm.get_global_func("device_api.opencl", allow_missing=True) is not None:
        # Registered by TVM itself, or by us if this module was loaded a second time.
        _state.ours = tvm.get_global_func("tvm_coexec.opencl.stats", allow_missing=True) is not None
        return None
    path = library_path()
    if not path.exists():
        return f"the OpenCL runtime's library is missing ({path}): build it with `pip install .` or `make setup`"
    try:
        _make_tvm_symbols_global()
        library = ctypes.CDLL(str(path))
    except OSError as err:
        return f"the OpenCL runtime's library cannot be loaded: {err}"
    library.tvm_coexec_runtime_register.restype = ctypes.c_char_p
    reason = library.tvm_coexec_runtime_register()
    _state.library = library
    _state.ours = reason is None
    return None if reason is None else reason.decode()


def _make_tvm_symbols_global() -> None:
    """Make libtvm's symbols visible to libraries that are loaded later, whatever flags tvm itself was loaded with."""
    from tvm._ffi.base import _LIB

    if name := getattr(_LIB, "_name", None):
        ctypes.CDLL(name, ctypes.RTLD_GLOBAL)


def why_unavailable() -> str | None:
    """Return the reason why TVM cannot use an OpenCL device here, as one sentence; None if it can.

    Opens the OpenCL drivers at the first call.

    Returns
    -------
    str or None
    """
    if not ensure_installed():
        return _state.error
    if _state.ours:
        return call("why_unavailable") or None
    import tvm

    return None if tvm.opencl(0).exist else "TVM's own OpenCL runtime finds no device"


def is_ours() -> bool:
    """Return whether the OpenCL runtime in use is this package's, not TVM's own, with or without a device."""
    return ensure_installed() and _state.ours


def why_not_ours(what: str) -> str:
    """Return the text of an error for the case that `is_ours` is false.

    Parameters
    ----------
    what : str
        What is impossible then, such as ``a run can't be traced``.

    Returns
    -------
    str
        `what`, and the reason.
    """
    return f"{what}: " + (
        _state.error or "TVM's own OpenCL runtime is in use here, which records nothing; use a TVM built without OpenCL"
    )


def call(name: str, *args: Any) -> Any:
    """Call a global function of this package's runtime.

    Parameters
    ----------
    name : str
        After the prefix ``tvm_coexec.opencl.``.
    *args
        As TVM's packed functions take them.

    Returns
    -------
    Any
        What the function returns.

    Raises
    ------
    CoExecError
        If the runtime is not in use, or if the function fails; one sentence.
    """
    import tvm

    if not ensure_installed():
        raise CoExecError(_state.error)
    if not _state.ours:
        raise CoExecError(
            f"'{name}' of this package's OpenCL runtime is not available with TVM's own one; "
            "use a TVM built without OpenCL"
        )
    function: Callable[..., Any] = tvm.get_global_func(f"tvm_coexec.opencl.{name}")
    try:
        return function(*args)
    except tvm.TVMError as err:
        raise CoExecError(one_line(err)) from err
