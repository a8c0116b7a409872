"""Names of special functions: operators of which one evaluation takes many FLOPs.

Rules count their evaluations, kernels carry the counts, and cost models have a weight for each
(`cost_models.features.special_functions`).
"""

from __future__ import annotations

SPECIAL_FUNCTIONS = frozenset(
    [
        *("exp", "log", "log2", "log10", "sqrt", "rsqrt", "sigmoid", "tanh", "erf", "power", "divide"),
        *("sin", "cos", "tan", "sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh"),
        *("fast_exp", "fast_tanh", "fast_erf", "mod", "floor_mod", "trunc_mod", "floor_divide", "trunc_divide"),
        *("integer_divide", "fixed_point_multiply", "fixed_point_multiply_per_axis"),
    ]
)
# Operators that are another function on integers: one division instruction.
INTEGER = dict.fromkeys(("divide", "mod", "floor_mod", "trunc_mod", "floor_divide", "trunc_divide"), "integer_divide")
