"""Features of the operators inside a fused kernel, as a graph: the view of the TPU learned model.

Kaufman et al. (MLSys 2021) describe a kernel by its parameters, constants and operators, and the data flow between
them. A kernel here has one node for what it reads, one for its constants, and one for each operator in the order of
execution; the constants are an input of the anchor. TVM's fused functions rarely branch, and a `Kernel` does not record
where they do, so the operators form a chain.

A `Workload`, which is all that a latency model is given, counts operators: those that are fused to the anchor follow it
and are elementwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tvm_coexec.core.kernel_graph import Kernel
from tvm_coexec.core.op_kinds import OpKind

from .workload import NUMBERS, Workload

_EXTENTS = NUMBERS[:12]
# Extents are those of the anchor, and 0 in other rows.
OPERATOR_COLUMNS = (
    "parameter",
    "constant",
    *(f"kind.{k.value}" for k in OpKind),
    "anchor",
    *(f"log.{n}" for n in ("flops", "in_bytes", "out_bytes", "special")),
    *(f"log.{n}" for n in _EXTENTS),
)
_AT = {name: i for i, name in enumerate(OPERATOR_COLUMNS)}
PARAMETER, CONSTANT, FIRST = 0, 1, 2  # rows of nodes

_OP_KINDS = {
    **dict.fromkeys(("conv", "depthwise_conv", "group_conv"), OpKind.CONV),
    **{k.value: k for k in (OpKind.TRANSPOSED_CONV, OpKind.DENSE, OpKind.BATCH_MATMUL, OpKind.POOL, OpKind.REDUCE)},
    "other": OpKind.OTHER,
}
_OP_KINDS_BY_ALGORITHM = {
    "softmax": OpKind.SOFTMAX,
    "lrn": OpKind.LRN,
    "concat": OpKind.CONCAT,
    "moves": OpKind.MOVE,
}


@dataclass(frozen=True, eq=False)
class OperatorGraph:
    """The operators inside a kernel.

    Attributes
    ----------
    nodes : array of float, shape (p, len(OPERATOR_COLUMNS))
        What is read, the constants, and each operator.
    edges : array of int, shape (q, 2)
        Producer and consumer.
    """

    nodes: np.ndarray
    edges: np.ndarray


def describe_operators(kernel: Kernel, w: Workload) -> OperatorGraph:
    """Return the operators of a kernel whose workload is `w`."""
    names = kernel.name.split("+")
    anchor = names.index(kernel.op) if kernel.op in names else 0
    kinds = kernel.kinds or (anchor_kind(w),)
    nodes = operator_values(w, kinds, min(anchor, len(kinds) - 1))
    return OperatorGraph(nodes[0], operator_edges(len(kinds), anchor))


@lru_cache(maxsize=4096)
def describe_workload_operators(w: Workload) -> OperatorGraph:
    """Return the operators that the workload of one kernel, whose numbers are scalars, counts."""
    kinds = workload_kinds(w, int(w.fused))
    return OperatorGraph(operator_values(w, kinds, 0)[0], operator_edges(len(kinds), 0))


def workload_kinds(w: Workload, fused: int) -> list[OpKind]:
    """Return the kinds of a workload's operators: the anchor, then `fused` elementwise ones."""
    return [anchor_kind(w), *[OpKind.ELEMENTWISE] * fused]


def anchor_kind(w: Workload) -> OpKind:
    """Return the kind of a workload's anchor."""
    return _OP_KINDS_BY_ALGORITHM.get(w.algorithm.split(".")[0]) or _OP_KINDS.get(w.kind, OpKind.ELEMENTWISE)


def operator_values(w: Workload, kinds: Sequence[OpKind], anchor: int) -> np.ndarray:
    """Return the features of the operators of stacked kernels that have the same ones.

    The anchor has its multiply-adds; the other FLOPs, and special functions, are divided evenly over the other
    operators (over all, if the anchor has none).

    Parameters
    ----------
    w : Workload
        May be stacked.
    kinds : sequence of OpKind
        Of the operators, in the order of execution.
    anchor : int
        Position of the anchor.

    Returns
    -------
    array, shape (n, len(kinds) + 2, len(OPERATOR_COLUMNS))
    """
    size, others = w.size, max(1, len(kinds) - 1)
    values = np.zeros((size, len(kinds) + FIRST, len(OPERATOR_COLUMNS)))
    own = w.flops / len(kinds)
    if len(kinds) == 1:
        own = w.flops
    elif kinds[anchor].is_compute_intensive:
        own = np.minimum(w.flops, 2.0 * w.macs)
    elif kinds[anchor] == OpKind.POOL:
        own = np.minimum(w.flops, w.macs)
    values[:, PARAMETER, [_AT["parameter"]]] = 1.0
    values[:, PARAMETER, _AT["log.out_bytes"]] = np.log1p(w.in_bytes)
    values[:, CONSTANT, [_AT["constant"]]] = 1.0
    values[:, CONSTANT, _AT["log.out_bytes"]] = np.log1p(w.weight_bytes)
    for i, kind in enumerate(kinds):
        row = values[:, FIRST + i]
        row[:, _AT[f"kind.{kind.value}"]] = 1.0
        row[:, _AT["log.flops"]] = np.log1p(own if i == anchor else (w.flops - own) / others)
        has_special = (i != anchor) == (len(kinds) > 1)
        row[:, _AT["log.special"]] = np.log1p(w.special / others) if has_special else 0.0
        row[:, _AT["log.in_bytes"]] = np.log1p(w.in_bytes if i == 0 else w.out_bytes)
        row[:, _AT["log.out_bytes"]] = np.log1p(w.out_bytes if i >= anchor else w.in_bytes)
    row = values[:, FIRST + anchor]
    row[:, _AT["anchor"]] = 1.0
    for name in _EXTENTS:
        row[:, _AT[f"log.{name}"]] = np.log1p(getattr(w, name))
    return values


def operator_edges(count: int, anchor: int) -> np.ndarray:
    """Return the edges between the rows of `operator_values`: a chain, with the constants into the anchor."""
    chain = [(FIRST + i - 1, FIRST + i) for i in range(1, count)]
    return np.array([(PARAMETER, FIRST), (CONSTANT, FIRST + anchor), *chain], int)
