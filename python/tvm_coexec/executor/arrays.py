"""The caller's own memory as a module's inputs and outputs.

`set_input_zero_copy` and `set_output_zero_copy` of a graph executor take NDArrays; these functions convert between
NDArrays and numpy arrays without copying.
"""

from __future__ import annotations

import numpy as np
import tvm

from tvm_coexec.core.errors import CoExecError

__all__ = ["as_numpy", "empty", "from_numpy"]


def alignment() -> int:
    """Return the alignment, in bytes, that compiled functions expect of a tensor's address."""
    return int(tvm.tir.decl_buffer((1,)).data_alignment)


def empty(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Return an uninitialised numpy array that `from_numpy` accepts.

    Parameters
    ----------
    shape : tuple of int
    dtype : str

    Returns
    -------
    numpy.ndarray
    """
    return as_numpy(tvm.nd.empty(shape, dtype))


def from_numpy(array: np.ndarray) -> tvm.nd.NDArray:
    """Return a CPU NDArray over a numpy array's memory, which lives as long as either of them.

    Parameters
    ----------
    array : numpy.ndarray
        In C order, writable, and aligned as TVM expects: `empty` makes such arrays.

    Returns
    -------
    NDArray

    Raises
    ------
    CoExecError
        If TVM cannot use the memory; `tvm.nd.array` makes a copy.
    """
    if not isinstance(array, np.ndarray):
        raise CoExecError(
            f"TVM can use the memory of a numpy array only, not of a {type(array).__name__}: copy it with "
            "tvm.nd.array(...)"
        )
    copy = "; copy it with tvm.nd.array(...), or write into an array from tvm_coexec.empty(...)"
    if not array.flags.c_contiguous:
        raise CoExecError(f"the array of shape {array.shape} is not in C order, so TVM cannot use its memory{copy}")
    if not array.flags.writeable:
        raise CoExecError(f"the array of shape {array.shape} is read-only, so TVM cannot use its memory{copy}")
    if array.ctypes.data % alignment():
        raise CoExecError(
            f"the array of shape {array.shape} is not aligned to {alignment()} bytes, so TVM cannot use its memory"
            f"{copy}"
        )
    made = _share(array)
    if made is None or made.dtype != array.dtype.name:
        raise CoExecError(f"TVM cannot use the memory of an array of {array.dtype}{copy}")
    return made


def _share(array: np.ndarray) -> tvm.nd.NDArray | None:
    """Return an NDArray over an array's memory; `None` for a type that TVM or DLPack lacks."""
    if array.dtype.kind in "iuf":
        return tvm.nd.from_dlpack(array.__dlpack__())
    if array.dtype.kind != "b":
        return None
    try:  # numpy exports no bool arrays by DLPack
        return tvm.nd.from_dlpack(array.view("uint8").__dlpack__())._create_view(array.shape, "bool")
    except TypeError:  # before TVM 0.17 a view has its array's type
        return None


class _Memory:
    """An NDArray with numpy's array interface, which allows writing; an array of `numpy.from_dlpack` is read-only."""

    def __init__(self, array: tvm.nd.NDArray):
        self.array = array  # numpy holds a reference to this object, which keeps the memory alive
        address = array.handle.contents.data + array.handle.contents.byte_offset
        type_text = np.dtype(array.dtype).str
        self.__array_interface__ = {"shape": array.shape, "typestr": type_text, "data": (address, False), "version": 3}


def as_numpy(array: tvm.nd.NDArray) -> np.ndarray:
    """Return a numpy array over a CPU NDArray's memory, which lives as long as either of them.

    Parameters
    ----------
    array : NDArray
        On the CPU, such as an input or output of a module (`get_input`, `get_output`). An output is overwritten by the
        module's next run.

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    CoExecError
        If the array is on another device.
    """
    if array.device.device_type != tvm.cpu().device_type:
        raise CoExecError(
            f"numpy cannot access the memory of an array on {array.device}; its method numpy() makes a copy"
        )
    return np.asarray(_Memory(array))
