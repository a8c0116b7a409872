"""Split rules: how each operator's output can be divided, and what a share of it looks like."""

from . import elementwise, matrix, shape, windows  # noqa: F401  (importing them fills the table)
from .base import RULES, ArgNeed, OpSplit, Refusal, Rule, SplitMemo, flat_args, rule, rule_for, shape_of, slice_expr

__all__ = ["RULES", "ArgNeed", "OpSplit", "Refusal", "Rule", "SplitMemo", "flat_args", "rule", "rule_for", "shape_of", "slice_expr"]
