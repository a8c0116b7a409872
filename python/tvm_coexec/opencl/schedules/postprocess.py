"""The callback to which TVM gives the source of every OpenCL kernel, for devices that run on CPU cores."""

from __future__ import annotations

from collections.abc import Callable

import tvm
from tvm.target import Target

from .device import device_traits
from .functions import with_vectorisable_functions
from .indices import with_long_indices

NAME = "tvm_callback_opencl_postproc"


class PostProcess:
    """The post-processing callback, which TVM calls with the source of every generated OpenCL kernel.

    Parameters
    ----------
    before : callable or None
        The callback registered before; it is called first.
    """

    def __init__(self, before: Callable[[str, Target], str] | None):
        self.before = before

    def __call__(self, source: str, target: Target) -> str:
        """Return the source, rewritten if the target means a CPU."""
        if self.before is not None:
            source = self.before(source, target)
        return with_vectorisable_functions(with_long_indices(source)) if device_traits(target).is_cpu else source


_registered: list[PostProcess] = []


def install() -> None:
    """Register the callback. Idempotent."""
    if not _registered:
        _registered.append(PostProcess(tvm.get_global_func(NAME, allow_missing=True)))
        tvm.register_func(NAME, _registered[0].__call__, override=True)


def uninstall() -> None:
    """Remove the callback and restore the one registered before."""
    if _registered:
        before = _registered.pop().before
        if before is not None:
            tvm.register_func(NAME, before, override=True)
        else:
            tvm._ffi.registry.remove_global_func(NAME)
