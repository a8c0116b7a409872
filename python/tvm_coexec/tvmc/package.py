"""The devices that a compiled archive needs."""

from __future__ import annotations

import tarfile

from tvm.driver.tvmc import TVMCException

from tvm_coexec.executor.annotations import read_metadata
from tvm_coexec.executor.graph_json import Graph
from tvm_coexec.executor.variants import device_types_of

# DLPack device types by the names of `tvmc run --device`
DEVICE_NAMES = {"cpu": 1, "cuda": 2, "cl": 4, "vulkan": 7, "metal": 8, "rocm": 10}

_GRAPH, _PARAMETERS, _LIBRARIES = "mod.json", "mod.params", ("mod.so", "mod.tar")


def device_types(path: str, adaptive: bool = False) -> list[int]:
    """DLPack device types that the graph in an archive names, in ascending order.

    Parameters
    ----------
    path : str
    adaptive : bool
        Also those of an adaptive module's other variants.

    Returns
    -------
    list of int
        Empty for archives without a graph of that kind (VM, Model Library Format) and for files that can't be opened:
        TVM runs or rejects these itself.

    Raises
    ------
    TVMCException
        When the archive is incomplete.
    """
    try:
        with tarfile.open(path) as archive:
            names = archive.getnames()
            if not any(name in names for name in (*_LIBRARIES, _GRAPH)):
                return []
            missing = [n for n in (_GRAPH, _PARAMETERS) if n not in names]
            if not any(name in names for name in _LIBRARIES):
                missing.append(_LIBRARIES[0])
            if missing:
                raise TVMCException(f"{path} is incomplete: it has no {missing[0]}; compile the model again")
            stream = archive.extractfile(_GRAPH)
            assert stream is not None
            return graph_device_types(stream.read().decode(), adaptive)
    except (tarfile.ReadError, EOFError):
        raise TVMCException(f"{path} is not a complete tar archive; compile the model again") from None
    except (OSError, tarfile.TarError):
        return []
    except (ValueError, KeyError, AttributeError, AssertionError) as err:
        raise TVMCException(
            f"{path} is damaged: {_GRAPH} in it is not a graph ({err}); compile the model again"
        ) from None


def graph_device_types(graph_json: str, adaptive: bool = False) -> list[int]:
    """DLPack device types that a graph names, in ascending order; empty where it names none."""
    graph = Graph(graph_json)
    others = device_types_of(read_metadata(graph) or {}) if adaptive else set()
    return sorted(graph.devices() | others) if graph.names_devices or others else []


def name_of(device_type: int) -> str:
    """The name that `tvmc run --device` has for a device type."""
    return next((n for n, t in DEVICE_NAMES.items() if t == device_type), f"type {device_type}")
