"""Verified plans as readable text."""

from __future__ import annotations

from tvm_coexec.core.plan import Plan, Verified


def summary(plan: Plan) -> str:
    """Summary for one line; empty if nothing was verified."""
    working = [v for v in plan.verified if v.measured_s]
    kept = next((v for v in working if v.segments == plan.digest()), None)
    if kept is None:
        return ""
    text = f", measured {_ms(kept)}, the fastest of {len(working)} plans"
    alone = ", ".join(f"{v.device} {_ms(v)}" for v in working if v.device != "both" and v is not kept)
    return text + (f" (alone: {alone})" if alone else "")


def table(plan: Plan) -> list[str]:
    """A table with one line per plan; empty if nothing was verified."""
    if not plan.verified:
        return []
    lines = ["", "verified:", f"  {'':4} {'plan':12}  {'strategy':10} {'chains':>6} {'expected':>10} {'measured':>10}"]
    for v in plan.verified:
        mark = "kept" if v.segments == plan.digest() and v.measured_s else ""
        expected = f"{v.expected_s * 1e3:.3f} ms" if v.expected_s else "-"
        strategy = v.strategy if v.device == "both" else v.device
        line = f"  {mark:4} {v.segments:12}  {strategy:10} {v.chains:>6} {expected:>10}"
        lines.append(f"{line} {_ms(v):>10}" if v.measured_s else f"{line} {v.error}")
    return lines


def _ms(v: Verified) -> str:
    return f"{v.measured_s * 1e3:.3f} ms"
