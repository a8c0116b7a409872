"""The runtime library's global functions in TVM, ``tvm_coexec.opencl.*`` and ``tvm_coexec.vulkan.*``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_coexec.core.errors import CoExecError, one_line


def find_function(api: str, name: str) -> Callable[..., Any] | None:
    """Return a function; `None` where the library is not loaded.

    Parameters
    ----------
    api : str
        ``opencl`` or ``vulkan``.
    name : str
    """
    import tvm

    return tvm.get_global_func(f"tvm_coexec.{api}.{name}", allow_missing=True)


def call_function(api: str, name: str, *args: Any) -> Any:
    """Call a function of the library, which is loaded.

    Raises
    ------
    CoExecError
        If the function fails; one sentence.
    """
    import tvm

    function = find_function(api, name)
    assert function is not None, name
    try:
        return function(*args)
    except tvm.TVMError as err:
        raise CoExecError(one_line(err)) from err
