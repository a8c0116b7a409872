"""Kinds of operators: what a cost model, a planner or a pass must know of an operator to tell its cost."""

from __future__ import annotations

from enum import Enum


class OpKind(str, Enum):
    """What an operator does, as far as its cost goes. Rules state it (`relay_passes.rules`), kernels carry it."""

    CONV = "conv"
    TRANSPOSED_CONV = "transposed_conv"
    DENSE = "dense"
    BATCH_MATMUL = "batch_matmul"
    POOL = "pool"
    # One result of many elements of the input, or a pass along an axis.
    REDUCE = "reduce"
    SOFTMAX = "softmax"
    LRN = "lrn"
    # The output has the input's memory: TVM launches nothing for a kernel of these alone.
    VIEW = "view"
    # The output's elements come from other places of the input.
    MOVE = "move"
    # The output is its inputs, one after the other.
    CONCAT = "concat"
    ELEMENTWISE = "elementwise"
    # Sorting, selection, boxes: cost that no formula here describes.
    OTHER = "other"

    @property
    def is_compute_intensive(self) -> bool:
        """Whether it is a convolution or a matrix product: what a split is for."""
        return self in _COMPUTE_INTENSIVE

    @property
    def only_moves(self) -> bool:
        """Whether it computes nothing."""
        return self in _ONLY_MOVES


_COMPUTE_INTENSIVE = frozenset([OpKind.CONV, OpKind.TRANSPOSED_CONV, OpKind.DENSE, OpKind.BATCH_MATMUL])
_ONLY_MOVES = frozenset([OpKind.VIEW, OpKind.MOVE, OpKind.CONCAT])
