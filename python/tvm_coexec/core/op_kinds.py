"""Kinds of operators: what cost models, planners and passes need to know of an operator to estimate its cost."""

from __future__ import annotations

from enum import Enum


class OpKind(str, Enum):
    """What an operator does, as far as cost is concerned. Rules state it (`relay_passes.rules`), kernels carry it."""

    CONV = "conv"
    TRANSPOSED_CONV = "transposed_conv"
    DENSE = "dense"
    BATCH_MATMUL = "batch_matmul"
    POOL = "pool"
    # Each output element depends on many input elements, or on a scan along an axis.
    REDUCE = "reduce"
    SOFTMAX = "softmax"
    LRN = "lrn"
    # The output aliases the input's memory: TVM launches nothing for a kernel of views alone.
    VIEW = "view"
    # Output elements are input elements at other positions.
    MOVE = "move"
    # The output is the concatenation of its inputs.
    CONCAT = "concat"
    # Output elements are interpolated between input elements at other positions.
    RESIZE = "resize"
    ELEMENTWISE = "elementwise"
    # Sorting, selection, boxes: no formula here describes their cost.
    OTHER = "other"

    @property
    def is_compute_intensive(self) -> bool:
        """Whether it is a convolution or a matrix product, the operators that are worth splitting."""
        return self in _COMPUTE_INTENSIVE

    @property
    def only_moves(self) -> bool:
        """Whether it only moves data."""
        return self in _ONLY_MOVES


_COMPUTE_INTENSIVE = frozenset([OpKind.CONV, OpKind.TRANSPOSED_CONV, OpKind.DENSE, OpKind.BATCH_MATMUL])
_ONLY_MOVES = frozenset([OpKind.VIEW, OpKind.MOVE, OpKind.CONCAT])
