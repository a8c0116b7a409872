"""The caller's own memory as a module's inputs and outputs.

`set_input_zero_copy` and `set_output_zero_copy` of a graph executor take NDArrays; these functions make NDArrays of
numpy's memory and the other way round, without copying.
"""

from __future__ import annotations

import numpy as np
import tvm

from tvm_coexec.core.errors import CoExecError

__all__ = ["as_numpy", "empty", "from_numpy"]


def alignment() -> int:
    """Bytes at a multiple of which compiled functions expect a tensor to begin."""
    return int(tvm.tir.decl_buffer((1,)).data_alignment)


def empty(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """A numpy array with arbitrary content that `from_numpy` takes.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
    """
    return as_numpy(tvm.nd.empty(shape, dtype))


def from_numpy(array: np.ndarray) -> tvm.nd.NDArray:
    """A CPU NDArray over a numpy array's memory, which lives as long as either of them.

    Parameters
    ----------
    array : numpy.ndarray
        In C order, writable, beginning where TVM expects it: `empty` makes such arrays.

    Returns
    -------
    NDArray

    Raises
    ------
    CoExecError
        When the memory can't be used as it is; `tvm.nd.array` makes a copy.
    """
    copy = "; tvm.nd.array(...) makes a copy that can, tvm_coexec.empty(...) an array to write into"
    if not array.flags.c_contiguous:
        raise CoExecError(f"the array of shape {array.shape} is not in C order, so TVM cannot use its memory{copy}")
    if not array.flags.writeable:
        raise CoExecError(f"the array of shape {array.shape} is read-only, so TVM cannot use its memory{copy}")
    if array.ctypes.data % alignment():
        raise CoExecError(
            f"the array of shape {array.shape} does not begin at a multiple of {alignment()} bytes, so TVM cannot use "
            f"its memory{copy}"
        )
    made = _share(array)
    if made is None or made.dtype != array.dtype.name:
        raise CoExecError(f"TVM cannot use an array of {array.dtype} as it is{copy}")
    return made


def _share(array: np.ndarray) -> tvm.nd.NDArray | None:
    """The NDArray over an array's memory; `None` for a type that TVM or DLPack lacks."""
    if array.dtype.kind in "iuf":
        return tvm.nd.from_dlpack(array.__dlpack__())
    if array.dtype.kind != "b":
        return None
    try:  # numpy gives away no bools
        return tvm.nd.from_dlpack(array.view("uint8").__dlpack__())._create_view(array.shape, "bool")
    except TypeError:  # before TVM 0.17 views have the type of what they are views of
        return None


class _Memory:
    """An NDArray in the form in which numpy takes others' memory to read and write (`numpy.from_dlpack` only reads)."""

    def __init__(self, array: tvm.nd.NDArray):
        self.array = array  # numpy keeps this object, and so the memory
        address = array.handle.contents.data + array.handle.contents.byte_offset
        type_text = np.dtype(array.dtype).str
        self.__array_interface__ = {"shape": array.shape, "typestr": type_text, "data": (address, False), "version": 3}


def as_numpy(array: tvm.nd.NDArray) -> np.ndarray:
    """A numpy array over a CPU NDArray's memory, which lives as long as either of them.

    Parameters
    ----------
    array : NDArray
        On the CPU: an input or output of a module (`get_input`, `get_output`), for example. An output is overwritten
        by the module's next run.

    Raises
    ------
    CoExecError
        When the array is on another device.
    """
    if array.device.device_type != tvm.cpu().device_type:
        raise CoExecError(f"an array on {array.device} has no memory that numpy can see; its numpy() makes a copy")
    return np.asarray(_Memory(array))
