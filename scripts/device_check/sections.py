"""The sections of a check, in order, and those about correctness. Each has a process of its own, see `supervise`."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from scripts.device_check.job import KINDS, NETWORKS, SMALL, Absent, Job, versions

if TYPE_CHECKING:
    import tvm

# Memory modes by the kinds of GPUs that have them.
MODES = {"buffer": ("opencl", "vulkan"), "coarse": ("opencl",), "fine": ("opencl",), "hostptr": ("opencl",)}
# Kernels that TVM knows nothing of: they double the numbers of a tensor, four in a work-group.
_TWICE = {
    "opencl": "__kernel void twice(__global float* x) { size_t i = get_global_id(0); x[i] = 2.0f * x[i]; }",
    "vulkan": """@group(0) @binding(0) var<storage, read_write> x : array<f32>;
struct PODArgs { packGridDimX: u32 }
@group(0) @binding(1) var<uniform> podArgs : PODArgs;
@compute @workgroup_size(64, 1, 1)
fn twice(@builtin(workgroup_id) blockIdx : vec3<u32>, @builtin(num_workgroups) gridDim : vec3<u32>,
         @builtin(local_invocation_id) threadIdx : vec3<u32>) {
  let i = (blockIdx.z * gridDim.x + blockIdx.x) * 64u + threadIdx.x;
  x[i] = 2.0f * x[i];
}
""",
}


@dataclass(frozen=True)
class Section:
    """A part of the check.

    Attributes
    ----------
    name, title : str
    limit_s : float
        Time after which it is killed.
    module, function : str
        What runs it.
    needs : str
        Start of the names of sections of which one must have succeeded.
    mode : str
        Memory mode that the OpenCL runtime is set to; empty for the default.
    network : str
        Network that is compiled; such sections do not use the GPU and may run at the same time.
    kinds : tuple of str
        Kinds of GPUs that it is for.
    """

    name: str
    title: str
    limit_s: float
    function: str
    module: str = "sections"
    needs: str = ""
    mode: str = ""
    network: str = ""
    kinds: tuple[str, ...] = tuple(KINDS)


SECTIONS = (
    Section("devices", "Devices and versions", 60, "devices"),
    *(
        Section(f"compile-{n}", f"Compile {n} with every operator split", 150, "compile_network", network=n)
        for n in (*NETWORKS, SMALL)
    ),
    *(
        Section(f"mode-{m}", f"Results in memory mode {m}", 60, "check_mode", needs="compile", mode=m, kinds=kinds)
        for m, kinds in MODES.items()
    ),
    Section("meeting", "Cost of a meeting of both devices", 75, "meeting", "timing_sections"),
    Section("profile", "A small profile", 120, "profile", "timing_sections"),
    Section("plan", "A network planned with that profile", 120, "plan", "timing_sections"),
    Section("timeline", "Timeline of a run", 60, "timeline", "timing_sections", needs="compile"),
)


def find(name: str) -> Callable[[Job], None]:
    """Return the function of a section."""
    import importlib

    section = next(s for s in SECTIONS if s.name == name)
    return getattr(importlib.import_module(f"scripts.device_check.{section.module}"), section.function)


def devices(job: Job) -> None:
    """List versions and devices, and find out whether the GPU is pocl, which shares the CPU's cores."""
    job.stage("importing TVM")
    job.numbers["versions"] = versions()
    job.stage(f"opening the {KINDS[job.gpu]} drivers")
    from tvm_coexec import testbed
    from tvm_coexec.measuring.host_info import cpu_name

    runtime = job.runtime
    job.numbers["cpu"] = {"name": cpu_name(), "cores": len(os.sched_getaffinity(0)), "memory_gb": _memory_gb()}
    found = runtime.devices()
    job.numbers["devices"] = [asdict(d) for d in found]
    first = found[0]
    shares_cores = testbed.shares_cores(first.platform, first.name)
    environment = dict(testbed.ONE_CORE_EACH) if shares_cores else {}
    content = {"device": first.name, "pocl": shares_cores, "environment": environment}
    job.devices_file.write_text(json.dumps(content) + "\n", encoding="utf-8")
    job.stage("running one kernel")
    job.numbers["one kernel"] = _run_one_kernel(job.gpu)
    job.stage("measuring ways to wait")
    job.numbers["wait_method"] = runtime.wait_method()


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _run_one_kernel(kind: str) -> str:
    """Run a kernel that TVM knows nothing of: shows the driver's compiler, a launch and both copies to work."""
    import numpy as np
    import tvm

    from tvm_coexec.opencl import runtime
    from tvm_coexec.vulkan import runtime as vulkan

    values = np.arange(256, dtype="float32")
    array = tvm.nd.array(values, tvm.device(kind, 0))
    if kind == "vulkan":
        made = vulkan.call("source_module", _TWICE[kind], "twice", "handle", "blockIdx.x threadIdx.x")
    else:
        made = runtime.source_module(_TWICE[kind], "twice", ["handle"])
    made["twice"](array, 4, 64)
    if not np.array_equal(array.numpy(), 2 * values):
        raise RuntimeError("a kernel that doubles 256 numbers gave wrong ones")
    return "right"


