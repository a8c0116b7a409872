"""Views of device memory, and modules whose functions work on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def storage_view(array: tvm.nd.NDArray, offset: int, nbytes: int, on_cpu: bool) -> tvm.nd.NDArray:
    """Return a range of an array's memory as an array of uint8.

    Parameters
    ----------
    array : NDArray
        On the CPU or an OpenCL device; the view keeps its memory alive.
    offset, nbytes : int
        Bytes from the start of the memory, and length of the view.
    on_cpu : bool
        Whether the view of an OpenCL array is a CPU array (any memory mode except ``buffer``).

    Returns
    -------
    NDArray
    """
    return call("storage_view", array, offset, nbytes, int(on_cpu))


def host_block(nbytes: int, device: int = 0) -> tvm.nd.NDArray:
    """Return host memory (uint8) that is freed only when no download of the OpenCL device is in flight.

    Parameters
    ----------
    nbytes : int
    device : int

    Returns
    -------
    NDArray
        On the CPU.
    """
    return call("host_block", nbytes, device)


def sync_module(library: tvm.runtime.Module, launching: Iterable[str]) -> tvm.runtime.Module:
    """Return a module that adds the functions of `executor.memory.rewrite` (``coexec_join``, ...) to a library.

    Parameters
    ----------
    library : Module
        The compiled functions.
    launching : iterable of str
        Names of the library's functions that launch kernels: the runtime passes them the sizes of their tensors, since
        several tensors may share one allocation.

    Returns
    -------
    Module
    """
    return call("sync_point_module", library, " ".join(sorted(launching)))


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
