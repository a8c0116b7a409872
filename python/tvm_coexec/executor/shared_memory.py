"""The stock graph executor on memory that we lay out.

`executor.create` comes here for a module that needs the CPU and an OpenCL device of our own runtime. Where both devices
share memory, tensors that cross between them live once, and copies become waits or nothing; where they don't, copies
stay, and downloads begin when the kernel before them ends. The executor is TVM's: it gets a graph with other storage
ids and asks us for the memory behind them.
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
from .memory.check import problems
from .memory.rewrite import Rewriter, Storage
from .memory.storage import Layout, lay_out

OPENCL = 4
_log = logging.getLogger("tvm_coexec")

Wrap = Callable[[str, tvm.runtime.Module], tvm.runtime.Module]


@dataclass
class Placement:
    """A module's graph, where its tensors go, and what it takes to run it.

    Attributes
    ----------
    text : str
        The graph that the executor gets.
    layout : Layout
    storages : list of Storage
        By the graph's storage ids.
    library : Module
        With the compiled functions.
    params : dict of str to NDArray
    devices : tuple of Device
        CPU and OpenCL.
    """

    text: str
    layout: Layout
    storages: list[Storage]
    library: tvm.runtime.Module
    params: dict[str, tvm.nd.NDArray]
    devices: tuple[tvm.runtime.Device, tvm.runtime.Device]

    def run(self, wrap: Wrap | None = None) -> graph_executor.GraphModule:
        """The executor, ready to run."""
        graph = self.layout.graph
        launching = {n.function for n in graph.nodes if n.function and not graph.entries[n.outputs[0]].on_cpu}
        module = runtime.meeting_module(self.library, launching)
        if wrap is not None:
            module = wrap(self.text, module)
        memory = _Memory(self)
        flat = [part for d in self.devices for part in (d.device_type, d.device_id)]
        create = tvm.get_global_func("tvm.graph_executor.create")
        made = graph_executor.GraphModule(create(self.text, module, memory.storage, *flat))
        made.set_input(**{name: value for name, value in self.params.items() if name not in memory.in_place})
        return made


def place(
    text: str,
    library: tvm.runtime.Module,
    params: Callable[[], dict[str, tvm.nd.NDArray]],
    devices: Sequence[tvm.runtime.Device],
) -> Placement | None:
    """Lay out a module's memory; `None` where that is not ours to do.

    Parameters
    ----------
    text : str
        The graph's JSON.
    library : Module
        With the compiled functions.
    params : callable
        Returns the weights; called if they are needed.
    devices : sequence of Device

    Raises
    ------
    CoExecError
        For a module that was compiled for textures.
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
    flags = shared and not mapped and runtime.waiting(gpu.device_id)["method"] == "flag"
    layout = lay_out(graph, names, shared, mapped=mapped, fetch=not shared, alignment=alignment())
    rewriter = Rewriter(layout, mapped=mapped, flags=flags, fetch=not shared)
    written = rewriter.text()
    wrong = problems(written, rewriter.storages, names, mapped)
    if wrong:
        _log.warning("tensors are copied between the devices, since their memory could not be laid out: %s", wrong[0])
        return None
    _log.info("memory of %s: %d bytes in %d blocks", mode, layout.nbytes, len(layout.blocks))
    return Placement(written, layout, rewriter.storages, library, weights, (by_type[CPU], by_type[OPENCL]))


class _Memory:
    """Blocks, made when the executor first asks for one of their tensors.

    Attributes
    ----------
    in_place : set of str
        Parameters that the executor uses where the module's factory has them: weights are there once.
    """

    def __init__(self, placement: Placement):
        self.placement = placement
        self.in_place: set[str] = set()
        self.blocks: dict[int, tvm.nd.NDArray] = {}
        self.made: dict[int, tvm.nd.NDArray | None] = {}
        layout = placement.layout
        self.weights: dict[int, str] = {}
        for number, block in enumerate(layout.blocks):
            if block.weight and block.kind == "cpu":
                self.weights[number] = layout.graph.nodes[layout.graph.entries[block.buffers[0].root].node].name

    def storage(self, _module: object, number: int, _template: object, _device: object) -> tvm.nd.NDArray | None:
        """What TVM's executor calls for each tensor's storage."""
        number = int(number)
        if number not in self.made:
            self.made[number] = self._make(self.placement.storages[number])
        return self.made[number]

    def _make(self, storage: Storage) -> tvm.nd.NDArray:
        if name := self.weights.get(storage.block):
            value = self.placement.params[name]
            if value.device.device_type == CPU and value.handle.contents.data % alignment() == 0:
                self.in_place.add(name)
                return value
        return runtime.storage_view(
            self._block(storage.block), storage.offset, storage.nbytes, on_cpu=storage.device == CPU
        )

    def _block(self, number: int) -> tvm.nd.NDArray:
        if number not in self.blocks:
            block, (cpu, gpu) = self.placement.layout.blocks[number], self.placement.devices
            if block.kind == "cpu" and not block.weight:
                self.blocks[number] = runtime.host_block(block.nbytes, gpu.device_id)
            else:
                self.blocks[number] = tvm.nd.empty((block.nbytes,), "uint8", cpu if block.kind == "cpu" else gpu)
        return self.blocks[number]
