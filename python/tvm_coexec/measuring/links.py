"""Modules and timers for copies between the devices, synchronisation and launch overhead."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relay
from tvm.contrib import graph_executor
from tvm.rpc.base import RPC_SESS_MASK

SIZES_BYTES = (4096, 1 << 16, 1 << 18, 1 << 20, 1 << 22)
SMALL_BYTES = SIZES_BYTES[0]
SMALL_KERNEL = "relu"  # part of the name of the kernel of `small_module`
# Slices that a module makes, and the bytes that they read and write together, at most.
_MOST_SLICES, _MOST_SLICED_BYTES = 16, 1 << 25
_RUNS = 8  # of memory that a slice consists of


class LinkModule(NamedTuple):
    """A module with copies of one link, to be built for both devices.

    Attributes
    ----------
    link : str
        ``upload``, ``download``, ``host_copy``, or ``meeting``: a small tensor is copied to the GPU, which runs a
        kernel, and the result is copied back.
    nbytes, copies : int
        Bytes of a copy, and the number of copies that a run makes.
    module : tvm.IRModule
    """

    link: str
    nbytes: int
    copies: int
    module: tvm.IRModule


def link_modules(gpu_type: int) -> Iterator[LinkModule]:
    """Yield the modules to measure; the last one is the meeting.

    The graph executor runs the copies on the machine of the devices, so this also works over RPC.
    """
    cpu, gpu = tvm.cpu(0), tvm.runtime.Device(gpu_type, 0)
    for nbytes in SIZES_BYTES:
        x = relay.var("x", shape=(nbytes // 4,))
        yield LinkModule("upload", nbytes, 1, _module(x, relay.device_copy(x, cpu, gpu)))
        yield LinkModule("download", nbytes, 1, _module(x, relay.device_copy(x, gpu, cpu)))
        yield _slices(nbytes)
    x = relay.var("x", shape=(SMALL_BYTES // 4,))
    on_gpu = relay.nn.relu(relay.device_copy(x, cpu, gpu))
    yield LinkModule("meeting", SMALL_BYTES, 1, _module(x, relay.device_copy(on_gpu, gpu, cpu)))


def _slices(nbytes: int) -> LinkModule:
    """Return slices of different tensors.

    A run of one slice would find its tensor in the cache nearest to the core, which in a network other kernels have
    filled since.
    """
    copies = max(2, min(_MOST_SLICES, _MOST_SLICED_BYTES // (3 * nbytes)))
    run = nbytes // 4 // _RUNS
    tensors = [relay.var(f"x{i}", shape=(_RUNS, 2 * run)) for i in range(copies)]
    halves = relay.Tuple([relay.strided_slice(x, [0, 0], [_RUNS, run]) for x in tensors])
    return LinkModule("host_copy", nbytes, copies, tvm.IRModule.from_expr(relay.Function(tensors, halves)))


def _module(x: relay.Var, body: relay.Expr) -> tvm.IRModule:
    return tvm.IRModule.from_expr(relay.Function([x], body))


def reference_module() -> tvm.IRModule:
    """Return the reference kernel, of about a millisecond on a small device."""
    x = relay.var("x", shape=(1, 64, 28, 28))
    weight = relay.const(np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype("float32"))
    return _module(x, relay.nn.conv2d(x, weight, padding=(1, 1), channels=64, kernel_size=(3, 3)))


def small_module() -> tvm.IRModule:
    """Return a kernel so small that a round trip through it takes the time of copies and synchronisation."""
    x = relay.var("x", shape=(SMALL_BYTES // 4,))
    return _module(x, relay.nn.relu(x))


def time_from_idle(module: graph_executor.GraphModule, cpu: tvm.runtime.Device) -> float:
    """Return the seconds of a run that finds an idle GPU: the driver's threads sleep, as they do in a network.

    Parameters
    ----------
    module : GraphModule
        That ends when its results are in the CPU's memory.
    cpu : Device
        Over RPC the caller's clock would include the network, so there the device's CPU takes the time.
    """
    if cpu.device_type >= RPC_SESS_MASK:
        pause_ms = round(PAUSE_S * 1e3)
        timer = module.module.time_evaluator(
            "run", cpu, number=1, repeat=COPY_REPEATS, cooldown_interval_ms=pause_ms, repeats_to_cooldown=1
        )
        return statistics.median(float(s) for s in timer().results)
    found = []
    for _ in range(COPY_REPEATS):
        busy_until = time.perf_counter() + PAUSE_S
        while time.perf_counter() < busy_until:  # the host works; its own thread must not sleep
            pass
        start = time.perf_counter()
        module.run()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


COPY_REPEATS = 50
# As at the start of a chain: a few kernels for an idle GPU, from a CPU that did other work.
ENQUEUES, ENQUEUE_REPEATS, PAUSE_S = 3, 50, 1e-3


def measure_enqueue_s(module: graph_executor.GraphModule, gpu: tvm.runtime.Device, cpu: tvm.runtime.Device) -> float:
    """Return the launch overhead in seconds.

    Parameters
    ----------
    module : GraphModule
        Of `small_module`, on the GPU. Over RPC the caller's clock would include the network, so there the clock of the
        device's CPU is used, immediately after a previous launch, which takes less time.
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
