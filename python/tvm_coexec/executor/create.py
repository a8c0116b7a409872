"""Running a co-executed module in the stock graph executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tvm
from tvm.contrib import graph_executor

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import runtime

from .graph_json import CPU, Graph
from .shared_memory import place


def device_types(graph_json: str) -> list[int]:
    """DLPack device types that a graph uses, CPU first."""
    return sorted(Graph(graph_json).devices() | {CPU})


def find_devices(graph_json: str) -> list[tvm.runtime.Device]:
    """Device 0 of each type that a graph needs.

    Raises
    ------
    CoExecError
        When a device is missing; the text says why where that is known.
    """
    devices = [tvm.runtime.Device(t, 0) for t in device_types(graph_json)]
    for d in devices:
        if not d.exist:
            raise CoExecError(_missing(d))
    return devices


def _missing(device: tvm.runtime.Device) -> str:
    name = tvm.runtime.Device.MASK2STR.get(device.device_type, str(device.device_type))
    why = (runtime.why_unavailable() or "no such device was found") if name == "opencl" else "no such device was found"
    return f"the module needs device {name}({device.device_id}), which is not available: {why}"


def graph_json_of(lib: tvm.runtime.Module | object) -> str:
    """Graph JSON of an executor factory, in memory or loaded from an exported library."""
    if hasattr(lib, "get_graph_json"):
        return lib.get_graph_json()
    try:
        return lib["get_graph_json"]()
    except (AttributeError, tvm.TVMError, TypeError):
        raise CoExecError(
            "this is not a graph executor factory; give what tvm_coexec.build or relay.build returned, also after "
            "export_library and load_module"
        ) from None


def create(
    lib: tvm.runtime.Module | object,
    devices: Sequence[tvm.runtime.Device] | None = None,
    *,
    wrap: Callable[[str, tvm.runtime.Module], tvm.runtime.Module] | None = None,
) -> graph_executor.GraphModule:
    """Graph executor over both devices, which share memory where they can.

    With this package's OpenCL runtime, tensors that cross between the devices live once where both see the same memory;
    otherwise downloads begin early (see `placement`, and docs/memory.md). Results are those of TVM's own way,
    ``GraphModule(lib["default"](cpu, gpu))``, bit for bit. Modules of one library share its weights on the CPU.

    Parameters
    ----------
    lib : executor factory
        What `tvm_coexec.build` or `relay.build` returned, or that loaded from an exported library.
    devices : sequence of Device, optional
        CPU and GPU; by default device 0 of each type that the module needs.
    wrap : callable, optional
        Called with the graph JSON that the executor gets and the module with its functions; returns the module to
        take the functions from.

    Returns
    -------
    GraphModule
        The stock one.

    Raises
    ------
    CoExecError
        When a device is missing.
    """
    text = graph_json_of(lib)
    if devices is None:
        devices = find_devices(text)
    else:
        given = {d.device_type for d in devices}
        for needed in device_types(text):
            if needed not in given:
                name = tvm.runtime.Device.MASK2STR.get(needed, str(needed))
                raise CoExecError(
                    f"the module needs a device of type {name} too; give it in devices, or leave devices out"
                )
        for d in devices:
            if not d.exist:
                raise CoExecError(_missing(d))
    factory = getattr(lib, "module", lib)
    library = factory.imported_modules[0]
    placement = place(text, library, lambda: dict(factory["get_graph_params"]().items()), devices)
    if placement is not None:
        return placement.run(wrap)
    if wrap is None:
        return graph_executor.GraphModule(lib["default"](*devices))
    module = graph_executor.create(text, wrap(text, library), list(devices))
    module.set_input(**dict(factory["get_graph_params"]().items()))
    return module
