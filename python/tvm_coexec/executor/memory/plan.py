"""The memory plan that a compiled module carries: a storage layout and the executor's graph for each memory mode.

It is made and checked when the module is compiled. `tvm_coexec.create`, in the C++ runtime, chooses the layout for the
device and allocates its blocks. As JSON::

    {"version": 1, "alignment": 128,
     "weights": ["p0", ...],                           names of all parameters
     "launching": ["tvmgen_default_fused_...", ...],   functions that launch GPU kernels
     "layouts": {"shared": {"bytes": n,                bytes of all blocks, without those of parameters
                            "blocks": [["cpu" | "gpu" | "shared", bytes] or [..., ..., name of the parameter], ...],
                            "storages": [[device type, block, offset, bytes], ...],  by the graph's storage ids
                            "graph": {...}},           the executor's JSON
                 "mapped": {...}, "copied": {...}}}

A layout without a proof that it is free of hazards is omitted: TVM's own memory plan is used instead. ``refusal``
instead of ``layouts`` is a sentence why the module cannot run on this package's OpenCL runtime.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from ..graph_json import CPU, Graph, read_document
from .check import find_hazards
from .rewrite import Rewriter
from .storage import plan_storage

VERSION = 1
OPENCL = 4

# Layouts by what a device's memory allows: used by both devices at any time (shared virtual memory, fine-grained), by
# the host only while it is mapped, or by one device only.
LAYOUTS = {
    "shared": {"shared": True, "mapped": False},
    "mapped": {"shared": True, "mapped": True},
    "copied": {"shared": False, "mapped": False},
}

_log = logging.getLogger("tvm_coexec")


def plan_memory(graph_json: str, weights: Collection[str], alignment: int) -> dict[str, Any] | None:
    """Plan a module's memory for every memory mode.

    Parameters
    ----------
    graph_json : str
        The executor's JSON as TVM made it.
    weights : collection of str
        Names of the nodes that are parameters; other nodes without a function are inputs.
    alignment : int
        Alignment in bytes that compiled functions expect of a tensor.

    Returns
    -------
    dict or None
        The plan as JSON. `None` for a module that does not run on a CPU and an OpenCL device.
    """
    graph = Graph(graph_json)
    if graph.devices() != {CPU, OPENCL}:
        return None
    plan: dict[str, Any] = {"version": VERSION}
    if graph.uses_textures:
        return plan | {
            "refusal": "the module was compiled for textures (-device=adreno), which only TVM's own OpenCL runtime "
            "can run: compile it without -device=adreno, or load it in a TVM built with USE_OPENCL=ON"
        }
    names = [n.name for n in graph.nodes if not n.function]
    launching = {n.function for n in graph.nodes if n.function and not graph.entries[n.outputs[0]].on_cpu}
    layouts = {name: _plan_layout(graph, name, set(names) - set(weights), alignment) for name in LAYOUTS}
    return plan | {
        "alignment": alignment,
        "weights": [n for n in names if n in weights],
        "launching": sorted(launching),
        "layouts": {name: layout for name, layout in layouts.items() if layout is not None},
    }


def _plan_layout(graph: Graph, name: str, inputs: set[str], alignment: int) -> dict[str, Any] | None:
    shared, mapped = LAYOUTS[name]["shared"], LAYOUTS[name]["mapped"]
    layout = plan_storage(graph, inputs, shared, mapped=mapped, fetch=not shared, alignment=alignment)
    # Where the device's method of waiting is another one, the C++ runtime drops the nodes that set flags.
    rewriter = Rewriter(layout, mapped=mapped, flags=shared and not mapped, fetch=not shared)
    text = rewriter.rewrite()
    if hazards := find_hazards(text, rewriter.storages, inputs, mapped):
        _log.warning(
            "where memory is %s, tensors are copied between the devices: no valid storage layout was found (%s)",
            name,
            hazards[0],
        )
        return None
    _log.info("memory where it is %s: %d bytes in %d blocks", name, layout.nbytes, len(layout.blocks))
    weight_names = {
        number: graph.nodes[graph.entries[block.buffers[0].root].node].name
        for number, block in enumerate(layout.blocks)
        if block.weight
    }
    return {
        "bytes": layout.nbytes,
        "blocks": [
            [b.kind, b.nbytes, *([weight_names[i]] if i in weight_names else [])] for i, b in enumerate(layout.blocks)
        ],
        "storages": [[s.device, s.block, s.offset, s.nbytes] for s in rewriter.storages],
        "graph": read_document(text),
    }
