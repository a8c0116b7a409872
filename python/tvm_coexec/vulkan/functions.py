"""Functions that WGSL lacks, or has with other results than C, written in WGSL and put before the kernel."""

from __future__ import annotations

import re

from tvm_coexec.core.polynomials import ERF_ABOVE_1, ERF_BELOW_1
from tvm_coexec.opencl.schedules.functions import _horner

_FUNCTIONS = {
    "erf": f"""fn coexec_erf(x : f32) -> f32 {{
  let b = abs(x);
  let a = select(b, 4.0f, b > 4.0f);
  let s = a * a;
  let below = a * {_horner("s", ERF_BELOW_1, "f")};
  let above = 1.0f - exp({_horner("a", ERF_ABOVE_1, "f")});
  let r = select(above, below, a < 1.0f);
  return select(r, -r, x < 0.0f);
}}
""",
    # WGSL's is undefined for a negative base
    "pow": """fn coexec_pow(x : f32, y : f32) -> f32 {
  let r = pow(abs(x), y);
  let whole = floor(y) == y;
  let odd = whole && floor(0.5f * y) != 0.5f * y;
  let negative = select(coexec_nan(), select(r, -r, odd), whole);
  return select(select(r, negative, x < 0.0f), 1.0f, y == 0.0f);
}
""",
    # by exp in many drivers, which overflows
    "tanh": """fn coexec_tanh(x : f32) -> f32 {
  return select(tanh(clamp(x, -15.0f, 15.0f)), x, x != x);
}
""",
    # halves away from zero; WGSL's goes to the even number
    "round": """fn coexec_round(x : f32) -> f32 {
  let t = trunc(x);
  return t + select(0.0f, sign(x), abs(x - t) >= 0.5f);
}
""",
    "nearbyint": """fn coexec_nearbyint(x : f32) -> f32 {
  return round(x);
}
""",
    "fmod": """fn coexec_fmod(x : f32, y : f32) -> f32 {
  return x % y;
}
""",
    "log10": """fn coexec_log10(x : f32) -> f32 {
  return log2(x) * 0.30102999566f;
}
""",
    "log1p": """fn coexec_log1p(x : f32) -> f32 {
  let u = 1.0f + x;
  return select(log(u) * x / (u - 1.0f), x, u == 1.0f);
}
""",
    "exp10": """fn coexec_exp10(x : f32) -> f32 {
  return exp2(x * 3.32192809489f);
}
""",
    "popcount": """fn coexec_popcount(x : i32) -> i32 {
  return countOneBits(x);
}
""",
    "isnan": """fn coexec_isnan(x : f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
""",
    "isinf": """fn coexec_isinf(x : f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}
""",
    "isfinite": """fn coexec_isfinite(x : f32) -> bool {
  return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}
""",
}
# WGSL refuses constants that are not finite, so they come from a variable.
_SPECIAL = """var<private> coexec_inf_bits : u32 = 0x7f800000u;
var<private> coexec_nan_bits : u32 = 0x7fc00000u;
fn coexec_inf() -> f32 {
  return bitcast<f32>(coexec_inf_bits);
}
fn coexec_nan() -> f32 {
  return bitcast<f32>(coexec_nan_bits);
}
"""
_CALL = re.compile(rf"\b({'|'.join(_FUNCTIONS)})\(")
_CONSTANT = re.compile(r"(-?)\b(inf|nan)([fh])\b")


def with_functions(source: str) -> str:
    """Return a shader that calls the functions of this module.

    Parameters
    ----------
    source : str
        WGSL of one kernel, as TVM writes it.

    Returns
    -------
    str
    """
    called = set() if "f16" in source else set(_CALL.findall(source))  # WGSL's own are for halves, too
    if called:
        source = _CALL.sub(r"coexec_\1(", source)
    source, constants = _CONSTANT.subn(_constant, source)
    parts = [_SPECIAL] if constants or "pow" in called else []
    parts += [_FUNCTIONS[name] for name in _FUNCTIONS if name in called]
    return "".join(parts) + source


def _constant(found: re.Match[str]) -> str:
    sign, name, suffix = found.groups()
    value = f"coexec_{name}()"
    if sign:
        value = f"(-{value})"
    return f"f16({value})" if suffix == "h" else value
