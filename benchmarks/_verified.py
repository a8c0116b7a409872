"""The plan that `verify` keeps, measured in the same turns as the one that is taken without it."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import _compare, _modules

NAME = "verified"


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--verify``."""
    text = "also build the plan that verify=N keeps, and time it in the same turns (default: 0, without)"
    parser.add_argument("--verify", type=int, default=0, metavar="N", help=text)


def build(net: _modules.Network, plans: int, **options: object) -> tuple[list[_modules.Runner], Any]:
    """Build the verified plan; no runner and no plan without ``--verify``."""
    if not plans:
        return [], None
    runner, plan = _modules.build_coexecuted(net, NAME, verify=plans, **options)
    return [runner], plan


def columns(made: _compare.Compared, plan: Any) -> dict[str, float | int]:
    """Columns of the verified plan; none without one."""
    if plan is None:
        return {}
    row = {**made.row, "speed_up": made.speed_ups[NAME], "both_ms": made.median_s[NAME] * 1e3}
    return {
        "verified_ms": row["both_ms"],
        "verified_speed_up": row["speed_up"],
        "verified_of_bound": _compare.bounds(row)["of_bound"],
        "verified_off_%": _compare.promised_off(plan.expected_s, row),
        "verified_chains": len(plan.chains),
        "verified_error": _modules.largest_error(made.outputs[NAME], made.outputs["cpu"]),
    }


def summarise(rows: list[dict], of_bound: tuple[float, float], promises: tuple[float, float]) -> list[str]:
    """Lines on the verified plans, as `_compare.summarise` makes them."""
    done = [r for r in rows if r.get("verified_ms")]
    as_rows = [{**r, "of_bound": r["verified_of_bound"], "promised_off_%": r["verified_off_%"]} for r in done]
    return [f"verified plans: {line}" for line in _compare.summarise(as_rows, of_bound, promises)]
