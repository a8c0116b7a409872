"""Features of graphs, as learned predictors take them: nodes, edges, the network and the device.

A node is a kernel, an edge a tensor that one kernel computes and another one reads. Every count (extents, bytes, FLOPs)
is ``log(1 + count)``; other columns are 0 or 1. The names of the columns, in their order, are `NODE_COLUMNS`,
`EDGE_COLUMNS`, `NETWORK_COLUMNS` and `DEVICE_COLUMNS`; what is inside a kernel is in `features.operators`.

One-hot kinds of nodes: BRP-NAS (NeurIPS 2020); with their shapes, and totals of the network as static features: NNLQP
(ICPP 2022); tensors on edges, and parameters of devices: DNNPerf (ICSE-SEIP 2023).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np

from tvm_coexec.core.kernel_graph import KernelGraph

from ..device_parameters import KINDS as DEVICE_KINDS
from ..device_parameters import DeviceParameters
from .describe import describe
from .operators import OperatorGraph, describe_operators, describe_workload_operators
from .workload import KINDS, NUMBERS, Workload, Workloads, group_by_class

# Names of algorithms are free text (on phones those of the runtime's kernels): each has one of so many columns.
ALGORITHM_BUCKETS = 32
NODE_COLUMNS = (
    *(f"kind.{k}" for k in KINDS),
    *(f"algorithm.{i}" for i in range(ALGORITHM_BUCKETS)),
    *(f"log.{n}" for n in NUMBERS),
    "log.macs",
)
EDGE_COLUMNS = ("log.bytes",)
# `depth`: number of kernels on the longest path.
NETWORK_COLUMNS = tuple(
    f"log.{n}" for n in ("kernels", "edges", "depth", "batch", "flops", "macs", "traffic_bytes", "weight_bytes")
)
_DEVICE_NUMBERS = tuple(f.name for f in fields(DeviceParameters) if f.name != "kind")
DEVICE_COLUMNS = (*(f"kind.{k}" for k in DEVICE_KINDS), *(f"log.{n}" for n in _DEVICE_NUMBERS))


@dataclass(frozen=True, eq=False)
class GraphFeatures:
    """Features of a network on one device.

    Attributes
    ----------
    nodes : array of float, shape (n, len(NODE_COLUMNS))
        One row per kernel, in topological order.
    edges : array of int, shape (m, 2)
        Producer and consumer.
    edge_values : array of float, shape (m, len(EDGE_COLUMNS))
    network : array of float, shape (len(NETWORK_COLUMNS),)
    device : array of float, shape (len(DEVICE_COLUMNS),)
    workloads : tuple of Workload
        One per kernel.
    operators : tuple of OperatorGraph
        The operators inside each kernel.
    """

    nodes: np.ndarray
    edges: np.ndarray
    edge_values: np.ndarray
    network: np.ndarray
    device: np.ndarray
    workloads: tuple[Workload, ...]
    operators: tuple[OperatorGraph, ...]

    @property
    def fingerprint(self) -> str:
        """A short hash of kernels and edges, not of the device: equal for networks that look the same to a model."""
        digest = hashlib.sha256(np.round(self.nodes, 6).astype("<f8").tobytes())
        digest.update(self.edges.astype("<i8").tobytes())
        return digest.hexdigest()[:16]


def describe_graph(graph: KernelGraph, device: str, parameters: DeviceParameters | None = None) -> GraphFeatures:
    """Return the features of a network.

    Parameters
    ----------
    graph : KernelGraph
    device : {"cpu", "gpu"}
    parameters : DeviceParameters, optional
        Without them the device's numbers are 0.
    """
    workloads = [describe(k, device) for k in graph.kernels]
    reads = [(v, k.index) for k in graph.kernels for v in dict.fromkeys(k.inputs) if v >= 0]
    operators = [describe_operators(k, w) for k, w in zip(graph.kernels, workloads, strict=True)]
    nbytes = [graph.tensor(v).nbytes for v, _ in reads]
    return make_features(workloads, reads, nbytes, device, parameters, operators)


def describe_workloads(
    workloads: Workloads, device: str = "cpu", parameters: DeviceParameters | None = None
) -> list[GraphFeatures]:
    """Return the features of kernels that are measured alone: one network of one node for each.

    Parameters
    ----------
    workloads : Workload or sequence of Workload
        A workload may be stacked.
    device, parameters
        See `describe_graph`.
    """
    groups, total = group_by_class(workloads)
    found: list[GraphFeatures | None] = [None] * total
    of_device = device_values(device, parameters)
    no_edges, no_values = np.empty((0, 2), int), np.empty((0, len(EDGE_COLUMNS)))
    for w, where in groups:
        nodes = node_values(w)
        one = np.ones(w.size)
        network = np.log1p(
            np.stack([one, 0 * one, one, w.batch, w.flops, w.macs, w.traffic_bytes, w.weight_bytes], 1)
        )  # fmt: skip
        for i, (at, numbers) in enumerate(
            zip(where, np.stack([getattr(w, n) for n in NUMBERS], 1).tolist(), strict=True)
        ):
            single = replace(w, **dict(zip(NUMBERS, numbers, strict=True)))
            operators = (describe_workload_operators(single),)
            rows = nodes[i : i + 1]
            found[at] = GraphFeatures(rows, no_edges, no_values, network[i], of_device, (single,), operators)
    return [f for f in found if f is not None]


def make_features(
    workloads: Sequence[Workload],
    edges: Sequence[tuple[int, int]],
    edge_bytes: Sequence[float],
    device: str,
    parameters: DeviceParameters | None = None,
    operators: Sequence[OperatorGraph] | None = None,
) -> GraphFeatures:
    """Return the features of a network that is given by its kernels and the tensors between them.

    Parameters
    ----------
    workloads : sequence of Workload
        One per kernel, in topological order.
    edges : sequence of (int, int)
        Producer and consumer.
    edge_bytes : sequence of float
        Bytes of the tensor of each edge.
    device, parameters
        See `describe_graph`.
    operators : sequence of OperatorGraph, optional
        Without them those that a workload counts.
    """
    nodes = np.array([_node_row(w) for w in workloads]).reshape(-1, len(NODE_COLUMNS))
    pairs = np.asarray(edges, int).reshape(-1, 2)
    totals = [sum(float(getattr(w, n)) for w in workloads) for n in ("flops", "macs", "traffic_bytes", "weight_bytes")]
    batch = max((float(w.batch) for w in workloads), default=1.0)
    network = np.log1p([len(workloads), len(pairs), longest_path(len(workloads), pairs), batch, *totals])
    inside = operators if operators is not None else [describe_workload_operators(w) for w in workloads]
    return GraphFeatures(
        nodes,
        pairs,
        np.log1p(np.asarray(edge_bytes, float)).reshape(-1, len(EDGE_COLUMNS)),
        network,
        device_values(device, parameters),
        tuple(workloads),
        tuple(inside),
    )


def node_values(w: Workload) -> np.ndarray:
    """Return the node features of a stacked workload, shape (n, len(NODE_COLUMNS))."""
    values = np.zeros((w.size, len(NODE_COLUMNS)))
    values[:, KINDS.index(w.kind)] = 1.0
    values[:, len(KINDS) + zlib.crc32(w.algorithm.encode()) % ALGORITHM_BUCKETS] = 1.0
    first = len(KINDS) + ALGORITHM_BUCKETS
    for i, number in enumerate([*(getattr(w, n) for n in NUMBERS), w.macs]):
        values[:, first + i] = np.log1p(np.asarray(number, float))
    return values


@lru_cache(maxsize=4096)
def _node_row(w: Workload) -> np.ndarray:
    """Return the node features of one kernel; networks repeat kernels."""
    row = node_values(w)[0]
    row.flags.writeable = False
    return row


def device_values(device: str, parameters: DeviceParameters | None) -> np.ndarray:
    """Return the features of a device, shape (len(DEVICE_COLUMNS),)."""
    known = parameters or DeviceParameters(device)
    kind = [float(known.kind == k) for k in DEVICE_KINDS]
    return np.array([*kind, *(np.log1p(getattr(known, n)) for n in _DEVICE_NUMBERS)])


def longest_path(count: int, edges: np.ndarray) -> int:
    """Return the number of nodes on the longest path of nodes in topological order."""
    depth = np.ones(count, int)
    for a, b in edges[np.argsort(edges[:, 1], kind="stable")].tolist():
        depth[b] = max(depth[b], depth[a] + 1)
    return int(depth.max(initial=0))
