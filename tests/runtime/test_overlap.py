"""Concurrency of kernels, copies and the host.

No clock is needed: a kernel spins until the host sets a flag in memory that both see. So everything that the host does
before is done while the kernel runs, or it never returns (and the time limit of the process strikes).
"""

from __future__ import annotations

import pytest

from tests.runtime import process

PRELUDE = """
import ctypes
import numpy as np, tvm
from tvm_coexec.opencl import runtime
dev = tvm.opencl(0)
source = '''
__kernel void spin(volatile __global int* flag, __global float* in, __global float* out) {
  while (flag[0] == 0) { }
  out[0] = in[0] + 1.0f;
}
__kernel void add(__global float* a, __global float* b, __global float* c) {
  int i = get_global_id(0);
  c[i] = a[i] + b[i];
}
'''
spin = runtime.source_module(source, "spin", ["handle"] * 3)["spin"]
add = runtime.source_module(source, "add", ["handle"] * 3)["add"]
def read(x):  # as a graph executor's device_copy does; NDArray.numpy() would wait for the whole device
    return float(x.copyto(tvm.cpu()).numpy()[0])
def array(value, n=64):
    return tvm.nd.array(np.full(n, value, "float32"), dev)
flag = tvm.nd.array(np.ones(1, "int32"), dev)
view = runtime.host_view(flag)
cell = ctypes.c_int32.from_address(view.handle.contents.data)
a, b, c, d, out = array(1), array(2), array(0), array(0), array(0)
spin(flag, a, out, 1, 1)  # compiled now
add(a, b, c, 1, 64)
dev.sync()
cell.value = 0
"""
FINE = {"TVM_COEXEC_OPENCL_MEMORY": "fine"}


def run(code: str) -> object:
    return process.run(PRELUDE + code, timeout_s=60, **FINE)


@pytest.fixture(autouse=True)
def device_shares_memory() -> None:
    from tvm_coexec.opencl import runtime

    device = runtime.devices()[0]
    if device.memory_mode != "fine" or device.type != "cpu":
        pytest.skip(f"{device.name} does not see the host's writes while a kernel runs")


@pytest.mark.opencl
def test_launch_upload_and_download_while_a_kernel_runs() -> None:
    got = run("""
spin(flag, a, out, 1, 1)                       # launched, and runs until the flag is set
tvm.nd.array(np.full(64, 5, "float32")).copyto(d)   # an upload to memory that it does not use
first = read(d)                    # a download of that
second = read(c)                   # of what an earlier kernel wrote
third = read(a)                    # of what the running kernel reads
stats = runtime.stats()
cell.value = 1
report([first, second, third, read(out), stats["uploads_staged"]])
""")
    assert got == [5, 3, 1, 2, 0]


@pytest.mark.opencl
def test_download_waits_for_the_writer_and_not_for_later_readers() -> None:
    got = run("""
add(a, a, c, 1, 64)
spin(flag, c, out, 1, 1)  # reads c, after the kernel that wrote it
early = read(c)
cell.value = 1
report([early, read(out)])
""")
    assert got == [2, 3]


@pytest.mark.opencl
def test_upload_over_what_a_running_kernel_reads_is_put_aside() -> None:
    got = run("""
spin(flag, a, out, 1, 1)
tvm.nd.array(np.full(64, 50, "float32")).copyto(a)
staged = runtime.stats()["uploads_staged"]
cell.value = 1
report([staged, read(out), read(a)])
""")
    assert got == [1, 2, 50]


@pytest.mark.opencl
def test_download_of_the_running_kernels_result_waits() -> None:
    got = run("""
import threading
spin(flag, a, out, 1, 1)
done = threading.Event()
values = []
def wait_and_read():
    values.append(read(out))
    done.set()
reader = threading.Thread(target=wait_and_read)
reader.start()
before = done.wait(0.2)  # it cannot be done: the kernel can't end before the flag is set
cell.value = 1
reader.join()
report([before, values[0]])
""")
    assert got == [False, 2]


@pytest.mark.opencl
def test_copies_in_shared_memory_wait_only_for_the_writer() -> None:
    got = run("""
add(a, b, c, 1, 64)
c_view = runtime.host_view(c)
spin(flag, a, out, 1, 1)
c.copyto(c_view)
early = float(c_view.numpy()[0])
cell.value = 1
report([early, runtime.stats()["copies_elided"]])
""")
    assert got == [3, 1]


@pytest.mark.opencl
def test_free_waits_for_the_kernel_that_uses_the_memory() -> None:
    got = run("""
import threading
e = array(9)
spin(flag, e, out, 1, 1)
threading.Timer(0.2, lambda: setattr(cell, "value", 1)).start()
del e  # comes back when the kernel has ended, not before
report([cell.value, read(out)])
""")
    assert got == [1, 10]


@pytest.mark.opencl
def test_kernels_may_still_run_when_the_process_ends() -> None:
    got = run("""
import threading
spin(flag, a, out, 1, 1)
threading.Timer(0.2, lambda: setattr(cell, "value", 1)).start()
report("launched")
""")
    assert got == "launched"


@pytest.mark.opencl
def test_worker_threads_are_not_confined_to_the_main_threads_core() -> None:
    code = """
import os
before = sorted(os.sched_getaffinity(0))
import tvm
from tvm_coexec.opencl import runtime
os.sched_setaffinity(0, {before[-1]})  # as TVM does when its thread pool starts
tvm.opencl(0).exist
masks = [sorted(os.sched_getaffinity(int(t))) for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
report([before, masks])
"""
    before, masks = process.run(code, POCL_AFFINITY="0", TVM_NUM_THREADS="1")
    if len(before) == 1:
        pytest.skip("this machine has one core")
    assert masks and before in masks
