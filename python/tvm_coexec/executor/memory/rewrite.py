"""The graph that the executor gets: storages by the layout, what is not needed left out, meetings written in.

========================  =============================================================================================
``__nop``                 instead of a copy between tensors that are one memory, and of a concatenation whose parts are
                          written in place
``coexec_join``           instead of such a concatenation where the caller may exchange the result's memory
``coexec_signal``         behind the kernel whose end is waited for: the device says when it is done
``coexec_map``            before a CPU kernel that writes memory which the host may only touch while it is mapped
``coexec_fetch``          behind the kernel whose result is copied to the CPU: the download begins when the kernel ends
========================  =============================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..graph_json import NOTHING, Graph, Node, write_json
from .storage import Layout

JOIN, SIGNAL, MAP, FETCH = "coexec_join", "coexec_signal", "coexec_map", "coexec_fetch"


@dataclass(frozen=True)
class Storage:
    """Memory that the executor asks for by a storage id: on which device, and where; `block` -1 for its own."""

    device: int
    block: int
    offset: int
    nbytes: int


@dataclass
class _Added:
    """A node behind (or before) another one; its outputs are the memory of other entries."""

    function: str
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


@dataclass
class Rewriter:
    """Writes a graph anew.

    Parameters
    ----------
    layout : Layout
    mapped : bool
        Shared memory is the host's only while it is mapped.
    flags : bool
        The end of kernels is told by a flag.
    fetch : bool
        Downloads are begun early.

    Attributes
    ----------
    storages : list of Storage
        By the new storage ids, once `text` has been called.
    """

    layout: Layout
    mapped: bool = False
    flags: bool = False
    fetch: bool = False
    storages: list[Storage] = field(default_factory=list)

    def text(self) -> str:
        """The new graph as JSON."""
        graph = self.layout.graph
        before: dict[int, list[_Added]] = {}
        behind: dict[int, list[_Added]] = {}
        self._add_meetings(before, behind)
        nodes: list[tuple[Node | _Added, str]] = []
        for n in graph.nodes:
            nodes += [(a, a.function) for a in before.get(n.index, ())]
            nodes.append((n, self._function(n)))
            nodes += [(a, a.function) for a in behind.get(n.index, ())]
        return _written(graph, nodes, self._storage_ids())

    def _function(self, node: Node) -> str:
        layout, graph = self.layout, self.layout.graph
        step = layout.steps[node.index]
        if node.index in layout.sharing.joined:
            place = layout.sharing.place
            returned = {place[o] for o in graph.outputs}  # as it is, or reshaped
            return JOIN if place[node.outputs[0]] in returned and step.what == "cpu" else NOTHING
        if step.what == "upload" and layout.one_memory(step):
            # an input's memory may be exchanged for the caller's; and mapped memory has to be given back
            from_input = not graph.nodes[graph.entries[step.reads[0]].node].function
            return node.function if from_input or self.mapped else NOTHING
        return node.function

    def _add_meetings(self, before: dict[int, list[_Added]], behind: dict[int, list[_Added]]) -> None:
        layout = self.layout
        for step in layout.steps:
            if self.mapped and step.what == "cpu":
                shared = tuple(e for e in step.writes if layout.blocks[layout.of[e][0]].kind == "shared")
                if shared:
                    before.setdefault(step.node, []).append(_Added(MAP, outputs=shared))
            if step.what == "download" and layout.writers[step.node]:
                added = None
                if self.flags and layout.one_memory(step):
                    added = _Added(SIGNAL, step.reads, step.reads)
                elif self.fetch and not layout.one_memory(step):
                    added = _Added(FETCH, step.reads, step.writes)
                if added is not None:
                    made = layout.graph.entries[step.reads[0]].node  # by the last writer, or by what is done to it
                    behind.setdefault(max(made, *layout.writers[step.node]), []).append(added)

    def _storage_ids(self) -> list[int]:
        """New storage ids by entry. Reshaped tensors keep the id of what they are, as in TVM's own plans."""
        layout, entries = self.layout, self.layout.graph.entries
        ids: dict[tuple[int, int, int], int] = {}
        of = []
        for e in entries:
            root, offset = layout.sharing.place[e.index]
            number = ids.setdefault((root, offset, e.device), len(ids))
            if number == len(self.storages):
                self.storages.append(Storage(e.device, *layout.of[e.index], e.nbytes))
            elif e.nbytes > self.storages[number].nbytes:
                self.storages[number] = replace(self.storages[number], nbytes=e.nbytes)
            of.append(number)
        return of


def _written(graph: Graph, nodes: list[tuple[Node | _Added, str]], storage: list[int]) -> str:
    old, attrs = graph.document["nodes"], graph.document["attrs"]
    where: dict[int, tuple[int, int]] = {}  # old entry -> new node, which output
    entries: list[int] = []  # new entry -> the old one whose shape, type, device and memory it has
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
    if "metadata" in graph.document:  # nodes in it are known by their names; the executor stops reading there
        document["metadata"] = graph.document["metadata"]
    return write_json(document)
