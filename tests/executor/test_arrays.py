"""NDArrays over numpy's memory, and numpy arrays over NDArrays."""

from __future__ import annotations

import gc

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

import tvm_coexec  # noqa: E402
from tvm_coexec.core.errors import CoExecError  # noqa: E402
from tvm_coexec.executor import arrays  # noqa: E402


@pytest.mark.parametrize("dtype", ["float32", "int8", "float64", "uint16", "float16", "int64", "bool"])
def test_conversions_share_memory(dtype):
    mine = tvm_coexec.empty((3, 5), dtype)
    assert mine.shape == (3, 5) and mine.dtype == dtype and mine.ctypes.data % arrays.alignment() == 0
    mine[:] = 0
    theirs = tvm_coexec.from_numpy(mine)
    mine[1, 2] = 1
    assert theirs.numpy()[1, 2] == 1 and theirs.dtype == dtype
    tvm_coexec.as_numpy(theirs)[2, 4] = 1
    assert mine[2, 4] == 1 and mine.astype("int64").sum() == 2


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), ()])
@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_without_elements_and_without_dimensions(shape, dtype):
    theirs = tvm_coexec.from_numpy(tvm_coexec.empty(shape, dtype))
    assert theirs.shape == shape and theirs.dtype == dtype and tvm_coexec.as_numpy(theirs).shape == shape


def test_memory_lives_as_long_as_either():
    mine = tvm_coexec.empty((1000,))
    mine[:] = np.arange(1000)
    view = tvm_coexec.as_numpy(tvm_coexec.from_numpy(mine))
    del mine
    gc.collect()
    np.testing.assert_array_equal(view, np.arange(1000))


def test_a_view_of_an_ndarray_that_is_a_part_of_another():
    whole = tvm.nd.array(np.arange(64, dtype="float32"))
    part = whole._create_view((4, 4))
    tvm_coexec.as_numpy(part)[0, 1] = -1
    assert whole.numpy()[1] == -1


def test_unusable_arrays_raise():
    whole = tvm_coexec.empty((8, 64))
    with pytest.raises(CoExecError, match=r"shape \(64, 8\) is not in C order"):
        tvm_coexec.from_numpy(whole.T)
    with pytest.raises(CoExecError, match="is not aligned to"):
        tvm_coexec.from_numpy(whole.reshape(-1)[1:])
    with pytest.raises(CoExecError, match="cannot use the memory of an array of complex64"):
        tvm_coexec.from_numpy(whole.view("complex64"))
    with pytest.raises(CoExecError, match="of a numpy array only, not of a list: copy it"):
        tvm_coexec.from_numpy([1, 2])
    whole.flags.writeable = False
    with pytest.raises(CoExecError, match="read-only"):
        tvm_coexec.from_numpy(whole)


@pytest.mark.opencl
def test_device_memory_raises():
    with pytest.raises(CoExecError, match=r"numpy cannot access the memory of an array on opencl\(0\)"):
        tvm_coexec.as_numpy(tvm.nd.empty((4,), "float32", tvm.opencl(0)))
