"""Find wgpu-native's library, and call the Vulkan functions of this package's runtime (C++ in ``runtime/``)."""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from pathlib import Path
from typing import Any

from tvm_coexec import hooks
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import load as opencl_load
from tvm_coexec.opencl.global_functions import call_function, find_function

VARIABLE = "TVM_COEXEC_VULKAN"
_PACKAGE, _LIBRARY = "wgpu", "libwgpu_native-release.so"

_global, _call = partial(find_function, "vulkan"), partial(call_function, "vulkan")
_done: list[bool] = []


def install() -> bool:
    """Register the device and the code generator. Idempotent; never raises.

    Returns
    -------
    bool
        Whether this package's runtime serves Vulkan devices. Where TVM has a Vulkan runtime of its own, it does not.
        That does not imply a usable device: see `why_unavailable`.
    """
    if not _done:
        _done.append(True)
        opencl_load.install()  # one library has both
        if is_ours():
            # Mesa's layer that sorts devices for windows writes to stderr where there is no display.
            os.environ.setdefault("NODEVICE_SELECT", "1")
            if (path := wgpu_library()) is not None:
                _call("set_library", str(path))
            from . import codegen

            codegen.install()
    return is_ours()


def wgpu_library() -> Path | None:
    """Return the library that the Python package ``wgpu`` carries; None if it is not installed."""
    try:
        spec = importlib.util.find_spec(_PACKAGE)
    except (ImportError, ValueError):
        return None
    places = (spec.submodule_search_locations or []) if spec is not None else []
    found = [path for place in places if (path := Path(place, "resources", _LIBRARY)).exists()]
    return found[0] if found else None


def runtime_name() -> str | None:
    """Return whose runtime serves vulkan devices: ``own``, ``tvm``, or `None` where there is none."""
    if not _done and hooks.enabled("vulkan"):
        install()
    if is_ours():
        return "own"
    import tvm

    return "tvm" if tvm.get_global_func("device_api.vulkan", allow_missing=True) is not None else None


def is_ours() -> bool:
    """Return whether the Vulkan runtime in use is this package's, not TVM's own, with or without a device."""
    return _global("runtime") is not None and _call("runtime") == "own"


def why_unavailable() -> str | None:
    """Return the reason why TVM cannot use a Vulkan device here, as one sentence; None if it can.

    Opens the driver at the first call.
    """
    if not _done and not hooks.enabled("vulkan"):
        return f"the hook 'vulkan' is switched off by {hooks.VARIABLE}"
    if runtime_name() is None:
        return opencl_load.why_not_loaded() if _global("why_not_own") is None else _call("why_not_own")
    if is_ours():
        return _call("why_unavailable") or None
    import tvm

    return None if tvm.vulkan(0).exist else "TVM's own Vulkan runtime finds no device"


def why_not_ours(what: str) -> str:
    """Return the text of an error for the case that `is_ours` is false.

    Parameters
    ----------
    what : str
        What is impossible then.
    """
    why = "" if _global("why_not_own") is None else _call("why_not_own")
    return f"{what}: {why or 'the runtime library is not loaded: build it with `make runtime`'}"


def call(name: str, *args: Any) -> Any:
    """Call a global function of this package's runtime.

    Parameters
    ----------
    name : str
        After the prefix ``tvm_coexec.vulkan.``.
    *args
        As TVM's packed functions take them.

    Raises
    ------
    CoExecError
        If the runtime is not in use, or if the function fails; one sentence.
    """
    if runtime_name() != "own":
        raise CoExecError(why_not_ours(f"'{name}' of this package's Vulkan runtime is not available"))
    return _call(name, *args)
