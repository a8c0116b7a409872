"""Kernels that find their weights in no cache, as in a network.

Between two runs of a kernel a network reads the weights of all others, so those of this one have to come from memory or
from a cache far away. A kernel that is run again and again finds them in a near one: a dense layer of few rows is up to
twice as fast. So the timing process runs a graph with several copies of the kernel, each with weights of its own, one
after the other. Inputs and outputs are shared: in a network they have just been written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tvm_coexec.executor.graph_json import Graph, read_document

# Weights of all copies together: more than the caches that a core has for itself, and its part of a shared one.
COLD_BYTES = 64 << 20
MOST_COPIES = 64
# Limit of one run of all copies.
MOST_S = 0.3
# Copies are made if reading the weights at this pace takes at least this part of the kernel's time.
_BYTES_PER_S, _MATTERS = 5e9, 0.01


def count_copies(weight_bytes: int, once_s: float) -> int:
    """Return how many copies of a kernel to run.

    Parameters
    ----------
    weight_bytes : int
    once_s : float
        Seconds of the kernel with its weights in a cache.

    Returns
    -------
    int
        1 if it has no weights, or so few that their place does not matter.
    """
    if weight_bytes <= 0 or weight_bytes / _BYTES_PER_S < _MATTERS * once_s:
        return 1
    return max(1, min(MOST_COPIES, COLD_BYTES // weight_bytes, int(MOST_S / max(once_s, 1e-9))))


def count_weight_bytes(graph: str, weights: Sequence[str]) -> int:
    """Return the bytes of the inputs of a graph that are weights."""
    parsed = Graph(graph)
    inputs = map(parsed.entries.__getitem__, parsed.inputs)
    return sum(e.nbytes for e in inputs if parsed.nodes[e.node].name in weights)


def copy_kernels(graph: str, weights: Sequence[str], copies: int) -> tuple[str, dict[str, list[str]]]:
    """Return a graph that runs all of a graph's kernels several times, each time with weights of its own.

    Parameters
    ----------
    graph : str
        JSON of TVM's graph executor.
    weights : sequence of str
        Names of inputs.
    copies : int

    Returns
    -------
    graph : str
        Its outputs are those of the last copy.
    names : dict of str to list of str
        The names of each weight's copies.
    """
    old = read_document(graph)
    of_entry = {key: old["attrs"][key][1] for key in _per_entry(old)}
    rows, inputs = old["node_row_ptr"], set(old["arg_nodes"])
    free = max(of_entry["storage_id"]) + 1
    nodes: list[dict[str, Any]] = []
    starts, args = [0], []
    lists: dict[str, list[Any]] = {key: [] for key in of_entry}
    names: dict[str, list[str]] = {}
    place: dict[int, int] = {}  # new index of each old node, in this copy
    for copy in range(copies):
        for index, node in enumerate(old["nodes"]):
            is_weight = index in inputs and node["name"] in weights
            if copy and index in inputs and not is_weight:
                continue
            made = dict(node, name=f"{node['name']}__{copy}" if copy else node["name"])
            made["inputs"] = [[place[i], output, *rest] for i, output, *rest in node["inputs"]]
            place[index] = len(nodes)
            nodes.append(made)
            if index in inputs:
                args.append(place[index])
            if is_weight:
                names.setdefault(node["name"], []).append(made["name"])
            for key, values in of_entry.items():
                lists[key] += values[rows[index] : rows[index + 1]]
            if copy and is_weight:
                lists["storage_id"][-1] = free
                free += 1
            starts.append(len(lists["storage_id"]))
    attrs = {key: [kind, lists.get(key, value)] for key, (kind, value) in old["attrs"].items()}
    heads = [[place[i], output, *rest] for i, output, *rest in old["heads"]]
    made = dict(old, nodes=nodes, arg_nodes=args, heads=heads, node_row_ptr=starts, attrs=attrs)
    return json.dumps(made), names


def _per_entry(graph: dict[str, Any]) -> list[str]:
    """Names of the attributes with one value per entry."""
    count = graph["node_row_ptr"][-1]
    return [key for key, (_, value) in graph["attrs"].items() if isinstance(value, list) and len(value) == count]
