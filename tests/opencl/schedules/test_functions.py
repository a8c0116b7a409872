"""Functions for devices made of CPU cores: accuracy everywhere, special values as in C, sources that keep OpenCL's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import tvm

from tvm_coexec.opencl.schedules.functions import with_vectorisable_functions

CPU_CORES = tvm.target.Target("opencl -model=pocl", host="llvm")
ULPS = 3
SPECIAL = (
    *(0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 2.5, -2.5, 4.0),
    *(1e-40, -1e-40, 1e-45, 3e38, -3e38, 1.0000001, 0.9999999, 16777216.0, 16777217.0),
)


def run(function: Callable, *inputs: np.ndarray, lanes: int = 1) -> tuple[np.ndarray, str]:
    """Compute a function on the device; return the results and the kernel's source."""
    places = [tvm.te.placeholder(x.shape, name=f"x{i}") for i, x in enumerate(inputs)]
    out = tvm.te.compute(inputs[0].shape, lambda i: function(*(p[i] for p in places)))
    schedule = tvm.te.create_schedule(out.op)
    group, step = schedule[out].split(out.op.axis[0], factor=400)
    schedule[out].bind(group, tvm.te.thread_axis("blockIdx.x"))
    if lanes > 1:
        schedule[out].vectorize(schedule[out].split(step, factor=lanes)[1])
    built = tvm.build(schedule, [*places, out], CPU_CORES)
    got = tvm.nd.empty(inputs[0].shape, "float32", tvm.opencl(0))
    built(*(tvm.nd.array(x, tvm.opencl(0)) for x in inputs), got)
    return got.numpy(), built.imported_modules[0].get_source()


def assert_close(got: np.ndarray, want: np.ndarray) -> None:
    """Compare with float64 results: within `ULPS`, and infinities, NaN and signs the same."""
    with np.errstate(over="ignore"):
        rounded = want.astype("float32")
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    number = ~np.isnan(rounded)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(rounded)[number])
    np.testing.assert_array_equal(np.isinf(got), np.isinf(rounded))
    finite = np.isfinite(rounded)
    units = np.spacing(np.maximum(np.abs(rounded[finite]), np.finfo("float32").tiny))
    assert (np.abs(got[finite] - want[finite]) / units).max() < ULPS


def values(low: float, high: float) -> np.ndarray:
    """Return 20,000 numbers: a range, all magnitudes, special ones."""
    small = np.logspace(-44, 38, 4000)
    rest = 20000 - 4000 - len(SPECIAL)
    return np.concatenate([np.linspace(low, high, rest), small, SPECIAL]).astype("float32")


CASES = {
    "erf": (tvm.tir.erf, np.vectorize(math.erf), (-5, 5)),
    "log": (tvm.tir.log, np.log, (0.01, 30)),
    "log2": (tvm.tir.log2, np.log2, (0.9, 1.1)),
    "log10": (tvm.tir.log10, np.log10, (0.5, 2000)),
}


@pytest.mark.opencl
@pytest.mark.parametrize("name", CASES)
def test_function_of_one_argument(name: str) -> None:
    function, reference, limits = CASES[name]
    x = values(*limits)
    got, source = run(function, x)
    assert f"= coexec_{name}(" in source
    with np.errstate(all="ignore"):
        assert_close(got, reference(x.astype("float64")))


@pytest.mark.opencl
def test_power() -> None:
    rng = np.random.default_rng(0)
    x = [rng.uniform(0, 30, 8000), rng.uniform(0.9, 1.1, 4000), np.exp(rng.uniform(-60, 60, 4000)), -np.arange(1, 1001)]
    y = [rng.uniform(-20, 20, 8000), rng.uniform(-800, 800, 4000), rng.uniform(-2, 2, 4000), rng.integers(-9, 9, 1000)]
    pairs = [(a, b) for a in SPECIAL for b in SPECIAL]
    rest = 20000 - 17000 - len(pairs)
    x = np.concatenate([*x, [a for a, _ in pairs], np.full(rest, 2.0)]).astype("float32")
    y = np.concatenate([*y, [b for _, b in pairs], np.linspace(-149, 128, rest)]).astype("float32")
    got, source = run(tvm.tir.power, x, y)
    assert "= coexec_pow(" in source
    with np.errstate(all="ignore"):
        assert_close(got, np.power(x.astype("float64"), y.astype("float64")))


@pytest.mark.opencl
@pytest.mark.parametrize("lanes", [2, 16])
def test_vectors_call_the_devices_functions(lanes: int) -> None:
    x = np.linspace(0.5, 4, 20000).astype("float32")
    got, _ = run(lambda a: tvm.tir.power(tvm.tir.log(a) + 2.0, a) + tvm.tir.erf(a), x, lanes=lanes)
    np.testing.assert_allclose(got, (np.log(x) + 2) ** x + np.vectorize(math.erf)(x), rtol=1e-5)


def test_sources_that_are_kept() -> None:
    for source in ("float y = exp(x);", "half y = erf(x);", "double y = pow(x, z);", "float y = erfc(x) + ilogb(x);"):
        assert with_vectorisable_functions(source) == source
    changed = with_vectorisable_functions("float y = erfc(x) + log(x);")
    assert changed.endswith("float y = erfc(x) + coexec_log(x);") and "coexec_pow" not in changed
