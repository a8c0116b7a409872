"""Cases in processes of their own: one that fails, crashes or hangs becomes a row with the reason.

A benchmark calls itself with ``--child CASE``; the child measures, and `answer` prints the row as the last line.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from benchmarks import _common

FAILED = "failed"
_LIMIT_S = 1500.0


def measure_apart(benchmark: str, arguments: Sequence[str], limit_s: float = _LIMIT_S) -> dict:
    """Run a benchmark's child, and return its row, or ``{"failed": reason}`` in one line."""
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {FAILED: f"not done after {limit_s:.0f} s"}
    if done.returncode < 0:
        return {FAILED: f"the process was ended by {signal.Signals(-done.returncode).name}"}
    lines = done.stdout.splitlines()
    try:
        row = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return {FAILED: (said[-1] if said else f"exit status {done.returncode}, without a word")[:300]}
    return row if isinstance(row, dict) else {FAILED: "no result"}


def answer(measure: Callable[[], dict]) -> None:
    """Measure in a child, and print the row; an error is a row as well."""
    from tvm_coexec.core.errors import one_line

    try:
        row = measure()
    except Exception as err:  # whatever a model makes TVM, onnx or the driver raise
        row = {FAILED: one_line(err, 300)}
    print(json.dumps(row), flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--child``, and ``--continue`` for an interrupted run."""
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    text = "keep the rows of the --json file, and measure only cases that it lacks or that failed"
    parser.add_argument("--continue", dest="goes_on", action="store_true", help=text)


def earlier_rows(args: _common.Arguments, key: str, names: Sequence[str], keeps: bool) -> tuple[list[dict], list[str]]:
    """Rows to keep of the ``--json`` file, and the names that are still to measure.

    With ``--continue`` all rows that succeeded are kept; otherwise, and only if `keeps`, those of names that this run
    does not measure.
    """
    earlier = _common.read_earlier(args)[0]
    if not args.own.goes_on or not earlier:
        rows = _common.keep_rows(args, key) if keeps else []
        return [row for row in rows if row[key] not in names], list(names)
    kept = [row for row in earlier if not has_failed(row)]
    return kept, [n for n in names if n not in {row[key] for row in kept}]


def has_failed(row: dict) -> bool:
    """Whether a row has the reason for its failure instead of results."""
    return bool(row.get(FAILED))


def succeeded(rows: Sequence[dict]) -> list[dict]:
    """Rows with results."""
    return [row for row in rows if not has_failed(row)]


def list_failures(rows: Sequence[dict], key: str) -> list[str]:
    """A line for each row without results."""
    return [f"not measured: {row[key]}: {row[FAILED]}" for row in rows if has_failed(row)]
