"""The error function for OpenCL devices that run on CPU cores.

TVM calls OpenCL's ``erf``, which takes pocl 30 ns per element, since it is a scalar function with branches. GELU makes
it a third of a transformer's time. The replacement has no branches, so that the compiler vectorises it: a polynomial in
the square below 1, and above it one minus the exponential of a polynomial. Both are least-maximum fits of that form to
the exact function; the largest error is 2 units in the last place of a float.
"""

from __future__ import annotations

import re

_CALL = re.compile(r"\berf\(")
_NAME = "coexec_erf"
# erf(x) / x as a polynomial in x * x, 0 to 1; relative error 1.2e-9 before rounding.
_BELOW_1 = (
    1.1283791659,
    -0.37612627136,
    0.11283600175,
    -0.026854444564,
    0.0051895353074,
    -8.0208411220e-4,
    7.8891193e-5,
)
# log(1 - erf(x)) as a polynomial in x, 1 to 4; error of erf 1.0e-9. At 4 erf is 1 in float.
_ABOVE_1 = (
    -3.5371876e-4,
    -1.1270400391,
    -0.63822567208,
    -0.10303737337,
    0.021805320606,
    -0.0029396078896,
    1.8557407e-4,
)


def with_fast_erf(source: str) -> str:
    """Return a kernel that calls a vectorisable error function.

    Parameters
    ----------
    source : str
        OpenCL C of one function, as TVM writes it.

    Returns
    -------
    str
        Unchanged if it does not call ``erf``, or has doubles or halves.
    """
    if not _CALL.search(source) or re.search(r"\b(?:double|half)\d*\b", source):
        return source
    return _DEFINITIONS + _CALL.sub(f"{_NAME}(", source)


def _horner(variable: str, coefficients: tuple[float, ...]) -> str:
    """Return a polynomial as OpenCL C."""
    text = f"(T)({coefficients[-1]!r}f)"
    for coefficient in reversed(coefficients[:-1]):
        text = f"fma({text}, {variable}, (T)({coefficient!r}f))"
    return text


def _definition(type_name: str) -> str:
    text = f"""static inline T __attribute__((overloadable)) {_NAME}(T x) {{
  T b = fabs(x), a = select(b, (T)(4.0f), b > (T)(4.0f)), s = a * a;
  T below = a * {_horner("s", _BELOW_1)};
  T above = 1.0f - exp({_horner("a", _ABOVE_1)});
  return copysign(select(above, below, a < (T)(1.0f)), x);
}}
"""
    return re.sub(r"\bT\b", type_name, text)


_DEFINITIONS = "".join(_definition(f"float{lanes or ''}") for lanes in (0, 2, 3, 4, 8, 16))
