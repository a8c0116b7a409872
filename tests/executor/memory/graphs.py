"""Graph executor JSON written by hand, so that memory can be planned and checked without compiling anything."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tvm_coexec.executor.graph_json import Graph

DEVICES = {"cpu": 1, "gpu": 4}


class Writer:
    """Adds nodes one after the other; every method returns the node's entry."""

    def __init__(self) -> None:
        self.nodes: list[dict] = []
        self.shapes: list[list[int]] = []
        self.devices: list[int] = []

    def _node(self, op: str, name: str, function: str, inputs: Sequence[int], device: str, shape: Sequence[int]) -> int:
        index = len(self.nodes)
        node: dict = {"op": op, "name": name, "inputs": [[i, 0, 0] for i in inputs]}
        if function:
            counts = {"num_inputs": str(len(inputs)), "num_outputs": "1"}
            node["attrs"] = {**counts, "flatten_data": "0", "func_name": function}
        self.nodes.append(node)
        self.shapes.append(list(shape))
        self.devices.append(DEVICES[device])
        return index

    def input(self, name: str, shape: Sequence[int], device: str = "cpu") -> int:
        return self._node("null", name, "", (), device, shape)

    def kernel(self, device: str, inputs: Sequence[int], shape: Sequence[int] = (1, 32), name: str = "conv") -> int:
        return self._node("tvm_op", f"{name}_{len(self.nodes)}", f"tvmgen_default_fused_{name}", inputs, device, shape)

    def copy(self, source: int, device: str) -> int:
        return self._node("tvm_op", f"__copy_{len(self.nodes)}", "__copy", [source], device, self.shapes[source])

    def reshape(self, source: int, shape: Sequence[int]) -> int:
        device = next(d for d, n in DEVICES.items() if n == self.devices[source])
        return self._node("tvm_op", f"reshape_{len(self.nodes)}", "__nop", [source], device, shape)

    def concatenate(self, device: str, inputs: Sequence[int], axis: int = 1) -> int:
        shape = list(self.shapes[inputs[0]])
        shape[axis] = sum(self.shapes[i][axis] for i in inputs)
        return self.kernel(device, inputs, shape, "concatenate")

    def graph(self, *outputs: int) -> Graph:
        """The graph, every tensor with a storage of its own."""
        count = len(self.nodes)
        document = {
            "nodes": self.nodes,
            "arg_nodes": [i for i, n in enumerate(self.nodes) if n["op"] == "null"],
            "heads": [[o, 0, 0] for o in outputs],
            "attrs": {
                "dltype": ["list_str", ["float32"] * count],
                "device_index": ["list_int", self.devices],
                "storage_id": ["list_int", list(range(count))],
                "shape": ["list_shape", self.shapes],
            },
            "node_row_ptr": list(range(count + 1)),
        }
        return Graph(json.dumps(document))


def chains(length: int = 3, part: Sequence[int] = (1, 32)) -> Graph:
    """Chains split in halves along channels, as `place` writes them: both devices join what they read."""
    w = Writer()
    y = {"cpu": w.input("x", (part[0], part[1] * 2, *part[2:]))}
    y["gpu"] = w.copy(y["cpu"], "gpu")
    weights = [w.input("p0", (64,), "gpu"), w.input("p1", (64,), "cpu")]
    for n in range(length):
        g = w.kernel("gpu", [y["gpu"], weights[0]], part)
        if n:
            gc = w.copy(before[0], "cpu")  # noqa: F821 (bound in the first round)
            y["cpu"] = w.concatenate("cpu", [gc, before[1]])  # noqa: F821
        c = w.kernel("cpu", [y["cpu"], weights[1]], part)
        before = (g, c)
        if n < length - 1:
            y["gpu"] = w.concatenate("gpu", [g, w.copy(c, "gpu")])
    return w.graph(w.concatenate("cpu", [w.copy(before[0], "cpu"), before[1]]))
