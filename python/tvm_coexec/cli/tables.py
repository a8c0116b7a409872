"""Tables on standard output: by rich on a terminal if rich is installed, otherwise as plain text."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def print_table(rows: Sequence[dict[str, object]], title: str = "") -> None:
    """Print rows with equal keys; numbers are right-aligned, `None` is a dash."""
    if not rows:
        return
    keys = list(rows[0])
    left = [all(isinstance(r[k], str) for r in rows) for k in keys]
    cells = [[_cell(r[k]) for k in keys] for r in rows]
    if sys.stdout.isatty():
        try:
            return _rich(keys, cells, left, title)
        except ImportError:
            pass
    widths = [max(len(k), *(len(line[i]) for line in cells)) for i, k in enumerate(keys)]

    def line(values: Sequence[str]) -> str:
        padded = [v.ljust(w) if a else v.rjust(w) for v, w, a in zip(values, widths, left, strict=True)]
        return "  ".join(padded).rstrip()

    if title:
        print(title)
    print("\n".join([line(keys), line(["-" * w for w in widths]), *map(line, cells)]))


def _rich(keys: Sequence[str], cells: Sequence[Sequence[str]], left: Sequence[bool], title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title) or None, title_justify="left")
    for key, is_left in zip(keys, left, strict=True):
        table.add_column(escape(key), justify="left" if is_left else "right")
    for line in cells:
        table.add_row(*map(escape, line))
    Console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)
