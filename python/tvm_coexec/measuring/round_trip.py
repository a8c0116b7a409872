"""Measure a round trip in memory that both devices address, as modules of `tvm_coexec.create` make it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import relay
from tvm._ffi.runtime_ctypes import RPC_SESS_MASK

from tvm_coexec import gpu_runtimes, remote
from tvm_coexec.core.devices import MEMORY_OF_MODE
from tvm_coexec.executor.annotations import add_memory_plan
from tvm_coexec.executor.create import create

from . import links

ROUNDS = 3  # of which the least counts: how deeply idle cores sleep changes with what ran before


def measure_round_trip(
    graph: str, lib: tvm.runtime.Module, devices: Sequence[tvm.runtime.Device], session: tvm.rpc.RPCSession | None
) -> dict[str, Any] | None:
    """Measure a round trip of a small tensor: to an idle GPU, through a kernel, and back.

    Parameters
    ----------
    graph : str
        The executor's JSON of the module ``meeting`` of `links.link_modules`.
    lib : Module
        Its code, on the machine of the devices.
    devices : (Device, Device)
        CPU and GPU.
    session : RPCSession or None
        `None` for this machine's.

    Returns
    -------
    dict or None
        ``memory``, ``seconds`` without the kernel's own time, and ``start_s``, the part before the GPU starts. `None`
        where tensors are copied, or the GPU is used by TVM's own runtime.
    """
    kind = tvm.runtime.Device.MASK2STR[devices[1].device_type % RPC_SESS_MASK]
    if not (gpu_runtimes.serves_own(kind) if session is None else remote.serves_own(session, kind)):
        return None
    find: Callable[[str], Callable[..., Any]] = tvm.get_global_func if session is None else session.get_function
    memory = MEMORY_OF_MODE.get(json.loads(find(f"tvm_coexec.{kind}.devices")())[0]["memory_mode"], "copied")
    if memory == "copied":
        return None
    weights = bytearray(relay.save_param_dict({}))
    factory = find("tvm_coexec.executor_factory")(add_memory_plan(graph, set()), lib, weights)
    module = create(factory, devices)
    module.run()
    seconds = min(links.time_from_idle(module, devices[0]) for _ in range(ROUNDS))
    find("tvm_coexec.opencl.set_profiling")(1)
    try:
        profiled_s = links.time_from_idle(module, devices[0])
        kernels = json.loads(find("tvm_coexec.opencl.kernel_times")())["kernels"]
    finally:
        find("tvm_coexec.opencl.set_profiling")(0)
    own = [k for k in kernels if links.SMALL_KERNEL in k["name"]]  # not those that signal the end of others
    work_s, start_s = (
        1e-9 * statistics.median(k[to] - k[since] for k in own)
        for since, to in (("start_ns", "end_ns"), ("queued_ns", "start_ns"))
    )
    seconds = max(0.0, seconds - work_s)
    before = min(1.0, max(0.0, start_s / (profiled_s - work_s)))  # profiling makes both parts longer
    return {"memory": memory, "seconds": seconds, "start_s": seconds * before}
