"""Create the stock graph executor for a co-executed module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import tvm
from tvm._ffi.runtime_ctypes import RPC_SESS_MASK
from tvm.contrib import graph_executor

from tvm_coexec import gpu_runtimes, remote
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import runtime

from .adaptive import AdaptiveModule
from .annotations import read_metadata
from .arrays import alignment
from .graph_json import CPU, Graph, write_json
from .memory.plan import VERSION, plan_memory
from .variants import device_types_of


def device_types(graph_json: str) -> list[int]:
    """Return the DLPack device types that a graph uses, CPU first.

    Parameters
    ----------
    graph_json : str

    Returns
    -------
    list of int
    """
    return _types_in(Graph(graph_json))


def _types_in(graph: Graph) -> list[int]:
    return sorted(graph.devices() | {CPU})


def gpu_kind(graph_json: str) -> str:
    """Return the kind of the GPU that a graph uses, such as ``vulkan``; ``opencl`` for a graph without one.

    Parameters
    ----------
    graph_json : str
    """
    return gpu_runtimes.kind_of_types(device_types(graph_json))


def find_devices(graph_json: str, session: tvm.rpc.RPCSession | None = None) -> list[tvm.runtime.Device]:
    """Return device 0 of each type that a graph uses, CPU first.

    Parameters
    ----------
    graph_json : str
    session : RPCSession, optional
        The server that has the devices; by default this machine.

    Returns
    -------
    list of Device

    Raises
    ------
    CoExecError
        If a device is missing; the message has the reason where it is known.
    """
    return _find_devices(device_types(graph_json), session)


def _find_devices(types: Sequence[int], session: tvm.rpc.RPCSession | None = None) -> list[tvm.runtime.Device]:
    devices = [tvm.runtime.Device(t, 0) if session is None else session.device(t, 0) for t in types]
    for d in devices:
        if not d.exist:
            raise CoExecError(_explain_missing(d))
    return devices


def _explain_missing(device: tvm.runtime.Device) -> str:
    kind = device.device_type % RPC_SESS_MASK
    name = tvm.runtime.Device.MASK2STR.get(kind, str(kind))
    session = getattr(device, "_rpc_sess", None)
    why = gpu_runtimes.why_unavailable(name) if session is None else None
    if session is not None:
        why = remote.why_unavailable(session, name)
    where = "" if session is None else " of the RPC server"
    return (
        f"the module needs device {name}({device.device_id}){where}, which is not available: "
        f"{why or 'no such device was found'}"
    )


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
    lib: Any, devices: Sequence[tvm.runtime.Device] | None = None, adaptive: bool = False
) -> graph_executor.GraphModule:
    """Create a graph executor on both devices, which share memory where they can.

    With this package's runtimes (OpenCL, Vulkan), a tensor that crosses between the devices is stored once if both
    address the same memory; otherwise downloads start early (see docs/memory.md). Results are bit for bit those of
    TVM's own ``GraphModule(lib["default"](cpu, gpu))``. Modules of one library share its weights on the CPU.

    This is the C++ runtime's global function ``tvm_coexec.create``, called with the module's devices.

    Parameters
    ----------
    lib : executor factory
        The result of `tvm_coexec.build` or `relay.build`, or one loaded from an exported library, here or on an RPC
        server.
    devices : sequence of Device, optional
        CPU and GPU; by default device 0 of each type that the module needs. Devices of an RPC session if `lib` was
        loaded there.
    adaptive : bool
        Run whichever is the fastest now, of the plan and each device alone (see docs/adaptive.md): for a library that
        was built with ``adaptive=True``. Each is run a few times before this function returns.

    Returns
    -------
    GraphModule
        TVM's own class; an `AdaptiveModule` if `adaptive`.

    Raises
    ------
    CoExecError
        If a device is missing, if the module was compiled for textures and runs on this package's runtime, or if it
        can't be adaptive.
    """
    creation = Creation(lib, devices, adaptive)
    return creation.create_adaptive() if adaptive else creation.create()


class Creation:
    """A call of the C++ runtime's ``tvm_coexec.create``: the module, its devices, and its memory plan.

    Parameters
    ----------
    lib, devices, adaptive
        As `create` takes them.

    Raises
    ------
    CoExecError
        If a device is missing.
    """

    def __init__(self, lib: Any, devices: Sequence[tvm.runtime.Device] | None = None, adaptive: bool = False):
        self.factory = getattr(lib, "module", lib)
        self.graph_json = graph_json_of(lib)
        self.graph = Graph(self.graph_json)
        _check_place(self.factory, devices)
        needed = set(_types_in(self.graph))
        if adaptive:
            needed |= device_types_of(self._metadata)
        if devices is None:
            devices = _find_devices(sorted(needed))
        else:
            _check_devices(sorted(needed), devices)
        self.devices = list(devices)
        self.is_remote = self.devices[0].device_type >= RPC_SESS_MASK

    def create(self, trace: bool = False) -> graph_executor.GraphModule:
        """Create the executor.

        Parameters
        ----------
        trace : bool
            Whether its calls are recorded while a trace is being recorded.

        Returns
        -------
        GraphModule
        """
        function = self.find_function("tvm_coexec.create_with")
        if function is None:  # no runtime of this package
            return graph_executor.GraphModule(self.factory["default"](*self.devices))
        return graph_executor.GraphModule(self._call(function, {"trace": True} if trace else {}))

    def create_adaptive(self) -> AdaptiveModule:
        """Create the module that changes between the library's variants."""
        if "variants" not in self._metadata:
            raise CoExecError(
                "the library holds one program only, so it can't be adaptive: build it with adaptive=True or "
                "--coexec-adaptive (a model that stays whole has nothing to choose from)"
            )
        function = self.find_function("tvm_coexec.create_with")
        if function is None:
            where = "the RPC server has not loaded it" if self.is_remote else "this TVM can't use it"
            raise CoExecError(f"an adaptive module needs this package's C++ runtime, and {where}")
        return AdaptiveModule(self._call(function, {"adaptive": True}))

    def executor_graph(self) -> str:
        """Return the graph that the executor gets, as JSON without the annotations."""
        function = self.find_function("tvm_coexec.executor_graph")
        return self.graph_json if function is None else self._call(function, {})

    def find_function(self, name: str) -> Callable[..., Any] | None:
        """Return a global function of the process that has the devices; `None` if it has no such function."""
        if not self.is_remote:
            runtime.install()
            return tvm.get_global_func(name, allow_missing=True)
        return remote.find_function(self.devices[0]._rpc_sess, name)

    def _call(self, function: Callable[..., Any], options: dict[str, Any]) -> Any:
        memory, is_new = self._memory_plan
        if memory is not None and "refusal" in memory:
            raise CoExecError(memory["refusal"])
        if is_new:
            options = options | {"memory": memory}
        return function(self.factory, write_json(options, (",", ":")), *self.devices)

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        return read_metadata(self.graph) or {}

    @cached_property
    def _memory_plan(self) -> tuple[dict[str, Any] | None, bool]:
        """The memory plan that applies here, and whether it is new.

        A module that was compiled without one, such as by `relay.build` alone, gets a new plan.
        """
        if self.is_remote or not gpu_runtimes.runtime_of_types(d.device_type for d in self.devices).is_ours():
            return None, False
        found = self._metadata.get("memory")
        if found is not None and found.get("version") == VERSION:
            return found, False
        made = plan_memory(self.graph_json, set(self.factory["get_graph_params"]().keys()), alignment())
        return made, made is not None


def _check_place(factory: Any, devices: Sequence[tvm.runtime.Device] | None) -> None:
    """Raise if a module and its devices are not on the same machine."""
    module_there = getattr(factory, "type_key", "") == "rpc"
    on_server = [d.device_type >= RPC_SESS_MASK for d in devices or ()]
    if module_there and not (on_server and all(on_server)):
        raise CoExecError(
            "the module is on an RPC server: give devices of the same session, [session.cpu(), session.cl()]"
        )
    if not module_there and any(on_server):
        raise CoExecError(
            "the devices are on an RPC server, the module is here: load it there with session.load_module"
        )


def _check_devices(types: Sequence[int], devices: Sequence[tvm.runtime.Device]) -> None:
    given = {d.device_type % RPC_SESS_MASK for d in devices}
    for needed in types:
        if needed not in given:
            name = tvm.runtime.Device.MASK2STR.get(needed, str(needed))
            raise CoExecError(f"the module also needs a device of type {name}; add it to devices, or omit devices")
    for d in devices:
        if not d.exist:
            raise CoExecError(_explain_missing(d))
