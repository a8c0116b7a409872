"""What a graph says of its operator nodes: what they call, where, and for which segment of the plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tvm_coexec.executor.annotations import metadata_of
from tvm_coexec.executor.graph_json import COPY, NOTHING, Graph

HELPER = "coexec_"  # functions that are put into a graph to run it, not compiled from the model


@dataclass(frozen=True)
class TracedNode:
    """An operator node.

    Attributes
    ----------
    name, function : str
    device : str
        ``cpu`` or ``gpu``: where its result is.
    segment : int
        Number in the plan; -1 where the graph doesn't say.
    role : str
        ``work``, ``slice``, ``upload``, ``download`` or ``join``; of a function that was put in to run the graph,
        ``help``.
    """

    name: str
    function: str
    device: str
    segment: int = -1
    role: str = "work"

    @property
    def called(self) -> bool:
        """Whether the executor asks a module for its function."""
        return self.function not in (COPY, NOTHING)


@dataclass(frozen=True)
class TracedGraph:
    """A graph as far as a trace goes.

    Attributes
    ----------
    nodes : tuple of TracedNode
        Operator nodes in the order in which they run.
    segments : tuple of dict
        The plan's; see `metadata`. Empty where the graph doesn't say.
    expected : dict, optional
        What the plan expected; see `metadata`.
    """

    nodes: tuple[TracedNode, ...]
    segments: tuple[dict, ...] = ()
    expected: dict | None = field(default=None, repr=False)

    @staticmethod
    def from_json(text: str) -> TracedGraph:
        """Read a graph, also one that was rewritten after it was built."""
        graph = Graph(text)
        metadata = metadata_of(graph) or {}
        named = metadata.get("nodes", {})
        nodes = [
            _node(n.name, n.function, "cpu" if graph.entries[n.outputs[0]].on_cpu else "gpu", named.get(n.name))
            for n in graph.nodes
            if n.function
        ]
        return TracedGraph(tuple(_with_helpers(nodes)), tuple(metadata.get("segments", ())), metadata.get("expected"))

    @property
    def calls(self) -> tuple[int, ...]:
        """Indices of the nodes that call a function: what the recorder counts."""
        return tuple(i for i, n in enumerate(self.nodes) if n.called)

    @property
    def described(self) -> bool:
        """Whether any node is known to be part of a segment."""
        return any(n.segment >= 0 for n in self.nodes)

    @property
    def sync_points(self) -> int:
        """Where one device takes what the other one has made; what goes the same way for a segment counts once."""
        return len({(n.segment, n.device) for n in self.nodes if n.role in ("upload", "download")})

    def chain_of(self, segment: int) -> int:
        """Number of the chain that a segment is, -1 for others."""
        return self.segments[segment]["chain"] if 0 <= segment < len(self.segments) else -1


def _node(name: str, function: str, device: str, told: list | None) -> TracedNode:
    if told is not None:
        return TracedNode(name, function, device, *told)
    copied = "upload" if device == "gpu" else "download"
    role = copied if function == COPY else "help" if function.startswith(HELPER) else "work"
    return TracedNode(name, function, device, -1, role)


def _with_helpers(nodes: list[TracedNode]) -> list[TracedNode]:
    """What was put in after the build says nothing: it is there for what comes next."""
    segment = -1
    for i in range(len(nodes) - 1, -1, -1):
        if nodes[i].segment >= 0:
            segment = nodes[i].segment
        elif nodes[i].role != "work":
            nodes[i] = replace(nodes[i], segment=segment)
    return nodes
