"""Create the stock graph executor for a co-executed module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm.contrib import graph_executor

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import runtime

from .graph_json import CPU, Graph
from .shared_memory import prepare_graph


def device_types(graph_json: str) -> list[int]:
    """Return the DLPack device types that a graph uses, CPU first.

    Parameters
    ----------
    graph_json : str

    Returns
    -------
    list of int
    """
    return sorted(Graph(graph_json).devices() | {CPU})


def find_devices(graph_json: str) -> list[tvm.runtime.Device]:
    """Return device 0 of each type that a graph uses, CPU first.

    Parameters
    ----------
    graph_json : str

    Returns
    -------
    list of Device

    Raises
    ------
    CoExecError
        If a device is missing; the message has the reason where it is known.
    """
    devices = [tvm.runtime.Device(t, 0) for t in device_types(graph_json)]
    for d in devices:
        if not d.exist:
            raise CoExecError(_explain_missing(d))
    return devices


def _explain_missing(device: tvm.runtime.Device) -> str:
    name = tvm.runtime.Device.MASK2STR.get(device.device_type, str(device.device_type))
    why = (runtime.why_unavailable() or "no such device was found") if name == "opencl" else "no such device was found"
    return f"the module needs device {name}({device.device_id}), which is not available: {why}"


def graph_json_of(lib: Any) -> str:
    """Return the graph JSON of an executor factory.

    Parameters
    ----------
    lib : executor factory
        In memory, or loaded from an exported library.

    Returns
    -------
    str

    Raises
    ------
    CoExecError
        If `lib` is something else.
    """
    if hasattr(lib, "get_graph_json"):
        return lib.get_graph_json()
    try:
        return lib["get_graph_json"]()
    except (AttributeError, tvm.TVMError, TypeError):
        raise CoExecError(
            "this is not a graph executor factory; pass the result of tvm_coexec.build or relay.build, or that result "
            "after export_library and load_module"
        ) from None


def create(
    lib: Any,
    devices: Sequence[tvm.runtime.Device] | None = None,
    *,
    wrap: Callable[[str, tvm.runtime.Module], tvm.runtime.Module] | None = None,
) -> graph_executor.GraphModule:
    """Create a graph executor on both devices, which share memory where they can.

    With this package's OpenCL runtime, a tensor that crosses between the devices is stored once if both address the
    same memory; otherwise downloads start early (see `shared_memory`, and docs/memory.md). Results are bit for bit
    those of TVM's own ``GraphModule(lib["default"](cpu, gpu))``. Modules of one library share its weights on the CPU.

    Parameters
    ----------
    lib : executor factory
        The result of `tvm_coexec.build` or `relay.build`, or one loaded from an exported library.
    devices : sequence of Device, optional
        CPU and GPU; by default device 0 of each type that the module needs.
    wrap : callable, optional
        Called with the executor's graph JSON and the module with its functions; returns the module whose functions the
        executor calls.

    Returns
    -------
    GraphModule
        TVM's own class.

    Raises
    ------
    CoExecError
        If a device is missing.
    """
    text = graph_json_of(lib)
    if devices is None:
        devices = find_devices(text)
    else:
        given = {d.device_type for d in devices}
        for needed in device_types(text):
            if needed not in given:
                name = tvm.runtime.Device.MASK2STR.get(needed, str(needed))
                raise CoExecError(f"the module also needs a device of type {name}; add it to devices, or omit devices")
        for d in devices:
            if not d.exist:
                raise CoExecError(_explain_missing(d))
    factory = getattr(lib, "module", lib)
    library = factory.imported_modules[0]
    prepared = prepare_graph(text, library, lambda: dict(factory["get_graph_params"]().items()), devices)
    if prepared is not None:
        return prepared.create_executor(wrap)
    if wrap is None:
        return graph_executor.GraphModule(lib["default"](*devices))
    module = graph_executor.create(text, wrap(text, library), list(devices))
    module.set_input(**dict(factory["get_graph_params"]().items()))
    return module
