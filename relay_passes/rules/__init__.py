"""Split rules: how each operator's output can be divided, and what a share of it looks like."""

from . import blocks, conv, elementwise, gather, matrix, pool, resize, shape, sort, undivided  # noqa: F401  (importing them fills the table)
from .base import (
    RULES,
    ArgAccess,
    OpSplit,
    Refusal,
    Rule,
    SplitMemo,
    attr_names,
    cpu_only,
    extent_along,
    flat_args,
    kind_of,
    rule,
    rule_for,
    shape_of,
    slice_expr,
)

__all__ = [
    "RULES",
    "ArgAccess",
    "OpSplit",
    "Refusal",
    "Rule",
    "SplitMemo",
    "attr_names",
    "cpu_only",
    "extent_along",
    "flat_args",
    "kind_of",
    "rule",
    "rule_for",
    "shape_of",
    "slice_expr",
]