def compile_network(job: Job) -> None:
    """Compile a network with half of every operator on each device, and run it unsplit on the CPU."""
    import time

    import numpy as np
    import tvm

    import tvm_coexec
    from benchmarks import _modules

    name = next(s.network for s in SECTIONS if s.name == job.name)
    job.stage(f"building {name}")
    net = job.network(name)
    job.stage(f"compiling {name}")
    start = time.perf_counter()
    lib = tvm_coexec.build(net.mod, net.params, cpu=job.cpu_target, gpu=job.gpu, ratio=0.5)
    plan = tvm_coexec.plan_of(lib.ir_mod)
    job.numbers |= {"chains": 0 if plan is None else len(plan.chains), "compiled_s": time.perf_counter() - start}
    if not job.numbers["chains"]:
        job.wrong.append(f"no operator of {name} was split")
    job.stage(f"running {name} unsplit on the CPU")
    cpu, _ = _modules.single(net, "cpu", tvm.target.Target(job.cpu_target), tvm.cpu())
    answers = {f"out{i}": value for i, value in enumerate(cpu.once()[1])}
    np.savez(job.answer(name), **{f"in:{n}": v for n, v in net.inputs.items()}, **answers)
    job.stage(f"exporting {name}")
    lib.export_library(str(job.library(name)))


def check_mode(job: Job) -> None:
    """Run the split networks in one memory mode and compare with the unsplit ones; also with stock copies."""
    import numpy as np
    import tvm

    import tvm_coexec
    from benchmarks import _modules
    from tvm_coexec.opencl import runtime

    mode = next(s.mode for s in SECTIONS if s.name == job.name)
    job.stage("opening the device")
    try:
        device = job.runtime.devices()[0]
    except tvm_coexec.CoExecError as err:
        if job.devices_file.exists():  # the same drivers have found a device without this mode
            raise Absent(str(err)) from None
        raise
    if device.memory_mode != mode:
        _raise_absent(job.gpu, device.name, mode)
    rows = job.numbers["rows"] = []
    for name in job.networks:
        if not job.library(name).exists():
            job.wrong.append(f"{name} was not compiled")
            continue
        stored = np.load(job.answer(name))
        inputs = {n[3:]: stored[n] for n in stored.files if n.startswith("in:")}
        want = [stored[f"out{i}"] for i in range(len(stored.files) - len(inputs))]
        lib = tvm.runtime.load_module(str(job.library(name)))
        row: dict[str, object] = {"network": name}
        rows.append(row)
        for way, make in (("coexec", tvm_coexec.create), ("stock", functools.partial(_create_stock, job.gpu))):
            job.stage(f"running {name} ({way})")
            runner = _modules.Runner(way, make(lib), inputs)
            row[f"{way}_error"] = job.compare(f"{name} ({way})", runner.once()[1], want)
            again = runner.once()[1]  # buffers of the first run are used again
            if not all(np.array_equal(a, b) for a, b in zip(again, runner.once()[1], strict=True)):
                job.wrong.append(f"{name} ({way}) gives other results in each run")
            row[f"{way}_ms"] = min(runner.once()[0] for _ in range(2 if job.quick else 5)) * 1e3
    job.numbers["stats"] = {k: v for k, v in runtime.stats().items() if v}


def _create_stock(kind: str, lib: tvm.runtime.Module) -> object:
    """Load a library into TVM's own executor, which copies between the devices."""
    import tvm
    from tvm.contrib import graph_executor

    return graph_executor.GraphModule(lib["default"](tvm.cpu(), tvm.device(kind)))


def _raise_absent(kind: str, device: str, mode: str) -> None:
    """Say why the runtime has not chosen the requested mode."""
    import tvm

    from tvm_coexec.core.errors import one_line

    try:
        tvm.nd.empty((1,), "float32", tvm.device(kind, 0))
    except tvm.TVMError as err:
        raise Absent(one_line(err)) from None
    raise Absent(f"{device} has no memory mode {mode}")
