"""The result of a check as readable text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks._common import table

from .supervise import ABSENT, FAILED, OK, Result

RULE = "-" * 78


def summarize(results: Sequence[Result]) -> str:
    """Return one line that says whether everything is right."""
    failed = [r.name for r in results if r.state == FAILED]
    if failed:
        return f"NOT OK: {', '.join(failed)} failed"
    return "OK" if any(r.state == OK for r in results) else "NOT OK: no section ran"


def to_text(header: dict[str, Any], results: Sequence[Result]) -> str:
    """Return the whole report.

    Parameters
    ----------
    header : dict
        Facts about the check, shown first.
    results : sequence of Result
    """
    lines = ["Device check of tvm-coexec", ""]
    for key, value in header.items():
        lines += [f"{key}: {value}"] if not isinstance(value, (list, tuple)) else [f"{key}: {v}" for v in value]
    lines += ["", summarize(results), ""]
    lines += [table([{"section": r.name, "result": r.state, "seconds": f"{r.seconds:.1f}"} for r in results])]
    for result in results:
        lines += ["", RULE, f"{result.title} ({result.name}): {result.state} in {result.seconds:.1f} s"]
        if result.reason:
            lines.append(("" if result.state == ABSENT else "reason: ") + result.reason)
        lines += _numbers(result.numbers)
        if result.log:
            lines += ["", "last lines of its log:", *(f"  | {line}" for line in result.log)]
    return "\n".join(lines).rstrip() + "\n"


def _numbers(numbers: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, value in numbers.items():
        if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
            title = [] if key == "rows" else [f"{key}:"]
            lines += ["", *title, *_table(value)]
        elif isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            lines += ["", f"{key}:", *(f"  {v}" for v in value)]
        elif isinstance(value, dict):
            lines.append(f"{key}: " + ", ".join(f"{k} {_short(v)}" for k, v in value.items()))
        elif value not in ([], ""):
            lines.append(f"{key}: {_short(value)}")
    return lines


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows may lack columns, of what was not reached."""
    keys = list(dict.fromkeys(k for row in rows for k in row))
    return table([{k: row.get(k) for k in keys} for row in rows]).splitlines()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
