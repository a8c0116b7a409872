"""Weights of special functions: FLOP equivalents of one evaluation, by device class.

Measured by ``python -m benchmarks.special_functions``, which says how: kernels of 32768 float32 elements, compiled by
TVM for ``llvm`` (one thread of a server, no target features, 28 GFLOP/s in such kernels), and for ``opencl`` on pocl
(the same core with AVX-512, 103 GFLOP/s). The results are in ``benchmarks/results/special_functions.json``. They are
orders of magnitude, since compilers, math libraries and GPUs differ. A fitted model has a coefficient for their sum;
only a roofline takes them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

# FLOP equivalents on the CPU (llvm) and on the GPU (opencl). What pocl computes by a scalar call for each element (log,
# erf, sin, power) is far dearer there than what it vectorises (exp, tanh, sqrt).
WEIGHTS: dict[str, tuple[float, float]] = {
    "exp": (48, 46),
    "log": (55, 1300),
    "log2": (54, 540),
    "log10": (110, 1400),
    "sqrt": (2.5, 10),
    "rsqrt": (8, 27),
    "sigmoid": (52, 61),
    "tanh": (120, 95),
    "erf": (86, 1700),
    "power": (120, 11000),
    "divide": (2.6, 13),
    "sin": (82, 1500),
    "cos": (84, 1500),
    "sinh": (99, 1100),
    "cosh": (100, 1100),
    "mod": (350, 350),
    "floor_mod": (22, 24),
    "floor_divide": (22, 18),
    "integer_divide": (39, 150),
    "fixed_point_multiply": (10, 2.2),
    # TVM's OpenCL code has none of these (the GPU's weights are never used, or those of sin).
    "tan": (110, 1500),
    "asin": (160, 1500),
    "acos": (180, 1500),
    "atan": (230, 1500),
    "asinh": (430, 1500),
    "acosh": (100, 1500),
    "atanh": (460, 1500),
    # Like floor_divide and floor_mod, and like the function of one scale for all channels; not measured.
    "trunc_mod": (22, 24),
    "trunc_divide": (22, 18),
    "fixed_point_multiply_per_axis": (10, 2.2),
    # TVM's polynomials: their multiplications and additions, counted.
    "fast_exp": (20, 20),
    "fast_tanh": (25, 35),
    "fast_erf": (30, 40),
}
DEFAULT = (50.0, 50.0)  # of a function that a rule outside this package counts


def special_flops(functions: Iterable[tuple[str, float]], device: str) -> float:
    """Return the FLOP equivalents of special functions.

    Parameters
    ----------
    functions : iterable of (str, float)
        Names and numbers of evaluations (see `Kernel.functions`).
    device : {"cpu", "gpu"}
    """
    which = 1 if device == "gpu" else 0
    return sum((WEIGHTS.get(name, DEFAULT)[which] * times for name, times in functions), start=0.0)
