"""The graph executor's JSON as plain data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

CPU = 1
COPY, NOTHING = "__copy", "__nop"

_BITS = {"bool": 8, "handle": 64}


@dataclass(frozen=True)
class Entry:
    """One tensor of the graph.

    Attributes
    ----------
    index : int
    node : int
        The node that it is an output of.
    shape : tuple of int
    dtype : str
    device : int
        DLPack device type.
    storage : int
        Storage id in the JSON.
    """

    index: int
    node: int
    shape: tuple[int, ...]
    dtype: str
    device: int
    storage: int

    @property
    def nbytes(self) -> int:
        """Bytes of the compact tensor."""
        return (prod(self.shape) * bits_of(self.dtype) + 7) // 8

    @property
    def on_cpu(self) -> bool:
        """Whether it lives on the CPU."""
        return self.device == CPU


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes
    ----------
    index : int
    name : str
    function : str
        Name of the function that it calls, ``__copy``, ``__nop``; empty for inputs and parameters.
    inputs, outputs : tuple of int
        Entries.
    """

    index: int
    name: str
    function: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Graph:
    """A graph executor's JSON.

    Parameters
    ----------
    text : str

    Attributes
    ----------
    document : dict
        The JSON as it was.
    nodes : list of Node
        In the order in which the executor runs them.
    entries : list of Entry
    outputs : tuple of int
        Entries that the graph returns.
    """

    def __init__(self, text: str):
        self.document = document = json.loads(text)
        attrs, rows = document["attrs"], document["node_row_ptr"]
        shapes, dtypes, storage = (attrs[key][1] for key in ("shape", "dltype", "storage_id"))
        devices = attrs["device_index"][1] if "device_index" in attrs else [CPU] * len(shapes)
        node_of = [n for n in range(len(document["nodes"])) for _ in range(rows[n], rows[n + 1])]
        self.entries = [
            Entry(i, node_of[i], tuple(shapes[i]), dtypes[i], devices[i], storage[i]) for i in range(len(shapes))
        ]
        self.nodes = [
            Node(
                n,
                node["name"],
                node.get("attrs", {}).get("func_name", "") if node["op"] != "null" else "",
                tuple(rows[i[0]] + i[1] for i in node["inputs"]),
                tuple(range(rows[n], rows[n + 1])),
            )
            for n, node in enumerate(document["nodes"])
        ]
        self.outputs = tuple(rows[h[0]] + h[1] for h in document["heads"])

    @property
    def inputs(self) -> list[int]:
        """Entries of inputs and parameters."""
        return [n.outputs[0] for n in self.nodes if not n.function]

    def devices(self) -> set[int]:
        """Device types that it uses."""
        return {e.device for e in self.entries}


def bits_of(dtype: str) -> int:
    """Bits of one element, lanes included: ``float32``, ``int8``, ``float16x4``, ``bool``."""
    if dtype in _BITS:
        return _BITS[dtype]
    scalar, _, lanes = dtype.partition("x")
    bits = int("".join(filter(str.isdigit, scalar)) or 32)
    return bits * int(lanes or 1)


def planned_bytes(graph: Graph, inputs: Sequence[str] = ()) -> int:
    """Bytes of the storage plan that is in the JSON, without parameters.

    Parameters
    ----------
    graph : Graph
    inputs : sequence of str
        Names of the nodes that are inputs; the other ones without a function are parameters.
    """
    weights = {graph.entries[n.outputs[0]].storage for n in graph.nodes if not n.function and n.name not in inputs}
    sizes: dict[int, int] = {}
    for e in graph.entries:
        if e.storage not in weights:
            sizes[e.storage] = max(sizes.get(e.storage, 0), e.nbytes)
    return sum(sizes.values())
