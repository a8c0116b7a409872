"""Split rules: along which axes an operator can be split, and how a share of it is written."""

from . import blocks, conv, elementwise, gather, matrix, pool, resize, shape, sort, undivided  # noqa: F401  (importing them fills the table)
from .base import (
    RULES,
    ArgAccess,
    NotSplittable,
    OpSplit,
    Rule,
    SplitMemo,
    attr_names,
    count_elements,
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
    "NotSplittable",
    "OpSplit",
    "Rule",
    "SplitMemo",
    "attr_names",
    "count_elements",
    "cpu_only",
    "extent_along",
    "flat_args",
    "kind_of",
    "rule",
    "rule_for",
    "shape_of",
    "slice_expr",
]
