"""The compiling process: from a piece of a model to a library in a file and its graph."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import tvm

from . import links
from .executors import create_module
from .pieces import KernelBuilder, Piece, compile_for
from .worker import answer

REFERENCE = -1


@dataclass(frozen=True)
class BuildRequest:
    """A request to compile.

    Attributes
    ----------
    model : int
        Number of the model; `REFERENCE` for the reference kernel.
    piece : Piece or None
        `None`: the whole network on `device`.
    device : str
    path : str
        Path of the library: ``.tar`` for a device used over RPC, ``.so`` for a local one.
    """

    model: int
    piece: Piece | None
    device: str
    path: str


@dataclass(frozen=True)
class Built:
    """A compiled piece.

    Attributes
    ----------
    path : str
        Of its library.
    graph : str
        JSON of the graph executor.
    device : str
        ``cpu``, ``gpu`` or ``both``.
    weights : tuple of str
        Of a kernel: the inputs that are weights, which are in no cache while it is timed.
    """

    path: str
    graph: str
    device: str
    weights: tuple[str, ...] = ()


def serve(connection: Connection, builders: list[KernelBuilder], warm: bool) -> None:
    """Answer requests; runs in the child process.

    Parameters
    ----------
    connection : Connection
    builders : list of KernelBuilder
        One per model.
    warm : bool
        Also run GPU libraries once: pocl compiles a kernel at its first launch and caches it on disk, which several
        processes can do in parallel.
    """
    for name in ("te_compiler", "autotvm"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.pop("POCL_AFFINITY", None)  # otherwise all children would compile on one core
    answer(connection, lambda request: _build(builders, request, warm))


def _build(builders: list[KernelBuilder], request: BuildRequest, warm: bool) -> Built:
    builder = builders[max(0, request.model)]
    target = builder.gpu if request.device == "gpu" else builder.cpu
    if request.model == REFERENCE:
        lib = compile_for(links.reference_module(), target, builder.cpu)
    elif request.piece is not None:
        _, lib = builder.build(request.piece)
    else:
        lib = compile_for(builder.prepared, target, builder.cpu)
    built = export(lib, request.path, request.device, is_kernel=request.piece is not None)
    if warm and request.device == "gpu":
        device = tvm.runtime.Device(builder.gpu.get_target_device_type(), 0)
        create_module(built.graph, lib.get_lib(), device).run()
        device.sync()
    return built


def export(lib: Any, path: str, device: str, is_kernel: bool = False) -> Built:
    """Write the code without the weights, which may take hundreds of megabytes."""
    lib.get_lib().export_library(path)
    return Built(path, lib.get_graph_json(), device, tuple(lib.get_params()) if is_kernel else ())
