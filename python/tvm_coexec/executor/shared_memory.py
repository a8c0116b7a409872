"""The stock graph executor on memory that this package plans.

`executor.create` uses it for a module that needs the CPU and an OpenCL device of this package's runtime. If the devices
share memory, a tensor that crosses between them is stored once, and its copy becomes a wait or a no-op. If they do not,
copies stay, and a download starts when the kernel that produces its source ends. The executor is TVM's own: it gets a
graph with new storage ids, and requests the memory of each id through a callback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tvm
from tvm.contrib import graph_executor

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import runtime

from .arrays import alignment
from .graph_json import CPU, Graph
from .memory.check import find_hazards
from .memory.rewrite import Rewriter, Storage
from .memory.storage import StorageLayout, plan_storage

OPENCL = 4
_log = logging.getLogger("tvm_coexec")

Wrap = Callable[[str, tvm.runtime.Module], tvm.runtime.Module]


@dataclass
class PreparedGraph:
    """A module's graph with its storage layout, and what is needed to run it.

    Attributes
    ----------
    text : str
        The graph JSON for the executor.
    layout : StorageLayout
    storages : list of Storage
        Indexed by the graph's storage ids.
    library : Module
        The compiled functions.
    params : dict of str to NDArray
        Weights by name.
    devices : tuple of Device
        CPU and OpenCL device.
    """

    text: str
    layout: StorageLayout
    storages: list[Storage]
    library: tvm.runtime.Module
    params: dict[str, tvm.nd.NDArray]
    devices: tuple[tvm.runtime.Device, tvm.runtime.Device]

    def create_executor(self, wrap: Wrap | None = None) -> graph_executor.GraphModule:
        """Create the executor and set its weights.

        Parameters
        ----------
        wrap : callable, optional
            As `executor.create.create` takes it.

        Returns
        -------
        GraphModule
        """
        graph = self.layout.graph
        launching = {n.function for n in graph.nodes if n.function and not graph.entries[n.outputs[0]].on_cpu}
        module = runtime.sync_module(self.library, launching)
        if wrap is not None:
            module = wrap(self.text, module)
        memory = _Memory(self)
        flat = [part for d in self.devices for part in (d.device_type, d.device_id)]
        create = tvm.get_global_func("tvm.graph_executor.create")
        made = graph_executor.GraphModule(create(self.text, module, memory.storage, *flat))
        made.set_input(**{name: value for name, value in self.params.items() if name not in memory.in_place})
        return made


def prepare_graph(
    text: str,
    library: tvm.runtime.Module,
    params: Callable[[], dict[str, tvm.nd.NDArray]],
    devices: Sequence[tvm.runtime.Device],
) -> PreparedGraph | None:
    """Plan a module's memory and rewrite its graph accordingly.

    Parameters
    ----------
    text : str
        The graph's JSON.
    library : Module
        The compiled functions.
    params : callable
        Returns the weights; called only if they are needed.
    devices : sequence of Device

    Returns
    -------
    PreparedGraph or None
        `None` for a module of one device, another GPU runtime or a remote device: TVM's own executor runs it.

    Raises
    ------
    CoExecError
        If the module was compiled for textures.
    """
    by_type = {d.device_type: d for d in devices}
    graph = Graph(text)
    if graph.devices() != {CPU, OPENCL} or not {CPU, OPENCL} <= set(by_type) or not runtime.is_ours():
        return None  # one device; another GPU runtime; or devices of an RPC server, whose types are other numbers
    if graph.uses_textures:
        raise CoExecError(
            "the module was compiled for textures (-device=adreno), which only TVM's own OpenCL runtime can run: "
            "compile it without -device=adreno, or load it in a TVM built with USE_OPENCL=ON"
        )
    weights = params()
    names = {n.name for n in graph.nodes if not n.function} - set(weights)
    gpu = by_type[OPENCL]
    mode = runtime.devices()[gpu.device_id].memory_mode
    shared, mapped = mode != "buffer", mode in ("coarse", "hostptr")
    flags = shared and not mapped and runtime.wait_method(gpu.device_id)["method"] == "flag"
    layout = plan_storage(graph, names, shared, mapped=mapped, fetch=not shared, alignment=alignment())
    rewriter = Rewriter(layout, mapped=mapped, flags=flags, fetch=not shared)
    text = rewriter.rewrite()
    hazards = find_hazards(text, rewriter.storages, names, mapped)
    if hazards:
        _log.warning(
            "tensors are copied between the devices, because no valid storage layout was found: %s", hazards[0]
        )
        return None
    _log.info("memory of %s: %d bytes in %d blocks", mode, layout.nbytes, len(layout.blocks))
    return PreparedGraph(text, layout, rewriter.storages, library, weights, (by_type[CPU], by_type[OPENCL]))


class _Memory:
    """Allocates storage blocks when the executor first requests one of their tensors.

    Attributes
    ----------
    in_place : set of str
        Parameters whose memory in the module's factory the executor uses, so that weights are stored once.
    """

    def __init__(self, prepared: PreparedGraph):
        self.prepared = prepared
        self.in_place: set[str] = set()
        self.blocks: dict[int, tvm.nd.NDArray] = {}
        self.views: dict[int, tvm.nd.NDArray | None] = {}
        layout = prepared.layout
        self.weights: dict[int, str] = {}
        for number, block in enumerate(layout.blocks):
            if block.weight and block.kind == "cpu":
                self.weights[number] = layout.graph.nodes[layout.graph.entries[block.buffers[0].root].node].name

    def storage(self, _module: object, number: int, _template: object, _device: object) -> tvm.nd.NDArray | None:
        """Return the memory of one storage id; TVM's executor calls this for each."""
        number = int(number)
        if number not in self.views:
            self.views[number] = self._create_view(self.prepared.storages[number])
        return self.views[number]

    def _create_view(self, storage: Storage) -> tvm.nd.NDArray:
        if name := self.weights.get(storage.block):
            value = self.prepared.params[name]
            if value.device.device_type == CPU and value.handle.contents.data % alignment() == 0:
                self.in_place.add(name)
                return value
        return runtime.storage_view(
            self._block(storage.block), storage.offset, storage.nbytes, on_cpu=storage.device == CPU
        )

    def _block(self, number: int) -> tvm.nd.NDArray:
        if number not in self.blocks:
            block, (cpu, gpu) = self.prepared.layout.blocks[number], self.prepared.devices
            if block.kind == "cpu" and not block.weight:
                self.blocks[number] = runtime.host_block(block.nbytes, gpu.device_id)
            else:
                self.blocks[number] = tvm.nd.empty((block.nbytes,), "uint8", cpu if block.kind == "cpu" else gpu)
        return self.blocks[number]
