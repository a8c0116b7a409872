"""Positions of kernels in a picture: layers from left to right, branches above each other.

A kernel's layer is one more than the highest layer that it reads from. A value that is read in a later layer has a slot
in every layer between, so that its line does not cross boxes (the dummy nodes of Sugiyama's method, IEEE SMC 1981). The
first branch continues in its lane, and a kernel that joins branches continues in the lane of the first one.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.core.kernel_graph import KernelGraph

Slot = tuple[int, int]  # layer, lane


@dataclass(frozen=True)
class NodeLayout:
    """Slots of a graph's values.

    Attributes
    ----------
    slots : dict of int to (int, int)
        Layer and lane of every kernel and every input.
    passing : dict of int to list of (int, int)
        For values that are read in later layers: the slots between, layer by layer.
    layers : int
        Number of layers.
    """

    slots: dict[int, Slot]
    passing: dict[int, list[Slot]]
    layers: int

    def before(self, value: int, layer: int) -> Slot:
        """Return the slot from which a value's line continues to `layer`."""
        first = self.slots[value][0]
        return self.slots[value] if layer == first + 1 else self.passing[value][layer - first - 2]


def assign_slots(graph: KernelGraph) -> NodeLayout:
    """Assign slots so that no two values share one, and lines lead from each layer to the next."""
    layer_of = _layers(graph)
    last = {v: max((layer_of[c] for c in cs), default=0) for v, cs in graph.consumers.items()}
    members: dict[int, list[int]] = {}
    for value, layer in layer_of.items():
        members.setdefault(layer, []).append(value)
    made = NodeLayout({}, {}, max(layer_of.values(), default=-1) + 1)
    lanes: dict[int, int] = {}  # of the values whose lines leave the previous layer
    for layer in range(made.layers):
        here = {v: lane for v, lane in lanes.items() if v in made.passing and last[v] > layer}
        taken = set(here.values())

        def put(wanted: int, taken: set[int] = taken) -> int:
            lane = min((abs(n - wanted), -n, n) for n in range(len(taken) + wanted + 1) if n not in taken)[2]
            taken.add(lane)
            return lane

        for value in sorted(members.get(layer, ()), key=lambda v: (_wanted(graph, v, lanes), v < 0, v)):
            made.slots[value] = (layer, put(_wanted(graph, value, lanes)))
        for value in sorted(lanes):
            if last[value] > layer and value not in here:
                here[value] = put(lanes[value])
        for value, lane in here.items():
            made.passing.setdefault(value, []).append((layer, lane))
        lanes = here | {v: made.slots[v][1] for v in members.get(layer, ()) if last.get(v, 0) > layer}
    return made


def _layers(graph: KernelGraph) -> dict[int, int]:
    found: dict[int, int] = {}
    for k in graph.kernels:
        found[k.index] = 1 + max((found[v] for v in k.inputs if v >= 0), default=0)
    for i in range(len(graph.inputs)):
        found[-1 - i] = min((found[c] for c in graph.consumers.get(-1 - i, ())), default=1) - 1
    return found


def _wanted(graph: KernelGraph, value: int, lanes: dict[int, int]) -> int:
    """Preferred lane of a value: that of the first value that its kernel reads."""
    inputs = graph.kernels[value].inputs if value >= 0 else ()
    return min((lanes[v] for v in inputs if v in lanes), default=0)
