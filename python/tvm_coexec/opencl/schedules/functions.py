"""Functions for OpenCL devices that run on CPU cores, in place of OpenCL's.

pocl's ``erf``, ``pow`` and logarithms have branches, so its compiler calls them for one element after another: 30, 90
and 13 ns each. GELU by ``erf`` makes that a third of a transformer's time, ``pow`` makes all of local response
normalisation's. These have no branches, so that loops over them are vectorised. Polynomials are least-maximum fits to
the exact functions, with the error that is noted; results are within 3 units in the last place of a float, as OpenCL
asks of ``log``, and are special values where C's functions are.
"""

from __future__ import annotations

import re

from tvm_coexec.core.polynomials import ERF_ABOVE_1, ERF_BELOW_1, EXP2

_NAMES = ("erf", "pow", "log", "log2", "log10")
_CALL = re.compile(rf"\b({'|'.join(_NAMES)})\(")
_OTHER_TYPE = re.compile(r"\b(?:double|half)\d*\b")

# log2(m) / z as a polynomial in z * z, with z = (m - 1) / (m + 1), m from sqrt(1/2) to sqrt(2); error 1.2e-11.
_LOG2 = (2.8853900817899776, 0.9617966733580025, 0.5770835854412228, 0.4116726265899955, 0.34073218920887066)


def with_vectorisable_functions(source: str) -> str:
    """Return a kernel that calls the functions of this module.

    Parameters
    ----------
    source : str
        OpenCL C of one function, as TVM writes it.

    Returns
    -------
    str
        Unchanged if it calls none of them, or has doubles or halves. Calls with vectors still call OpenCL's.
    """
    called = set(_CALL.findall(source))
    if not called or _OTHER_TYPE.search(source):
        return source
    parts = [_ERF] if "erf" in called else []
    if called - {"erf"}:
        parts += [_LOG2_OF_DOUBLE, _POW if "pow" in called else "", *(_LOGS[name] for name in _LOGS if name in called)]
    parts += [_for_vectors(name) for name in _NAMES if name in called]
    return "".join(parts) + _CALL.sub(r"coexec_\1(", source)


def _horner(variable: str, coefficients: tuple[float, ...], suffix: str = "") -> str:
    """Return a polynomial as OpenCL C."""
    text = f"{coefficients[-1]!r}{suffix}"
    for coefficient in reversed(coefficients[:-1]):
        text = f"fma({text}, {variable}, {coefficient!r}{suffix})"
    return text


def _for_vectors(name: str) -> str:
    """Return overloads for vectors that call OpenCL's function."""
    types = [f"float{lanes}" for lanes in (2, 3, 4, 8, 16)]
    if name == "pow":
        return "".join(f"{_HEAD.format(t)}coexec_pow({t} x, {t} y) {{ return pow(x, y); }}\n" for t in types)
    return "".join(f"{_HEAD.format(t)}coexec_{name}({t} x) {{ return {name}(x); }}\n" for t in types)


_HEAD = "static inline {} __attribute__((overloadable)) "
_ERF = f"""{_HEAD.format("float")}coexec_erf(float x) {{
  float b = fabs(x), a = select(b, 4.0f, b > 4.0f), s = a * a;
  float below = a * {_horner("s", ERF_BELOW_1, "f")};
  float above = 1.0f - exp({_horner("a", ERF_ABOVE_1, "f")});
  return copysign(select(above, below, a < 1.0f), x);
}}
"""
# x is not negative. A float has fewer bits than a double, so that numbers below the normal ones are normal here.
_LOG2_OF_DOUBLE = f"""static inline double coexec_log2_of(float x) {{
  long bits = as_long((double)x);
  long e = ((bits - 0x3fe6a09e667f3bcdL) >> 52);
  double m = as_double(bits - (e << 52)), z = (m - 1.0) / (m + 1.0), s = z * z;
  double result = fma({_horner("s", _LOG2)}, z, (double)e);
  result = x == 0.0f ? -INFINITY : result;
  return x < INFINITY ? result : (double)x;
}}
"""
_POW = f"""{_HEAD.format("float")}coexec_pow(float x, float y) {{
  double t = (double)y * coexec_log2_of(fabs(x));
  t = t > 300.0 ? 300.0 : t;
  t = t < -300.0 ? -300.0 : t;
  double n = rint(t), f = t - n;
  double power = {_horner("f", EXP2)} * as_double(((long)(t == t ? n : 0.0) + 1023) << 52);
  float r = t == t ? (float)power : NAN;
  r = (y == 0.0f || fabs(x) == 1.0f) ? 1.0f : r;
  float half_y = 0.5f * y;
  int whole = rint(y) == y, odd = whole && rint(half_y) != half_y;
  r = (x < 0.0f && x > -INFINITY && !whole) ? NAN : r;
  return (odd && (as_int(x) < 0)) ? -r : r;
}}
"""


def _log(name: str, factor: float) -> str:
    return f"""{_HEAD.format("float")}coexec_{name}(float x) {{
  return x >= 0.0f ? (float)({factor!r} * coexec_log2_of(x)) : NAN;
}}
"""


_LOGS = {"log": _log("log", 0.6931471805599453), "log2": _log("log2", 1.0), "log10": _log("log10", 0.30102999566398120)}
