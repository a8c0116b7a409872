"""The graph executor's JSON as plain data."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

CPU = 1
COPY, NOTHING = "__copy", "__nop"

# Bits and lanes end a type's name: float32, uint1, float16x4, e4m3_float8.
_BITS_AND_LANES = re.compile(r"(\d+)(?:x(\d+))?$")
_ESCAPE = re.compile(r"\\(u[0-9a-f]{4}|.)")


@dataclass(frozen=True)
class Entry:
    """One tensor of the graph.

    Attributes
    ----------
    index : int
    node : int
        The node that outputs it.
    shape : tuple of int
    dtype : str
        numpy's name, such as ``bool`` where the JSON has TVM's ``uint1``.
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
        """Bytes of the tensor without padding."""
        return prod(self.shape) * element_bytes(self.dtype)

    @property
    def on_cpu(self) -> bool:
        """Whether it is stored on the CPU."""
        return self.device == CPU


@dataclass(frozen=True)
class Node:
    """One node of the graph.

    Attributes
    ----------
    index : int
    name : str
    function : str
        Name of the function that it calls, ``__copy`` or ``__nop``; empty for inputs and parameters.
    inputs, outputs : tuple of int
        Indices of entries.
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
        The parsed JSON.
    nodes : list of Node
        In order of execution.
    entries : list of Entry
    outputs : tuple of int
        Indices of the entries that the graph returns.
    """

    def __init__(self, text: str):
        self.document = document = read_document(text)
        attrs, rows = document["attrs"], document["node_row_ptr"]
        shapes, dtypes, storage = (attrs[key][1] for key in ("shape", "dltype", "storage_id"))
        devices = attrs["device_index"][1] if "device_index" in attrs else [CPU] * len(shapes)
        node_of = [n for n in range(len(document["nodes"])) for _ in range(rows[n], rows[n + 1])]
        self.entries = [
            Entry(i, node_of[i], tuple(shapes[i]), numpy_dtype(dtypes[i]), devices[i], storage[i])
            for i in range(len(shapes))
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
        """Indices of the entries of inputs and parameters."""
        return [n.outputs[0] for n in self.nodes if not n.function]

    @property
    def uses_textures(self) -> bool:
        """Whether any tensor is stored in a GPU's texture memory."""
        return any("texture" in scope for scope in self.document["attrs"].get("storage_scope", ("", ()))[1])

    @property
    def names_devices(self) -> bool:
        """Whether the JSON has the device of each tensor; TVM omits it from graphs for one device."""
        return "device_index" in self.document["attrs"]

    def devices(self) -> set[int]:
        """Return the device types that the graph uses; the CPU's if the JSON names none."""
        return {e.device for e in self.entries}


def element_bytes(dtype: str) -> int:
    """Return the bytes of one element as TVM's executor counts them: rounded up to whole bytes, all lanes included.

    Parameters
    ----------
    dtype : str
        As TVM or numpy names it.

    Returns
    -------
    int
    """
    if dtype in ("bool", "handle"):
        return {"bool": 1, "handle": 8}[dtype]
    match = _BITS_AND_LANES.search(dtype)
    bits, lanes = (match[1], match[2] or 1) if match else (32, 1)
    return (int(bits) * int(lanes) + 7) // 8


def numpy_dtype(dtype: str) -> str:
    """Return numpy's name of a type in the executor's JSON.

    Parameters
    ----------
    dtype : str

    Returns
    -------
    str
    """
    return "bool" if dtype == "uint1" else dtype


def read_document(text: str) -> dict[str, Any]:
    """Parse an executor's JSON.

    TVM writes control characters in names unescaped, so they are allowed in strings.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict
    """
    return json.loads(text, strict=False)


def write_json(content: object, separators: tuple[str, str] | None = None) -> str:
    """Write JSON that TVM's reader accepts, which knows only the escapes of quotes, backslashes, tabs and line ends.

    All other characters, including non-ASCII and control characters, are written unescaped, as TVM does.

    Parameters
    ----------
    content : object
    separators : (str, str), optional
        As `json.dumps` takes them.

    Returns
    -------
    str
    """
    text = json.dumps(content, ensure_ascii=False, separators=separators)
    return _ESCAPE.sub(lambda m: m[0] if m[1] in '"\\nrt' else json.loads(f'"{m[0]}"'), text)


def planned_bytes(graph: Graph, inputs: Sequence[str] = ()) -> int:
    """Return the bytes of the storage plan in the JSON, without parameters.

    Tests and benchmarks compare storage layouts with it.

    Parameters
    ----------
    graph : Graph
    inputs : sequence of str
        Names of the nodes that are inputs; other nodes without a function are parameters.

    Returns
    -------
    int
    """
    weights = {graph.entries[n.outputs[0]].storage for n in graph.nodes if not n.function and n.name not in inputs}
    sizes: dict[int, int] = {}
    for e in graph.entries:
        if e.storage not in weights:
            sizes[e.storage] = max(sizes.get(e.storage, 0), e.nbytes)
    return sum(sizes.values())
