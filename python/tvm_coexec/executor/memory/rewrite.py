"""Rewrite a graph for the executor: storage ids of the layout, elided copies, and functions of the sync points.

========================  =============================================================================================
``__nop``                 replaces a copy within one buffer, and a concatenation whose operands are computed in place
``coexec_join``           replaces such a concatenation where the caller may replace the result's memory
``coexec_signal``         after a kernel that the host waits for: sets a flag when the kernel has ended
``coexec_map``            before a CPU kernel that writes memory which the host may only access while it is mapped
``coexec_fetch``          after a kernel whose result is copied to the CPU: starts the download when the kernel ends
========================  =============================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..graph_json import NOTHING, Graph, Node, write_json
from .storage import StorageLayout

JOIN, SIGNAL, MAP, FETCH = "coexec_join", "coexec_signal", "coexec_map", "coexec_fetch"


@dataclass(frozen=True)
class Storage:
    """Memory of one storage id.

    Attributes
    ----------
    device : int
        DLPack device type.
    block : int
        Index of the storage block.
    offset, nbytes : int
        Range of bytes in the block.
    """

    device: int
    block: int
    offset: int
    nbytes: int


@dataclass
class _Added:
    """A node that is inserted before or after another one; its outputs are in the memory of existing entries."""

    function: str
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


@dataclass
class Rewriter:
    """Rewrites a graph for a storage layout.

    Parameters
    ----------
    layout : StorageLayout
    mapped : bool
        Whether the host may access shared memory only while it is mapped.
    flags : bool
        Whether a flag in shared memory signals the end of kernels.
    fetch : bool
        Whether downloads start early.

    Attributes
    ----------
    storages : list of Storage
        Indexed by the new storage ids; filled by `rewrite`.
    """

    layout: StorageLayout
    mapped: bool = False
    flags: bool = False
    fetch: bool = False
    storages: list[Storage] = field(default_factory=list)

    def rewrite(self) -> str:
        """Return the new graph as JSON."""
        graph = self.layout.graph
        before: dict[int, list[_Added]] = {}
        after: dict[int, list[_Added]] = {}
        self._add_sync_points(before, after)
        nodes: list[tuple[Node | _Added, str]] = []
        for n in graph.nodes:
            nodes += [(a, a.function) for a in before.get(n.index, ())]
            nodes.append((n, self._function(n)))
            nodes += [(a, a.function) for a in after.get(n.index, ())]
        return _build_document(graph, nodes, self._storage_ids())

    def _function(self, node: Node) -> str:
        layout, graph = self.layout, self.layout.graph
        step = layout.steps[node.index]
        if node.index in layout.sharing.in_place:
            location = layout.sharing.location
            returned = {location[o] for o in graph.outputs}  # directly, or reshaped
            return JOIN if location[node.outputs[0]] in returned and step.what == "cpu" else NOTHING
        if step.what == "upload" and layout.is_elided(step):
            # The caller may replace an input's memory, and mapped memory has to be unmapped: keep the copy node.
            from_input = not graph.nodes[graph.entries[step.reads[0]].node].function
            return node.function if from_input or self.mapped else NOTHING
        return node.function

    def _add_sync_points(self, before: dict[int, list[_Added]], after: dict[int, list[_Added]]) -> None:
        layout = self.layout
        for step in layout.steps:
            if self.mapped and step.what == "cpu":
                shared = tuple(e for e in step.writes if layout.blocks[layout.of[e][0]].kind == "shared")
                if shared:
                    before.setdefault(step.node, []).append(_Added(MAP, outputs=shared))
            if step.what == "download" and layout.writers[step.node]:
                added = None
                if self.flags and layout.is_elided(step):
                    added = _Added(SIGNAL, step.reads, step.reads)
                elif self.fetch and not layout.is_elided(step):
                    added = _Added(FETCH, step.reads, step.writes)
                if added is not None:
                    made = layout.graph.entries[step.reads[0]].node  # the last writer, or a reshape of its result
                    after.setdefault(max(made, *layout.writers[step.node]), []).append(added)

    def _storage_ids(self) -> list[int]:
        """Return the new storage id of each entry. A reshaped tensor has its source's id, as in TVM's own plans."""
        layout, entries = self.layout, self.layout.graph.entries
        ids: dict[tuple[int, int, int], int] = {}
        of = []
        for e in entries:
            root, offset = layout.sharing.location[e.index]
            number = ids.setdefault((root, offset, e.device), len(ids))
            if number == len(self.storages):
                self.storages.append(Storage(e.device, *layout.of[e.index], e.nbytes))
            elif e.nbytes > self.storages[number].nbytes:
                self.storages[number] = replace(self.storages[number], nbytes=e.nbytes)
            of.append(number)
        return of


def _build_document(graph: Graph, nodes: list[tuple[Node | _Added, str]], storage: list[int]) -> str:
    old, attrs = graph.document["nodes"], graph.document["attrs"]
    where: dict[int, tuple[int, int]] = {}  # old entry -> (new node, output index)
    entries: list[int] = []  # new entry -> the old entry whose shape, type, device and memory it has
    rows = [0]
    for index, (node, _) in enumerate(nodes):
        if isinstance(node, Node):
            where |= {e: (index, n) for n, e in enumerate(node.outputs)}
        entries += node.outputs
        rows.append(len(entries))
    written = []
    for index, (node, function) in enumerate(nodes):
        inputs = [[*where[e], 0] for e in node.inputs]
        if isinstance(node, Node):
            document = dict(old[node.index])
            if document["op"] != "null":
                document["attrs"] = {**document["attrs"], "func_name": function}
            written.append({**document, "inputs": inputs})
        else:
            counts = {"num_inputs": str(len(inputs)), "num_outputs": str(len(node.outputs))}
            given = {**counts, "flatten_data": "0", "func_name": function}
            written.append({"op": "tvm_op", "name": f"{function}_{index}", "attrs": given, "inputs": inputs})
    lists = {key: [kind, [values[e] for e in entries]] for key, (kind, values) in attrs.items()}
    lists["storage_id"] = [attrs["storage_id"][0], [storage[e] for e in entries]]
    document = {
        "nodes": written,
        "arg_nodes": [i for i, n in enumerate(written) if n["op"] == "null"],
        "heads": [[*where[e], 0] for e in graph.outputs],
        "attrs": lists,
        "node_row_ptr": rows,
    }
    return write_json(document, (",", ":"))
