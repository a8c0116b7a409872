"""Views of device memory, and modules of hand-written kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .load import call

if TYPE_CHECKING:
    import tvm


def host_view(array: tvm.nd.NDArray) -> tvm.nd.NDArray:
    """Return a CPU array over the memory of an OpenCL array (any memory mode except ``buffer``).

    Either array keeps the memory alive. Copying one onto the other moves no bytes: a copy to the CPU waits for the
    kernel that wrote the array, a copy to the device makes the CPU's changes visible there.

    Parameters
    ----------
    array : NDArray
        On an OpenCL device.

    Returns
    -------
    NDArray
        On the CPU.

    Raises
    ------
    CoExecError
        In memory mode ``buffer``.
    """
    return call("host_view", array)


def source_module(
    source: str, name: str, arg_types: Sequence[str], launch_tags: Sequence[str] = ("blockIdx.x", "threadIdx.x")
) -> tvm.runtime.Module:
    """Return a module with one kernel of hand-written OpenCL C.

    ``module[name]`` takes the arguments (OpenCL arrays for handles) and then one number per launch tag: the number of
    work-groups or work-items along that axis.

    Parameters
    ----------
    source : str
        OpenCL C with ``__kernel void name(...)``. Compiled at the first launch.
    name : str
    arg_types : sequence of str
        ``"handle"`` for pointers, else the type of the scalar, such as ``"int32"`` or ``"float16"``.
    launch_tags : sequence of str
        Among ``blockIdx.{x,y,z}`` and ``threadIdx.{x,y,z}``.

    Returns
    -------
    Module
    """
    return call("source_module", source, name, " ".join(arg_types), " ".join(launch_tags))
