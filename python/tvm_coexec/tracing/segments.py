"""Operator nodes of an annotated graph: function, device, and segment of the plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tvm_coexec.executor.annotations import read_metadata
from tvm_coexec.executor.graph_json import COPY, NOTHING, Graph

HELPER = "coexec_"  # prefix of functions that `executor.memory.rewrite` adds to a graph


@dataclass(frozen=True)
class TracedNode:
    """An operator node.

    Attributes
    ----------
    name, function : str
    device : str
        ``cpu`` or ``gpu``: the device of its result.
    segment : int
        Index in the plan; -1 if the graph has no annotation of it.
    role : str
        ``work``, ``slice``, ``upload``, ``download``, ``join``, or ``help`` for a function that was added to run the
        graph.
    """

    name: str
    function: str
    device: str
    segment: int = -1
    role: str = "work"

    @property
    def is_call(self) -> bool:
        """Whether the executor calls a module's function for it."""
        return self.function not in (COPY, NOTHING)


@dataclass(frozen=True)
class TracedGraph:
    """The operator nodes of a graph and its annotations.

    Attributes
    ----------
    nodes : tuple of TracedNode
        Operator nodes in order of execution.
    segments : tuple of dict
        Segments of the plan; see `executor.annotations`. Empty for a graph without annotations.
    expected : dict, optional
        Times that the plan expected; see `executor.annotations`.
    """

    nodes: tuple[TracedNode, ...]
    segments: tuple[dict, ...] = ()
    expected: dict | None = field(default=None, repr=False)

    @staticmethod
    def from_json(text: str, annotations: dict | None = None) -> TracedGraph:
        """Read a graph, as it was built or after it was rewritten.

        Parameters
        ----------
        text : str
            The executor's JSON.
        annotations : dict, optional
            What `executor.annotations.read_metadata` returns; by default, that of `text`.

        Returns
        -------
        TracedGraph
        """
        graph = Graph(text)
        metadata = annotations or read_metadata(graph) or {}
        named = metadata.get("nodes", {})
        nodes = [
            _node(n.name, n.function, "cpu" if graph.entries[n.outputs[0]].on_cpu else "gpu", named.get(n.name))
            for n in graph.nodes
            if n.function
        ]
        return TracedGraph(tuple(_assign_helpers(nodes)), tuple(metadata.get("segments", ())), metadata.get("expected"))

    @property
    def calls(self) -> tuple[int, ...]:
        """Indices of the nodes that call a function; the recorder numbers calls in this order."""
        return tuple(i for i, n in enumerate(self.nodes) if n.is_call)

    @property
    def is_annotated(self) -> bool:
        """Whether the segment of any node is known."""
        return any(n.segment >= 0 for n in self.nodes)

    @property
    def sync_points(self) -> int:
        """Number of sync points: copies of one segment in one direction count once."""
        return len({(n.segment, n.device) for n in self.nodes if n.role in ("upload", "download")})

    def chain_of(self, segment: int) -> int:
        """Return the index of a segment's chain.

        Parameters
        ----------
        segment : int

        Returns
        -------
        int
            -1 for a segment that is not a chain, or is unknown.
        """
        return self.segments[segment]["chain"] if 0 <= segment < len(self.segments) else -1


def _node(name: str, function: str, device: str, annotation: list | None) -> TracedNode:
    if annotation is not None:
        return TracedNode(name, function, device, *annotation)
    copied = "upload" if device == "gpu" else "download"
    role = copied if function == COPY else "help" if function.startswith(HELPER) else "work"
    return TracedNode(name, function, device, -1, role)


def _assign_helpers(nodes: list[TracedNode]) -> list[TracedNode]:
    """Assign nodes that were added after the build to the segment of the next annotated node."""
    segment = -1
    for i in range(len(nodes) - 1, -1, -1):
        if nodes[i].segment >= 0:
            segment = nodes[i].segment
        elif nodes[i].role != "work":
            nodes[i] = replace(nodes[i], segment=segment)
    return nodes
