"""Weights of special functions: FLOP equivalents of one evaluation, by device class.

``cpu`` and ``cores`` were measured by ``python -m benchmarks.special_functions``, which says how: kernels of 32768
float32 elements, compiled by TVM for ``llvm`` (one thread of a server, no target features, 28 GFLOP/s in such kernels),
and for ``opencl`` on pocl, a GPU made of CPU cores (one core with AVX-512, 103 GFLOP/s). The results are in
``benchmarks/results/special_functions.json``. What pocl computes by a scalar call for each element (sin, cos, sinh) is
far dearer there than what it vectorises (exp, tanh, sqrt, and log, erf and power by this package's kernels); `erf` on
``llvm`` is the expression of `tvm_coexec.llvm.functions`.

``gpu`` was not measured here. GPUs have units for reciprocals, roots, exp2, log2, sine and cosine with an eighth of the
rate of multiply-adds (NVIDIA's CUDA C++ Programming Guide, throughput of native arithmetic instructions: 16 to 128
results per clock), so 16 FLOPs each; other functions are made of these and of polynomials.

All are orders of magnitude, since compilers, math libraries and devices differ. A fitted model has a coefficient for
their sum; only a roofline takes them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

DEVICE_CLASSES = ("cpu", "gpu", "cores")
# FLOP equivalents by device class.
WEIGHTS: dict[str, tuple[float, float, float]] = {
    "exp": (48, 18, 46),
    "log": (55, 18, 68),
    "log2": (54, 16, 60),
    "log10": (110, 18, 74),
    "sqrt": (2.5, 20, 10),
    "rsqrt": (8, 16, 27),
    "sigmoid": (52, 40, 61),
    "tanh": (120, 45, 95),
    "erf": (61, 50, 105),
    "power": (120, 60, 400),
    "divide": (2.6, 20, 13),
    "sin": (82, 40, 1500),
    "cos": (84, 40, 1500),
    "sinh": (99, 45, 1100),
    "cosh": (100, 45, 1100),
    "mod": (350, 60, 350),
    "floor_mod": (22, 25, 24),
    "floor_divide": (22, 25, 18),
    "integer_divide": (39, 50, 150),
    "fixed_point_multiply": (10, 10, 2.2),
    # pocl refuses these: the weight of sin.
    "tan": (110, 60, 1500),
    "asin": (160, 50, 1500),
    "acos": (180, 50, 1500),
    "atan": (230, 50, 1500),
    "asinh": (430, 60, 1500),
    "acosh": (100, 60, 1500),
    "atanh": (460, 60, 1500),
    # Like floor_divide and floor_mod, and like one scale for all channels; not measured.
    "trunc_mod": (22, 25, 24),
    "trunc_divide": (22, 25, 18),
    "fixed_point_multiply_per_axis": (10, 10, 2.2),
    # TVM's polynomials: their multiplications and additions, counted.
    "fast_exp": (20, 20, 20),
    "fast_tanh": (25, 25, 35),
    "fast_erf": (30, 30, 40),
}
DEFAULT = (50.0, 50.0, 500.0)  # of a function that a rule outside this package counts


def special_flops(functions: Iterable[tuple[str, float]], device: str) -> float:
    """Return the FLOP equivalents of special functions.

    Parameters
    ----------
    functions : iterable of (str, float)
        Names and numbers of evaluations (see `Kernel.functions`).
    device : {"cpu", "gpu", "cores"}
        ``cores`` is a GPU made of CPU cores.
    """
    which = DEVICE_CLASSES.index(device)
    return sum((WEIGHTS.get(name, DEFAULT)[which] * times for name, times in functions), start=0.0)
