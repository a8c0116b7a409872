"""Find, load and call the OpenCL runtime's library (C++ in ``runtime/``)."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tvm_coexec import hooks
from tvm_coexec.core.errors import CoExecError

from .global_functions import call_function, find_function

LIBRARY_NAME = "libtvm_coexec_runtime.so"
VARIABLE = "TVM_COEXEC_OPENCL"

_log = logging.getLogger("tvm_coexec")
_global, _call = partial(find_function, "opencl"), partial(call_function, "opencl")


@dataclass
class _State:
    """What `install` found out; one per process."""

    loaded: bool = False
    error: str | None = None
    library: ctypes.CDLL | None = None


_state = _State()


def library_path() -> Path:
    """Return the path at which the installed package has the runtime's library."""
    return Path(__file__).resolve().parents[1] / "lib" / LIBRARY_NAME


def install() -> bool:
    """Load the runtime's library, which registers it with the imported TVM. Idempotent; never raises.

    Where TVM has an OpenCL runtime of its own, ``TVM_COEXEC_OPENCL`` chooses (see `use`); by default this package's
    serves OpenCL devices, unless TVM's own has been used in this process already, which is logged.

    Returns
    -------
    bool
        Whether TVM has an OpenCL runtime then. That does not imply a usable device: see `why_unavailable`.
    """
    if not _state.loaded:
        _state.loaded = True
        _state.error = _register()
        if _state.error is not None:
            asked = VARIABLE in os.environ and VARIABLE in _state.error
            _log.log(logging.WARNING if asked else logging.DEBUG, "there is no OpenCL runtime: %s", _state.error)
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
    if _global("runtime") is not None:  # an RPC server loaded the library, or this module is loaded a second time
        return None
    tvm_has_opencl = tvm.get_global_func("device_api.opencl", allow_missing=True) is not None
    path = library_path()
    if not path.exists():
        if tvm_has_opencl:
            _log.warning("TVM's own OpenCL runtime is used: this package's is not built, build it with `make runtime`")
            return None
        return f"the OpenCL runtime's library is missing ({path}): build it with `pip install .` or `make setup`"
    early = tvm_has_opencl and _has_opencl_module()
    try:
        _make_tvm_symbols_global()
        library = ctypes.CDLL(str(path))
    except OSError as err:
        if tvm_has_opencl:
            _log.warning("TVM's own OpenCL runtime is used: this package's cannot be loaded: %s", err)
            return None
        return f"the OpenCL runtime's library cannot be loaded: {err}"
    library.tvm_coexec_runtime_register.restype = ctypes.c_char_p
    reason = library.tvm_coexec_runtime_register()
    _state.library = library
    if reason is not None:
        return reason.decode()
    if _global("runtime") is None:
        return f"the OpenCL runtime's library ({path}) is of another version: build it again with `make runtime`"
    if early and is_ours():
        _call("use", "tvm")
        _log.warning("TVM's own OpenCL runtime is used: %s", _MODULE_EXISTS)
    elif not is_ours() and os.environ.get(VARIABLE) != "tvm":
        _log.warning("TVM's own OpenCL runtime is used: %s", _call("why_not_own"))
    return None


_MODULE_EXISTS = (
    "an OpenCL module of TVM's own runtime exists in this process: import tvm_coexec before loading or building modules"
)


def _has_opencl_module() -> bool:
    """Whether Python holds a module with OpenCL kernels: it would take this runtime's memory for TVM's."""
    import tvm

    def has_kernels(module: tvm.runtime.Module) -> bool:
        return module.type_key == "opencl" or any(map(has_kernels, module.imported_modules))

    return any(has_kernels(o) for o in gc.get_objects() if isinstance(o, tvm.runtime.Module) and o.handle)


def use(name: str) -> None:
    """Choose the OpenCL runtime, in a TVM that has its own; as does the environment variable ``TVM_COEXEC_OPENCL``.

    Parameters
    ----------
    name : {"own", "tvm"}
        This package's runtime, or TVM's own. The choice is final once an OpenCL array or module exists.

    Raises
    ------
    CoExecError
        If the choice is impossible, or too late.
    """
    if name == "own" and not is_ours() and _global("use") is not None and _has_opencl_module():
        raise CoExecError(f"this package's OpenCL runtime can't be used: {_MODULE_EXISTS}")
    if _global("use") is None:
        raise CoExecError(_state.error or "this package's OpenCL runtime is not loaded: build it with `make runtime`")
    _call("use", name)


def runtime_name() -> str | None:
    """Return whose OpenCL runtime serves opencl devices: ``own``, ``tvm``, or `None` where there is none."""
    if not ensure_installed():
        return None
    return "tvm" if _global("runtime") is None else _call("runtime")


def _make_tvm_symbols_global() -> None:
    """Make libtvm's symbols visible to libraries that are loaded later, whatever flags tvm itself was loaded with."""
    from tvm._ffi.base import _LIB

    if name := getattr(_LIB, "_name", None):
        ctypes.CDLL(name, ctypes.RTLD_GLOBAL)


def copies_block() -> bool:
    """Return whether this package's runtime makes copies as TVM's own does (``TVM_COEXEC_OPENCL_COPIES``)."""
    return os.environ.get("TVM_COEXEC_OPENCL_COPIES") == "blocking"


def why_unavailable() -> str | None:
    """Return the reason why TVM cannot use an OpenCL device here, as one sentence; None if it can.

    Opens the OpenCL drivers at the first call.

    Returns
    -------
    str or None
    """
    if not ensure_installed():
        return _state.error
    if is_ours():
        return call("why_unavailable") or None
    import tvm

    return None if tvm.opencl(0).exist else "TVM's own OpenCL runtime finds no device"


def why_not_loaded() -> str:
    """Return why the runtime's library is not loaded; empty if it is."""
    return _state.error or ""


def is_ours() -> bool:
    """Return whether the OpenCL runtime in use is this package's, not TVM's own, with or without a device."""
    return runtime_name() == "own"


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
    return f"{what}: " + (_state.error or _why_not_own())


def _why_not_own() -> str:
    why = "" if _global("why_not_own") is None else _call("why_not_own")
    return f"TVM's own OpenCL runtime is in use here{why and f' ({why})'}, which lacks this; set {VARIABLE}=own"


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
    if not ensure_installed():
        raise CoExecError(_state.error)
    if not is_ours():
        raise CoExecError(why_not_ours(f"'{name}' of this package's OpenCL runtime is not available"))
    return _call(name, *args)
