"""Progress of a run: a live table on a terminal, else a line for each turn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from tvm_coexec.core.texts import shorten

ROWS = 16  # of the table on a terminal
_NAME = 40  # characters
_HEAD = ("task", "device", "trials", "GFLOP/s", "ms before", "ms now")


@dataclass(frozen=True)
class Row:
    """A task in the table.

    Attributes
    ----------
    task : str
        Its template and kernels.
    device : str
    trials : int
    gflops, first_s, best_s : float
        0 before the first result.
    """

    task: str
    device: str
    trials: int = 0
    gflops: float = 0.0
    first_s: float = 0.0
    best_s: float = 0.0

    def cells(self) -> list[str]:
        """Return the texts of its columns."""
        numbers = [
            *(f"{self.gflops:.2f}" if self.gflops else "-",),
            *(f"{s * 1e3:.3f}" if s else "-" for s in (self.first_s, self.best_s)),
        ]
        return [shorten(self.task, _NAME), self.device, str(self.trials), *numbers]


class Progress:
    """Shows tasks, trials and what the plan is expected to take now.

    Parameters
    ----------
    show : bool
        Whether anything is shown.
    stream : file, optional
        By default standard error. On a terminal the table is drawn in place, by rich if it is installed.
    """

    def __init__(self, show: bool = True, stream: IO[str] | None = None):
        self.stream = stream or sys.stderr
        self.show = show
        self._live: Any = None
        if show and self.stream.isatty():
            self._live = _start_live(self.stream)

    def update(self, now: Row, rows: Sequence[Row], trials: int, of: int | None, expected_s: float) -> None:
        """Show the state after a turn of a task.

        Parameters
        ----------
        now : Row
            The task that had the turn.
        rows : sequence of Row
            All tasks, the most valuable first.
        trials : int
            So far.
        of : int or None
            Budget of trials.
        expected_s : float
            Of the whole plan, by the present profile.
        """
        if not self.show:
            return
        total = f"{trials} of {of} trials" if of else f"{trials} trials"
        title = f"{total}, plan {expected_s * 1e3:.3f} ms expected"
        if self._live is not None:
            self._live.update(_table(title, rows), refresh=True)
            return
        best = f", best {now.gflops:.2f} GFLOP/s ({now.best_s * 1e3:.3f} ms)" if now.gflops else ", none worked yet"
        self.say(f"{title}; {now.device} {shorten(now.task, _NAME)}: {now.trials} trials{best}")

    def say(self, text: str) -> None:
        """Show a line."""
        if self.show and self._live is not None:
            self._live.console.print(text, markup=False)
        elif self.show:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """End the live table; its last state stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _start_live(stream: IO[str]) -> Any:
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        return None
    live = Live(console=Console(file=stream), auto_refresh=False)
    live.start()
    return live


def _table(title: str, rows: Sequence[Row]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for number, name in enumerate(_HEAD):
        table.add_column(name, justify="left" if number < 2 else "right")
    for row in rows[:ROWS]:
        table.add_row(*map(escape, row.cells()))
    if len(rows) > ROWS:
        table.caption = f"and {len(rows) - ROWS} more"
    return table
