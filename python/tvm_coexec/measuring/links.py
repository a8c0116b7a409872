"""What it takes to bring data to the other device, and to meet there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np
import tvm
from tvm import relay
from tvm.contrib import graph_executor
from tvm.rpc.base import RPC_SESS_MASK

SIZES_BYTES = (4096, 1 << 16, 1 << 18, 1 << 20, 1 << 22)
SMALL_BYTES = SIZES_BYTES[0]


def link_modules(gpu_type: int) -> Iterator[tuple[str, int, tvm.IRModule]]:
    """Copies as a co-executed module has them, to be built for both devices: link, bytes, module.

    The graph executor copies where the devices are, so this also works behind RPC. The last one, ``meeting``, brings a
    small tensor to the GPU, through a kernel, and back.
    """
    cpu, gpu = tvm.cpu(0), tvm.runtime.Device(gpu_type, 0)
    for nbytes in SIZES_BYTES:
        x = relay.var("x", shape=(nbytes // 4,))
        yield "upload", nbytes, _module(x, relay.device_copy(x, cpu, gpu))
        yield "download", nbytes, _module(x, relay.device_copy(x, gpu, cpu))
        yield "host_copy", nbytes, _module(x, relay.copy(x))
    x = relay.var("x", shape=(SMALL_BYTES // 4,))
    there = relay.nn.relu(relay.device_copy(x, cpu, gpu))
    yield "meeting", SMALL_BYTES, _module(x, relay.device_copy(there, gpu, cpu))


def _module(x: relay.Var, body: relay.Expr) -> tvm.IRModule:
    return tvm.IRModule.from_expr(relay.Function([x], body))


def reference_module() -> tvm.IRModule:
    """A kernel of about a millisecond on a small device, to see how fast it is at the moment."""
    x = relay.var("x", shape=(1, 64, 28, 28))
    weight = relay.const(np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype("float32"))
    return _module(x, relay.nn.conv2d(x, weight, padding=(1, 1), channels=64, kernel_size=(3, 3)))


def meeting_module() -> tvm.IRModule:
    """A kernel so small that a round trip through it is all meeting."""
    x = relay.var("x", shape=(SMALL_BYTES // 4,))
    return _module(x, relay.nn.relu(x))


# A chain begins with a few kernels for a GPU that has nothing to do, from a CPU that did something else.
ENQUEUES, ENQUEUE_REPEATS, PAUSE_S = 3, 50, 1e-3


def enqueue_s(module: graph_executor.GraphModule, gpu: tvm.runtime.Device, cpu: tvm.runtime.Device) -> float:
    """Seconds that the CPU spends on handing a kernel to the GPU, without waiting for it.

    Parameters
    ----------
    module : GraphModule
        Of `meeting_module`, on the GPU. Behind RPC the caller's clock would count the network: there the device's CPU
        is timed right after it has done the same, which takes less.
    """
    found = []
    for _ in range(ENQUEUE_REPEATS):
        gpu.sync()
        time.sleep(PAUSE_S)
        if cpu.device_type >= RPC_SESS_MASK:  # the CPU's clock does not wait for the GPU's queue
            timer = module.module.time_evaluator("run", cpu, number=ENQUEUES, repeat=1)
            found.append(float(timer().results[0]))
            continue
        start = time.perf_counter()
        for _ in range(ENQUEUES):
            module.run()
        found.append((time.perf_counter() - start) / ENQUEUES)
    return statistics.median(found)
